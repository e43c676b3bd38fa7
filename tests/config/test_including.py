"""Promise: files of several teams are one configuration, nothing of one gets in the way of another, and a mistake is
blamed on the file and the line where its owner would correct it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import build, including, load, parse
from proxy.config.fingerprint import fingerprint
from proxy.config.including import ConfigTexts, IncludedText, KnownParts
from proxy.config.text import read
from proxy.errors import ConfigError

MAIN = "include: teams/*.yaml\nupstreams: {shared: {url: 'http://127.0.0.1:9000'}}\ndefault: {live: shared}\n"
ONE = """owner: {owner}
upstreams:
  {name}-v1: {{url: 'http://127.0.0.1:9001'}}
  {name}-v2: {{url: 'http://127.0.0.1:9002', version: "2"}}
routes:
  - name: {name}
    match: {{path: /{name}/*}}
    live: {name}-v1
    rollouts: [{{candidate: {name}-v2, shadow: 100%}}]
"""


def team(name: str, owner: str = "") -> str:
    return ONE.format(name=name, owner=owner or f"team {name}")


def put(folder: Path, main: str = MAIN, **files: str) -> Path:
    (folder / "teams").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "teams" / f"{name}.yaml").write_text(text)
    (folder / "main.yaml").write_text(main)
    return folder / "main.yaml"


def mistakes(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return [str(mistake) for mistake in caught.value.mistakes]


def test_two_teams_are_one_configuration_in_the_order_of_their_files(tmp_path: Path) -> None:
    config = load(put(tmp_path, fraud=team("fraud"), credit=team("credit")))
    assert [(route.name, route.owner) for route in config.routes] == [
        ("credit", "team credit"), ("fraud", "team fraud"),
    ]  # fmt: skip
    assert list(config.upstreams) == ["shared", "credit-v1", "credit-v2", "fraud-v1", "fraud-v2"]
    assert list(config.plans) == ["credit/credit-v2", "fraud/fraud-v2"]


def test_what_stands_in_the_main_file_comes_first_and_belongs_to_no_team(tmp_path: Path) -> None:
    main = MAIN + "routes: [{name: health, match: {path: /health}, live: shared}]\n"
    config = load(put(tmp_path, main, credit=team("credit")))
    assert [(route.name, route.owner) for route in config.routes] == [("health", None), ("credit", "team credit")]


def test_it_is_the_same_as_one_file_that_says_it_all(tmp_path: Path) -> None:
    split = load(put(tmp_path, credit=team("credit"), fraud=team("fraud")))
    whole = tmp_path / "whole.yaml"
    parts = [team(name).split("\nupstreams:\n")[1].split("routes:\n") for name in ("credit", "fraud")]
    owned = [
        part[1].replace("    live:", f"    owner: team {name}\n    live:")
        for name, part in zip(("credit", "fraud"), parts, strict=True)
    ]
    whole.write_text(
        "upstreams:\n  shared: {url: 'http://127.0.0.1:9000'}\n" + "".join(part[0] for part in parts)
        + "routes:\n" + "".join(owned) + "default: {live: shared}\n"
    )  # fmt: skip
    same = load(whole)
    assert (split.upstreams, split.routes, split.plans) == (same.upstreams, same.routes, same.plans)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "teams/b.yaml: (top): the file is empty (start with `owner:`)"),
        ("- 1", "teams/b.yaml: (top): found a list, expected a mapping"),
        ("upstreams: {}", "teams/b.yaml: owner: is missing (who answers for what this file holds: a team, say)"),
        ("owner: ''", "teams/b.yaml, line 1: owner: found '', expected text of 1 to 64 characters"),
        ("owner: ''\nroutes: [{name: b, match: {path: /b}, live: shared}]",
         "teams/b.yaml, line 1: owner: found '', expected text of 1 to 64 characters"),
        ("owner: [b]\nroutes: [{name: b, match: {path: /b}, live: shared}]", "teams/b.yaml, line 1: owner: found a"),
        ("owner: b\nroutes: {}", "teams/b.yaml, line 2: routes: found a mapping, expected a list"),
        (
            "owner: b\nstore: {path: x}",
            "teams/b.yaml, line 2: store: may not stand in an included file (it belongs in main.yaml)",
        ),
        ("owner: b\ninclude: c.yaml", "teams/b.yaml, line 2: include: may not stand in an included file"
         " (it belongs in main.yaml)"),
        ("owner: b\nroute: []", "teams/b.yaml, line 2: route: unknown key (did you mean `routes`?)"),
        (
            "owner: b\nroutes: [{name: b, owner: me, match: {path: /b}, live: shared}]",
            "teams/b.yaml, line 2: routes[0].owner: is that of the file (`owner:` at the top holds for all)",
        ),
        (
            "owner: b\nroutes:\n- {name: b, match: {path: /b}, live: shared}\n- {name: c, match: {path: /c}, live: no}",
            "teams/b.yaml, line 4: routes[1].live: there is no upstream `no` (known: shared, a-v1, a-v2)",
        ),
        (
            "owner: b\nroutes:\n- {name: b, match: {path: /b}, live: shared, timeout: 3}",
            "teams/b.yaml, line 3: routes[0].timeout: unknown key (it belongs under `dual_write:`)",
        ),
        (
            "owner: b\nupstreams:\n\n  shared: {url: 'http://127.0.0.1:1'}",
            "teams/b.yaml, line 4: upstreams.shared: the name `shared` is taken (by upstreams.shared in main.yaml,"
            " line 2)",
        ),
        (
            "owner: b\nupstreams:\n  a-v2: {url: 'http://127.0.0.1:1'}",
            "teams/b.yaml, line 3: upstreams.a-v2: the name `a-v2` is taken (by upstreams.a-v2 in teams/a.yaml,"
            " line 4)",
        ),
        (
            "owner: b\nroutes: [{name: a, match: {path: /b}, live: shared}]",
            "teams/b.yaml, line 2: routes[0].name: the route `a` is defined twice (first at routes[0].name in"
            " teams/a.yaml, line 6)",
        ),
        (
            "owner: b\nroutes:\n- {name: b, match: {path: /a/deeper}, live: shared}",
            "teams/b.yaml, line 3: routes[0].match: matches requests that routes[0] in teams/a.yaml, line 6 (`a`, team"
            " a) matches as well (another path, or a header or field that tells them apart)",
        ),
        (
            "owner: b\nroutes:\n- {name: b, live: shared}",
            "teams/b.yaml, line 3: routes[0].match: matches requests that routes[0] in teams/a.yaml, line 6 (`a`, team"
            " a) matches as well",
        ),
        ("owner: b\nupstreams: {x: {url: 'http://${NOBODY}'}}",
         "teams/b.yaml, line 2: upstreams.x.url: the environment variable NOBODY is not set"),
        ("owner: b\nowner: c", "teams/b.yaml, line 2: owner: the key is defined twice (first on line 1)"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_file_and_the_line(tmp_path: Path, text: str, expected: str) -> None:
    found = mistakes(put(tmp_path, a=team("a"), b=text))
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_every_mistake_of_every_file_is_told_at_once_the_main_files_first(tmp_path: Path) -> None:
    bad = "owner: x\nupstreams:\n  {name}: {{url: 'http://127.0.0.1:1', nme: 1}}\n"
    path = put(tmp_path, MAIN + "servr: {}\n", b=bad.format(name="b"), a=bad.format(name="a"))
    places = [line.split(":")[0] for line in mistakes(path)]
    assert places == ["line 4", "teams/a.yaml, line 3", "teams/b.yaml, line 3"]


@pytest.mark.parametrize(
    ("here", "there", "apart"),
    [
        ("path: /v1/chat, headers: {x-team: a}", "path: /v1/chat, headers: {x-team: b}", True),
        ("path: /v1/chat, json: {/model: a}", "path: /v1/chat, json: {/model: b}", True),
        ("path: /v1/chat, methods: [GET]", "path: /v1/chat, methods: [POST]", True),
        ("path: /v1/*", "path: /v2/*", True),
        ("path: /v1/*", "path: /v1/chat", False),
        ("path: /v1/chat, headers: {x-team: a}", "path: /v1/chat, headers: {x-tenant: b}", False),
        ("path: /v1/chat, json: {/model: a}", "path: /v1/*", False),
        ("headers: {x-team: a}", "path: /v1/*", False),
    ],
)
def test_routes_of_two_teams_must_be_apart_in_either_order(tmp_path: Path, here: str, there: str, apart: bool) -> None:
    for n, (first, second) in enumerate(((here, there), (there, here))):
        folder = tmp_path / f"{n}"
        folder.mkdir()
        one = "owner: {0}\nroutes: [{{name: {0}, match: {{{1}}}, live: shared}}]"
        path = put(folder, a=one.format("a", first), b=one.format("b", second))
        if apart:
            load(path)
        else:
            (found,) = mistakes(path)
            assert found.startswith("teams/b.yaml, line 2: routes[0].match: matches requests that")


def test_one_teams_routes_are_tried_in_the_order_of_its_file(tmp_path: Path) -> None:
    """Within a team the narrow route before the wide one is right, and the other way round is a mistake of its own."""
    routes = [f"- {{name: {name}, match: {{path: {path}}}, live: shared}}" for name, path in (("n", "/a"), ("w", "/*"))]
    load(put(tmp_path, a="owner: a\nroutes:\n" + "\n".join(routes)))
    (found,) = mistakes(put(tmp_path, a="owner: a\nroutes:\n" + "\n".join(reversed(routes))))
    assert found.startswith("teams/a.yaml, line 4: routes[1]: the route `n` is never reached (routes[0] (`w`) matches")


def test_a_pattern_that_fits_nothing_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "teams").mkdir()
    path = put(tmp_path, "include: [teams/*.yml, teams/*.yaml]\ndefault: {live: a-v1}", a=team("a"))
    assert mistakes(path) == [f"line 1: include[0]: no file fits 'teams/*.yml' (paths start at {tmp_path})"]
    (found,) = mistakes(
        put(tmp_path, "include: {a: 1}\nupstreams: {x: {url: 'http://127.0.0.1:1'}}\ndefault: {live: x}")
    )
    assert found.startswith("line 1: include: found a mapping, expected a path or a pattern")
    (found,) = mistakes(put(tmp_path, "include: []\nupstreams: {x: {url: 'http://127.0.0.1:1'}}\ndefault: {live: x}"))
    assert found.startswith("line 1: include: found a list, expected a path or a pattern")


def test_a_file_is_read_once_and_the_main_file_and_hidden_ones_never(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: everything in one folder, by links through `..data`."""
    real = tmp_path / "..2026_11_30"
    real.mkdir()
    (tmp_path / "..data").symlink_to(real.name)
    main = "include: ['*.yaml', 'a.yaml', '**/*.yaml', '${MORE}']\ndefault: {live: a-v1}\n"
    for name, text in {"main": main, "a": team("a"), "b": team("b")}.items():
        (real / f"{name}.yaml").write_text(text)
        (tmp_path / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    texts = ConfigTexts.load(tmp_path / "main.yaml", {"MORE": "b.yaml"})
    assert [one.name for one in texts.included] == ["a.yaml", "b.yaml"]
    assert len(load(tmp_path / "main.yaml", {"MORE": "b.yaml"}).routes) == 2


def test_relative_paths_start_where_the_main_file_is_named_not_where_a_link_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One ConfigMap for the main file, another for the teams: a link that is turned takes nothing else along."""
    put(tmp_path, a=team("a"))
    (tmp_path / "key").write_text("one")
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "key").write_text("not this one")
        text = MAIN.replace("9000'", "9000', headers: {set: {x-key: '${file:key}'}}")
        (tmp_path / version / "main.yaml").write_text(text + "server: {tls: {cert: c, key: k}}\n")
    (tmp_path / "main.yaml").unlink()
    (tmp_path / "main.yaml").symlink_to("..data/main.yaml")
    monkeypatch.chdir(tmp_path)
    seen = []
    for version in ("..1", "..2"):
        (tmp_path / "..data").unlink(missing_ok=True)
        (tmp_path / "..data").symlink_to(version)
        for path in (Path("main.yaml"), tmp_path / "main.yaml"):
            texts = ConfigTexts.load(path, {})
            config = build(texts.document({}), texts.source)
            assert config.server.tls is not None
            assert config.upstreams["shared"].headers.set["x-key"] == "one"
            seen.append((config.store.path, config.server.tls.cert, [route.name for route in config.routes]))
    assert seen == [(str(tmp_path / "state" / "main.db"), str(tmp_path / "c"), ["a"])] * 4


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = put(tmp_path, a=team("a"))
    (tmp_path / "teams" / "b.yaml").write_bytes(b"owner: \xff")
    assert mistakes(path) == ["teams/b.yaml: (file): is not UTF-8 text"]


@pytest.mark.parametrize("pattern", ["teams/*.yaml", "teams/b.yaml", "**/*.yaml", "teams/[ab].yaml"])
def test_a_link_that_leads_nowhere_takes_no_route_away(tmp_path: Path, pattern: str) -> None:
    path = put(tmp_path, MAIN.replace("teams/*.yaml", f"['{pattern}', teams/a.yaml]"), a=team("a"))
    (tmp_path / "teams" / "b.yaml").symlink_to("..data/b.yaml")
    assert mistakes(path) == ["teams/b.yaml: (file): cannot be read: No such file or directory"]


@pytest.mark.parametrize("pattern", ["teams/*/*.yaml", "teams/*/routes.yaml", "teams/b/*.yaml", "teams/**/*.yaml"])
@pytest.mark.parametrize("closed", ["gone", "unlisted", "barred"])
def test_a_folder_that_cannot_be_read_takes_no_route_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, closed: str
) -> None:
    for name in ("a", "b"):
        (tmp_path / "teams" / name).mkdir(parents=True)
        (tmp_path / "teams" / name / "routes.yaml").write_text(team(name))
    (tmp_path / "teams" / "README").write_text("no folder, and none of the files that are asked for")
    path = put(tmp_path, MAIN.replace("teams/*.yaml", f"['{pattern}', teams/a/routes.yaml]"))
    assert len(load(path).routes) == 2
    folder = tmp_path / "teams" / "b"
    if closed == "gone":
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to("nowhere")
    else:  # root may enter everything
        lacking = os.X_OK if closed == "barred" else os.R_OK
        monkeypatch.setattr(os, "access", lambda at, mode: not (Path(at) == folder and mode & lacking))
    if closed == "unlisted" and pattern.endswith("*/routes.yaml") and "**" not in pattern:
        assert len(load(path).routes) == 2  # nobody needs to list it
        return
    found = mistakes(path)
    problem = "cannot be read: No such file or directory" if closed == "gone" else "is a folder that cannot be read"
    assert f"teams/b: (file): {problem}" in found


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    path = put(tmp_path, a=team("a"))
    os.mkfifo(tmp_path / "teams" / "b.yaml")
    assert mistakes(path) == ["teams/b.yaml: (file): is no file"]


def test_secrets_of_an_included_file_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a secret\n")
    text = "owner: a\nupstreams: {x: {url: '${file:key}'}, y: {url: 'http://h', headers: {set: {a: '${KEY}'}}}}"
    (found,) = mistakes(put(tmp_path, a=text), {"KEY": "another"})
    assert "`${file:key}`" in found
    assert "secret" not in found


def test_the_hash_is_of_all_files(tmp_path: Path) -> None:
    def hash_of(**files: str) -> str:
        return fingerprint(ConfigTexts.load(put(tmp_path, **files), {}).document({}))

    plain = hash_of(a=team("a"), b=team("b"))
    assert hash_of(a=team("a") + "# words\n", b=team("b")) == plain
    assert hash_of(a=team("a"), b=team("b", "another team")) != plain
    assert hash_of(a=team("a"), b=team("b").replace("9002", "9003")) != plain


@given(st.data())
def test_whatever_stands_in_a_teams_file_is_a_mistake_or_a_configuration(data: st.DataObject) -> None:
    """A file cut anywhere, with anything put in: never another error."""
    text = team("b")
    at = data.draw(st.integers(0, len(text)))
    text = text[:at] + data.draw(st.text(max_size=8)) + text[at + data.draw(st.integers(0, 20)) :]
    whole = ConfigTexts(MAIN, "main.yaml", Path(), (IncludedText("teams/b.yaml", text),))
    document = whole.document({})
    with contextlib.suppress(ConfigError):
        build(document, "main.yaml")
    assert {mistake.file for mistake in document.mistakes} <= {"", "teams/b.yaml"}


def test_a_text_alone_may_include_too(tmp_path: Path) -> None:
    put(tmp_path, a=team("a"))
    assert len(parse(MAIN, directory=tmp_path).routes) == 1


PARTS = (
    team("a"),
    team("a").replace("9001", "${PORT}"),
    team("b"),
    team("b", owner="team a"),
    "owner: c\nroutes: 7\n",
    "owner: d\nowner: e\n",
    "x: [",
    "owner: f\nupstreams: {shared: {url: 'http://127.0.0.1:1'}}\n",
)


@given(st.lists(st.tuples(st.lists(st.sampled_from(PARTS), max_size=3), st.sampled_from("12")), max_size=5))
def test_what_was_parsed_before_says_what_it_would_say_anew(every: list[tuple[list[str], str]]) -> None:
    known = KnownParts()
    for texts, port in every:
        parts = tuple(IncludedText(f"{n}.yaml", one) for n, one in enumerate(texts))
        whole, environ = ConfigTexts(MAIN, "main.yaml", Path(), parts), {"PORT": f"900{port}"}
        document = whole.document(environ, known)
        assert document == whole.document(environ)
        with contextlib.suppress(ConfigError):
            build(document, "main.yaml")


def test_what_stands_as_before_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(including, "read", lambda text, *rest: parsed.append(text) or read(text, *rest))
    known = KnownParts()
    for texts in ([team("a"), team("b")], [team("a"), team("b", "other")], [team("b", "other")], [team("a")]):
        parts = tuple(IncludedText(f"{n}.yaml", one) for n, one in enumerate(texts))
        ConfigTexts(MAIN, "main.yaml", Path(), parts).document({}, known)
    assert [one for one in parsed if one != MAIN] == [team("a"), team("b"), team("b", "other"), team("a")]
