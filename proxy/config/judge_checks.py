"""What is wrong with judges and the predictions that name them, and what `check` says of them in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from proxy.config.price_checks import check_price
from proxy.config.text import Path
from proxy.evidence.rules.registry import GUARDS
from proxy.fields.set_json import rules
from proxy.judges.anchors import blind_spots
from proxy.judges.largest import LargestCosts
from proxy.judges.question import Asking, with_fields
from proxy.model import Kind
from proxy.money import money_text
from proxy.spelling import nearest

if TYPE_CHECKING:
    from typing import Any

    from proxy.config.judges import JudgeConfig
    from proxy.config.route import PredictionConfig, RouteConfig
    from proxy.config.server import UpstreamConfig
    from proxy.config.tree import Config

_NOT_FOR_EMBEDDINGS = ("tls", "host", "path", "set_json", "balance", "health")
"""Keys of an upstream that a request for embeddings does not follow."""
DEFAULT_PORTS = {"http": 80, "https": 443}


class JudgeBlame(Protocol):
    """What notes a mistake at a path, with a hint."""

    def __call__(self, path: Path, problem: str, hint: str = "") -> None: ...
    def is_broken(self, path: Path) -> bool: ...


def check_judges(config: Config, blame: JudgeBlame) -> None:
    """Note every mistake about judges and the predictions that name them."""
    for name, judge in config.judges.items():
        _judge(("judges", name), judge, blame)
    for n, route in enumerate(config.routes):
        for aspect, rule in route.aspects.items():
            here: Path = ("routes", n, *(("predictions", aspect) if aspect else ("prediction",)))
            check_similarity(here, rule, config, blame)
            if rule.judge is not None:
                _judged((*here, "judge"), rule, config, blame)
        _guards(("routes", n), route, blame)
    for n, m, name, arm in _own_judges(config):
        path: Path = ("routes", n, "live") if m is None else ("routes", n, "rollouts", m, "candidate")
        problem = f"`{arm}` is the judge `{name}` of this route: the same address, path and model"
        blame(path, problem, "a model does not judge its own answers; name another one as the judge")


def _guards(path: Path, route: RouteConfig, blame: JudgeBlame) -> None:
    """A guard on verdicts belongs to a prediction that somebody judges."""
    for m, rollout in enumerate(route.rollouts):
        for guard in rollout.limits:
            if GUARDS[guard.name].judged and not _has_judge(route, guard.aspect):
                at: Path = (*path, "rollouts", m, "guards", *filter(None, (guard.aspect, guard.name)))
                prediction = f"prediction `{guard.aspect}`" if guard.aspect else "prediction"
                hint = "write `judge: NAME` there, and that judge under `judges:` at the top"
                blame(at, f"counts the verdicts of a judge, and the {prediction} names none", hint)


def _has_judge(route: RouteConfig, aspect: str) -> bool:
    """Whether a prediction names a judge; one that there is not is blamed elsewhere."""
    return aspect not in route.aspects or route.aspects[aspect].judge is not None


def _judge(path: Path, judge: JudgeConfig, blame: JudgeBlame) -> None:
    for key, problem in judge.problems.items():
        blame((*path, key), f"{getattr(judge, key)} {problem}")
    if judge.price is not None and not blame.is_broken((*path, "price")):
        check_price((*path, "price"), judge.price, blame)
    if judge.url.startswith("grpc"):
        blame((*path, "url"), "a judge is asked over HTTP", "http:// or https://")
    if judge.max_cost is not None and judge.price is None:
        blame((*path, "max_cost"), "cannot be kept without its `price`", "write `price: {input: …, output: …}`")
    for key in ("timeout", "share"):
        if getattr(judge, key) <= 0:
            blame((*path, key), "must be more than 0")
    for pointer, value in judge.set_json.items():
        try:
            rules({pointer: value})
        except ValueError as error:
            blame((*path, "set_json", pointer), str(error))
    try:
        with_fields({}, judge.set_json.items())
    except ValueError as error:
        blame((*path, "set_json"), str(error))
    for pointer in judge.set_json:
        if pointer.split("/")[1:2] in (["model"], ["messages"], ["response_format"], ["stream"], ["n"]):
            blame((*path, "set_json", pointer), "is part of every question", "it is not for `set_json` to change")


def _judged(path: Path, rule: PredictionConfig, config: Config, blame: JudgeBlame) -> None:
    """A prediction that names a judge: one that there is, and answers that it can read."""
    if rule.judge not in config.judges:
        known = f"known: {', '.join(config.judges)}" if config.judges else "write it under `judges:` at the top"
        blame(path, f"there is no judge `{rule.judge}`", nearest(str(rule.judge), config.judges) or known)
    if rule.kind not in (Kind.TEXT, Kind.CALLS):
        blame(path, f"compares texts, and this prediction is of kind `{rule.kind}`", "write `kind: text`, or `calls`")


def _own_judges(config: Config) -> Iterator[tuple[int, int | None, str, str]]:
    """Arms that judge themselves: the route, the rollout (`None` for live), the judge, the upstream."""
    for n, route in enumerate(config.routes):
        named = {rule.judge for rule in route.aspects.values() if rule.judge in config.judges}
        arms = [(None, route.live), *((m, rollout.candidate) for m, rollout in enumerate(route.rollouts))]
        for judge in sorted(filter(None, named)):
            for m, arm in arms:
                if arm in config.upstreams and _same(config.judges[judge], config.upstreams[arm], route.match.json):
                    yield n, m, judge, arm


def _same(judge: JudgeConfig, upstream: UpstreamConfig, matched: Mapping[str, Any]) -> bool:
    model = upstream.set_json.get("/model", matched.get("/model"))
    return model == judge.model and shares_address(judge, upstream)


def shares_address(judge: JudgeConfig, upstream: UpstreamConfig) -> bool:
    """Whether a judge is asked at an address of an upstream, under the same host and path.

    >>> from proxy.config.judges import JudgeConfig
    >>> from proxy.config.server import UpstreamConfig
    >>> there = UpstreamConfig(url="https://gateway.example")
    >>> shares_address(JudgeConfig(url="https://gateway.example:443/v1", model="m"), there)
    True
    """
    host = (urlsplit(judge.url).hostname or "").lower()
    named = upstream.host in ("client", "url") or upstream.host.partition(":")[0] == host
    return named and _address(judge.url) in {_address(url) for url in upstream.urls}


def _address(url: str) -> tuple[str, int | None, str]:
    parts = urlsplit(url)
    path = parts.path.removesuffix("/chat/completions").removesuffix("/v1")
    return (parts.hostname or "").lower(), parts.port or DEFAULT_PORTS.get(parts.scheme), path


def judges_in_words(config: Config, aspects: Mapping[str, PredictionConfig]) -> Iterator[str]:
    """What the judges of a route's predictions do, and what embeddings are asked for, a sentence or two each."""
    yield from similarities_in_words(aspects)
    for aspect, rule in aspects.items():
        judge = config.judges.get(rule.judge or "")
        if judge is not None:
            yield _in_words(aspect or "The prediction", str(rule.judge), judge, config.currency)


