"""Real answers of language models, compared by embeddings: the recordings of `judged_answers` and `min_similarity`.

    python -m loadtests.embedded_answers FOLDER [--orders 3]

FOLDER is that of `judged_answers`. `understudy judge` asks a stand-in model of embeddings on this machine, over
`/v1/embeddings`. It knows no meaning: its vectors are hashed words, pairs of words and four bytes in a row, weighted by
how rare they are (idf) in the reference model's answers to the same instructions, projected to `WIDTH` numbers by a
random sign matrix. What it shows is how the guard behaves, and what any similarity can and cannot say of two models.

Beside the verdicts stand the mean similarities by embeddings and by words, and by both the *AUC* of lost answers: the
chance that of two pairs of answers, one that the candidate lost and one that it did not, the lost one is less alike;
one half says nothing of who won. Before all that two checks: the similarity of the finding is the mean of the cosines
computed directly, and a second run of the same recording reports the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
import zlib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import yaml
from aiohttp import web
from numpy.typing import NDArray

from loadtests.judged_answers import CONTESTS, Contest, contest, in_a_cell, read, record, report_of

LIMITS = (0.3, 0.4)
"""Nine tenths of what the least alike pair of equally good models reaches; what the most alike strong ones reach."""
WIDTH, BUCKETS, SEED = 512, 1 << 16, 7
WORD = re.compile(r"\w+")
CHECKED = ("llama-2-70b-chat-hf.v1", "llama-2-7b-chat-hf.v1")
Floats = NDArray[np.float64]


def features(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The buckets that a text falls into, and how often."""
    words = WORD.findall(text.lower()) or [text]
    named = [*words, *(f"{one} {next_one}" for one, next_one in pairwise(words))]
    hashed = [np.array([zlib.crc32(name.encode()) for name in named], np.uint64)]
    codes = np.frombuffer(" ".join(words).encode(), np.uint8).astype(np.uint64)
    if len(codes) >= 4:
        four = sum(codes[n : len(codes) - 3 + n] << np.uint64(8 * n) for n in range(4))
        hashed.append((np.asarray(four) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32))
    every = np.concatenate(hashed)
    return np.unique(((every ^ (every >> np.uint64(16))) % np.uint64(BUCKETS)).astype(np.int64), return_counts=True)


class HashedEmbedder:
    """The stand-in model, with what it has learned from some texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        seen, count = np.zeros(BUCKETS), 0
        for text in texts:
            seen[features(text)[0]] += 1
            count += 1
        drawn = np.random.default_rng(SEED)
        self._idf = np.log((1 + count) / (1 + seen)) * drawn.choice([-1.0, 1.0], BUCKETS)
        self._place = drawn.integers(0, WIDTH, BUCKETS)
        self._known: dict[str, bytes] = {}
        self.requests = self.texts = 0

    def vector(self, text: str) -> Floats:
        """The embedding of a text; zeros, as some models give, for a blank one."""
        if not text.strip():
            return np.zeros(WIDTH)
        buckets, counts = features(text)
        return np.bincount(self._place[buckets], np.log1p(counts) * self._idf[buckets], WIDTH).astype(np.float64)

    def json(self, text: str) -> bytes:
        """The same as JSON; a text's is made once."""
        if text not in self._known:
            self._known[text] = orjson.dumps([round(x, 4) for x in self.vector(text).tolist()])
        return self._known[text]

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        texts = orjson.loads(await request.read())["input"]
        self.requests, self.texts = self.requests + 1, self.texts + len(texts)
        entries = (b'{"index":%d,"embedding":%b}' % (n, self.json(text)) for n, text in enumerate(texts))
        return web.Response(body=b'{"data":[' + b",".join(entries) + b"]}", content_type="application/json")


def cosine(one: Floats, other: Floats) -> float:
    """Computed apart from the product: 0 where it is negative."""
    norm = np.linalg.norm(one) * np.linalg.norm(other)
    return max(0.0, float(np.dot(one, other) / norm)) if norm else 0.0


def words_alike(one: str, other: str) -> float:
    """Words that two answers share, of all that they have."""
    a, b = (set(WORD.findall(text.lower())) for text in (one, other))
    return len(a & b) / len(a | b) if a | b else 1.0


def config(path: Path, url: str, limit: float, *, embedded: bool = True) -> None:
    """The configuration with `min_similarity` at a limit."""
    read_as: dict[str, Any] = {"protocol": "openai", "output": "text", "kind": "text"}
    if embedded:
        read_as["similarity"] = {"upstream": "embedder", "model": "hashed"}
    guards = {"min_similarity": limit, "max_response_mismatch": "off"}
    names = {"v1": "http://127.0.0.1:1", "v2": "http://127.0.0.1:2", "embedder": url}
    rollout = {"candidate": "v2", "shadow": "100%", "guards": guards}
    tree = {
        "upstreams": {name: {"url": where} for name, where in names.items() if embedded or name != "embedder"},
        "routes": [{"name": "chat", "live": "v1", "prediction": read_as, "rollouts": [rollout]}],
    }
    path.write_text(yaml.safe_dump(tree))