def _in_words(aspect: str, name: str, judge: JudgeConfig, currency: str) -> str:
    where = urlsplit(judge.url).netloc
    said = f"{aspect} is judged by {judge.model} (`{name}`, at {where}), which sees the request and both answers of "
    said += f"{judge.share * 100:g}% of the pairs, up to {judge.concurrency} at a time"
    if judge.max_cost is not None:
        period = str(judge.max_cost).partition("/")[2]
        said += f", for at most {money_text(judge.max_cost.amount, currency)}/{period}."
    else:
        said += ", whatever it costs."
    if judge.anchor_pairs:
        said += f" {len(judge.anchor_pairs)} anchors tell whether it changes."
    return said


def judge_warnings(config: Config) -> Iterator[str]:
    """What is allowed of judges and most likely not meant."""
    used = {rule.judge for route in config.routes for rule in route.aspects.values() if rule.judge is not None}
    for name, judge in config.judges.items():
        if name not in used:
            yield f"judge {name} is not used: name it in a prediction, `judge: {name}`"
        elif judge.max_cost is None:
            yield f"judge {name}: no `max_cost`, so every drawn pair is paid for"
        else:
            yield from _small_budget(name, judge, config.currency)
        if name in used and not judge.anchor_pairs:
            yield f"judge {name}: no `anchors`, so a judge that changes would be taken for a model that did"
        for text in blind_spots(judge.anchors_known) if name in used and judge.anchor_pairs else ():
            yield f"judge {name}: {text}"
    for route in config.routes:
        for rule in route.aspects.values():
            if rule.judge in config.judges and "/model" not in route.match.json:
                yield from _chosen_by_clients(config, route, str(rule.judge))
        for rollout in route.open_rollouts:
            counted = {guard.aspect for guard in rollout.limits if GUARDS[guard.name].judged}
            alike = {guard.aspect for guard in rollout.limits if GUARDS[guard.name].embeds}
            for aspect, rule in route.aspects.items():
                if rule.similarity is not None and aspect not in alike:
                    yield f"{route.name}/{rollout.candidate}: `similarity` without `min_similarity` decides nothing"
                if rule.judge is not None and aspect not in counted:
                    text = "its verdicts are paid for and shown, and decide nothing"
                    yield f"{route.name}/{rollout.candidate}: `judge: {rule.judge}` without `min_win_rate`: {text}"