async def compared(folder: Path, url: str, limit: float, *, embedded: bool = True) -> dict[str, Any]:
    """What `understudy judge` says of the recording in a folder."""
    config(folder / "u.yaml", url, limit, embedded=embedded)
    report = await report_of(folder)
    if any(one["not_judged"] for one in report["judges"]):
        raise SystemExit(f"pairs without embeddings: {report['judges']}")
    return report


def similarity_in(report: dict[str, Any]) -> float:
    """The mean similarity that a report gives."""
    return float(next(one["value"] for one in report["findings"] if one["guard"] == "min_similarity"))


def auc_of_lost(one: Contest, alike: Floats) -> float:
    """The chance that an answer that lost is less alike than one that did not; ties half."""
    lost = np.array(one.values) == 0.0
    difference = alike[~lost][None, :] - alike[lost][:, None]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def others_answers(one: Contest) -> Contest:
    """A control: the candidate gives the answers to other requests."""
    shifted = [*one.rows[1:], one.rows[0]]
    rows = [(*row[:3], other[3], *row[4:]) for row, other in zip(one.rows, shifted, strict=True)]
    return Contest(one.live, f"{one.candidate} to other requests", rows)


async def row(one: Contest, embedder: HashedEmbedder, url: str, orders: int) -> str:
    """The line of one contest."""
    found: dict[float, list[dict[str, Any]]] = {limit: [] for limit in LIMITS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for order in range(orders):
            record(folder / "pairs.jsonl", one, order)
            for limit, reports in found.items():
                reports.append(await compared(folder, url, limit))
        by_words = similarity_in(await compared(folder, url, 0.2, embedded=False))
    by_meaning = similarity_in(found[LIMITS[0]][0])
    texts = [(live, candidate) for _, _, live, candidate, *_ in one.rows]
    near = np.array([cosine(*map(embedder.vector, pair)) for pair in texts])
    aucs = [auc_of_lost(one, alike) for alike in (near, np.array([words_alike(*pair) for pair in texts]))]
    means = f"{100 * float(np.mean(one.values)):.1f} % | {by_words:.3f} | {by_meaning:.3f}"
    cells = " | ".join(in_a_cell(reports) for reports in found.values())
    return f"| {one.live} → {one.candidate} | {means} | {cells} | {aucs[1]:.2f}, {aucs[0]:.2f} |"


async def check(one: Contest, embedder: HashedEmbedder, url: str) -> str:
    """The finding against the cosines computed directly, and the same recording twice."""
    direct = float(
        np.mean([cosine(embedder.vector(live), embedder.vector(other)) for *_, live, other, _, _ in one.rows])
    )
    with tempfile.TemporaryDirectory() as place:
        record(Path(place) / "pairs.jsonl", one, 0)
        first, second = [await compared(Path(place), url, LIMITS[0]) for _ in range(2)]
    reported = similarity_in(first)
    if abs(reported - direct) > 0.001 or {**first, "judges": []} != {**second, "judges": []}:
        raise SystemExit(f"reported {reported}, computed {direct}; {json.dumps(first)} {json.dumps(second)}")
    return (
        f"{one.live} → {one.candidate}: reported {reported:.4f}, computed {direct:.4f}; a second run reports the same."
    )


async def main() -> None:
    """The checks, then all contests in so many orders."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--orders", type=int, default=3)
    arguments = parser.parse_args()
    learned = [read(arguments.folder, name).values() for name in ("gpt4.v1", "claude-2.1.v2")]
    embedder = HashedEmbedder(entry["reference"] for each in learned for entry in each)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/embeddings", embedder.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    print(await check(contest(arguments.folder, *CHECKED), embedder, url), flush=True)
    heads = " | ".join(f"embeddings {limit}" for limit in LIMITS)
    print(f"\n| live → candidate | win rate | words | cosine | {heads} | AUC of lost: words, cosine |\n|{'---|' * 7}")
    contests = [contest(arguments.folder, live, candidate) for live, candidate in CONTESTS]
    for one in (*contests, others_answers(contests[4])):
        print(await row(one, embedder, url, arguments.orders), flush=True)
    await runner.cleanup()
    print(f"\n{embedder.texts:,} texts in {embedder.requests:,} requests.")


if __name__ == "__main__":
    asyncio.run(main())