def _small_budget(name: str, judge: JudgeConfig, currency: str) -> Iterator[str]:
    """A budget that does not afford the largest question, which is set aside for each pair, is none for any pair."""
    if judge.max_cost is None or judge.price is None:
        return
    asking = Asking(b"", judge.model, judge.rubric_text, tuple(judge.set_json.items()))
    costs = LargestCosts(asking, judge.anchor_pairs, judge.price.price, judge.timeout, judge.max_cost.period)
    if (needed := costs.wanted(0.0, anchor=False)) > judge.max_cost.amount:
        what = "the largest question and a round of anchors" if judge.anchor_pairs else "the largest question"
        text = f"`max_cost: {judge.max_cost}` judges no pair: {money_text(needed, currency)} is set aside for each"
        yield f"judge {name}: {text}, for {what}"


def _chosen_by_clients(config: Config, route: RouteConfig, judge: str) -> Iterator[str]:
    for arm in (route.live, *(rollout.candidate for rollout in route.open_rollouts)):
        upstream = config.upstreams[arm]
        if "/model" not in upstream.set_json and shares_address(config.judges[judge], upstream):
            text = "clients choose the model there: one that asks for the judge's is judged by itself"
            yield f"{route.name}: the judge `{judge}` shares the address of {arm}, and {text}"


def check_similarity(path: Path, rule: PredictionConfig, config: Config, blame: JudgeBlame) -> None:
    """Note every mistake about the `similarity` of the prediction at `path`."""
    similarity = rule.similarity
    if similarity is None:
        return
    here = (*path, "similarity")
    if rule.judge is not None:
        blame(here, "conflicts with `judge`", "give each a prediction of its own")
    if rule.kind is not Kind.TEXT:
        blame(here, f"compares texts, and this prediction is of kind `{rule.kind}`", "write `kind: text`")
    if similarity.timeout <= 0:
        blame((*here, "timeout"), "must be more than 0")
    upstream = config.upstreams.get(similarity.upstream)
    if upstream is None:
        known = nearest(similarity.upstream, config.upstreams) or f"known: {', '.join(config.upstreams)}"
        blame((*here, "upstream"), f"there is no upstream `{similarity.upstream}`", known)
    elif upstream.grpc:
        blame((*here, "upstream"), f"`{similarity.upstream}` speaks gRPC", "embeddings are asked for over HTTP")
    elif unused := [key for key in _NOT_FOR_EMBEDDINGS if key in upstream.model_fields_set]:
        problem = f"`{similarity.upstream}` has `{unused[0]}`, which embeddings are not asked for with"
        blame((*here, "upstream"), problem, "name an upstream of its own, with `url` and `headers.set`")
    elif len(upstream.urls) > 1:
        blame((*here, "upstream"), f"`{similarity.upstream}` has several `urls`", "name an upstream with one")


def similarities_in_words(aspects: Mapping[str, PredictionConfig]) -> Iterator[str]:
    """What embeddings are asked for, a sentence each."""
    for name, rule in aspects.items():
        if rule.similarity is not None:
            what = f"`{name}.min_similarity`" if name else "`min_similarity`"
            model, where = rule.similarity.model, rule.similarity.upstream
            yield f"{what} is the cosine of embeddings by {model} of {where}, which is sent the texts of both answers."
