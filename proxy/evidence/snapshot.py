"""Evidence to bytes and back: exact, versioned, and suspicious of what it reads.

A snapshot is the magic word, then zlib over: the length of a JSON header (`<I`), the header, and the arrays in the
order the header lists them: int64, but for the latest pairs of `bursts`, int16. Rules are not stored: they follow from
the guards, the kind and the frozen reference.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from proxy.evidence.aspect import Aspect, context_of
from proxy.evidence.count_store import CountStore, LimitEpoch, burst_columns
from proxy.evidence.e_detector import EDetector
from proxy.evidence.families.late import Late
from proxy.evidence.families.ratio import Ratio
from proxy.evidence.families.rule import Context, Slot
from proxy.evidence.families.slower import Slower
from proxy.evidence.input.blocks import FACTS, OpenBlocks
from proxy.evidence.input.clusters import Clusters
from proxy.evidence.input.costs import CostBook
from proxy.evidence.input.dedup import RecentBodies
from proxy.evidence.input.labels import Waiting
from proxy.evidence.input.reference import Reference
from proxy.evidence.input.timed_rows import WIDTH
from proxy.evidence.input.timings import TimedRule, Timings, widths
from proxy.evidence.input.units import UnitTotals
from proxy.evidence.input.verdicts import JudgedPairs
from proxy.evidence.pass_blocks import GatheredBlocks, PassBlocks
from proxy.evidence.process.bursts import KEPT, LENGTH, Bursts
from proxy.evidence.process.prf import key_of
from proxy.evidence.process.restarts import ROWS, Restarts
from proxy.evidence.process.wealth import Counts
from proxy.evidence.rules.registry import GUARDS, layout
from proxy.evidence.state import EvidenceError, EvidenceState
from proxy.model import Guard, Kind, Mismatch, Plan
from proxy.model.reasons import Reason

MAGIC = b"understudy-evidence-9\n"
_LENGTH = struct.Struct("<I")
_MOST = 256 * 1024 * 1024


def dump(state: EvidenceState) -> bytes:
    """The snapshot of a state."""
    state.settle()
    epochs = [(name, one) for name, closed in sorted(state.tally.closed.items()) for one in closed]
    header = orjson.dumps(_plain_out(state) | _counts_out(state.tally, epochs))
    packing = zlib.compressobj(1)  # array by array: megabytes of zeros are not worth a copy
    parts = [MAGIC, packing.compress(_LENGTH.pack(len(header)) + header)]
    arrays = (a for a in _arrays_out(state, epochs) if a.size)
    parts += [packing.compress(np.ascontiguousarray(a, dtype=f"<i{a.itemsize}").data) for a in arrays]
    return b"".join((*parts, packing.flush()))


Epochs = Sequence[tuple[str, LimitEpoch]]
"""What guards counted under earlier limits, by their names."""


def _plain_out(state: EvidenceState) -> dict[str, Any]:
    """What the header says of everything but the counts."""
    return {
        **{name: getattr(state, name) for name in PLAIN},
        **_aspects_out(state.aspects),
        "clusters": _clusters_out(state.clusters),
        "waiting": [[*entry[:3], f"{entry[3]:x}", *entry[4:]] for entry in state.waiting.entries],
        "labels": state.waiting.counted,
        "judged": {name: _judged_out(pairs) for name, pairs in sorted(state.judged.items())},
        "watch": _watch_out(state.watch),
        "failures": {reason.value: n for reason, n in state.failures.items()},
        "mismatches": {word.value: n for word, n in state.mismatches.items()},
        "recent": _recent_out(state.recent),
        "seed": f"{state.seed:x}",
        "guards": [_guard_out(slot.guard) for slot in state.tally.slots],
        "opened": state.tally.opened,
        "blocks": _blocks_out(state.blocks),
        **state.costs.saved,
        **state.units.saved,
    }


def _counts_out(tally: CountStore, epochs: Epochs) -> dict[str, Any]:
    """What the header says of the counts, whose arrays follow it."""
    blocks = tally.blocks
    by_guard = sorted(blocks.late.items())
    return {
        "timings": tally.timings is not None,
        "pass_blocks": [len(blocks.pairs.rows), [[key, blocks.fronts[key], len(late.rows)] for key, late in by_guard]],
        "bursts": [_bursts_out(bursts) for bursts in (tally.bursts, *tally.late_bursts.values())],
        "silent": sorted(tally.silent),
        "restarts": [tally.restarts.ordinals, tally.restarts.total],
        "segment_rows": len(tally.segments),
        "chapters": [
            [name, _guard_out(c.guard), [c.restarts.ordinals, c.restarts.total], c.opened, c.burst.hex()]
            for name, c in epochs
        ],
    }


def _arrays_out(state: EvidenceState, epochs: Epochs) -> list[NDArray[Any]]:
    """The arrays, in the order in which `_restore` takes them."""
    tally = state.tally
    arrays = [part for table in _wide(tally) for part in _columns_out(table)]
    arrays += [part for bursts in (tally.bursts, *tally.late_bursts.values()) for part in _arrays_of(bursts)]
    arrays += [tally.blocks.sums, tally.blocks.count, tally.blocks.pairs.rows]
    arrays += [late.rows for _, late in sorted(tally.blocks.late.items())]
    if state.blocks is not None:
        arrays.append(state.blocks.rows)
    if tally.timings is not None:
        arrays += [*_columns_out(tally.timings.fails), *_columns_out(tally.timings.passes), tally.timings.paces]
    if state.watch is not None:
        arrays += [*_columns_out(state.watch.counts), *_arrays_of(state.watch.bursts)]
    for _, c in epochs:
        for table in (c.rows, c.segments, *([c.fails] if c.fails is not None else [])):
            arrays += _columns_out(table)
    return arrays


def _wide(tally: CountStore) -> tuple[Counts, ...]:
    """What has a column for each category."""
    return tally.rows, tally.stage[None], tally.segments, tally.repeats


def _columns_out(table: Counts) -> list[NDArray[Any]]:
    """Which columns of a table (rows, width) are not as their left neighbour, a bit each, and those. Nearly all others
    are zeros, or edges between which no time lies: to compress a megabyte of them takes longer than all else."""
    new = np.ones(table.shape[1], bool)
    np.logical_or.reduce(table[:, 1:] != table[:, :-1], axis=0, out=new[1:])
    return [np.packbits(new), table[:, new]]


PLAIN = (
    "trial", "weights", "warm_left", "stage", "compared", "stage_pairs", "stage_candidate_pairs", "repeats", "shed",
    "segments", "marks", "restarted", "follows", "causes",
)  # fmt: skip
"""Fields of a state that are kept as they are."""


def load_state(plan: Plan, data: bytes) -> EvidenceState:
    """The state of a snapshot; raises `EvidenceError` for bytes that are not one of this trial."""
    if not data.startswith(MAGIC):
        raise EvidenceError("not a snapshot of evidence of this version")
    try:
        unpacking = zlib.decompressobj()
        unpacked = unpacking.decompress(data[len(MAGIC) :], _MOST)
        if not unpacking.eof:  # cut within the checksum it would not be noticed
            raise EvidenceError("a damaged snapshot: it ends too early")
        (length,) = _LENGTH.unpack_from(unpacked)
        start = _LENGTH.size
        header = orjson.loads(unpacked[start : start + length])
        if header["trial"] != plan.trial:
            raise EvidenceError(f"a snapshot of another trial: {header['trial']!r} is not {plan.trial!r}")
        return _restore(plan, header, unpacked[start + length :])
    except EvidenceError:
        raise
    except (zlib.error, struct.error, KeyError, TypeError, ValueError) as error:
        raise EvidenceError(f"a damaged snapshot: {error!r}") from None


def _restore(plan: Plan, header: dict[str, Any], body: bytes) -> EvidenceState:
    aspects, seed = _aspects_in(plan, header), int(header["seed"], 16)
    context = context_of(aspects, plan)
    reader = _Arrays(body)
    tally = _counts_in(header, layout(tuple(_guard_in(g) for g in header["guards"]), context, seed), reader)
    blocks = _blocks_in(header["blocks"], reader)
    if header["timings"]:
        tally.timings = reader.timings(tally.timed)
    watch = _watch_in(header["watch"], tally, reader) if header["watch"] is not None else None
    for name, *epoch in header["chapters"]:
        tally.closed.setdefault(name, []).append(_epoch_in(epoch, context, tally, reader))
    reader.end()
    entries = ((*entry[:3], int(entry[3], 16), *entry[4:]) for entry in header["waiting"])
    return EvidenceState(
        seed=seed,
        aspects=aspects,
        tally=tally,
        failures={Reason(word): n for word, n in header["failures"].items()},
        mismatches={Mismatch(word): n for word, n in header.get("mismatches", {}).items()},  # one of before has none
        recent=_recent_in(header["recent"]),
        clusters=_clusters_in(header["clusters"]),
        waiting=Waiting(key_of(seed, "labels"), entries, header["labels"]),
        watch=watch,
        blocks=blocks,
        judged={name: _judged_in(raw) for name, raw in header["judged"].items()},
        costs=CostBook.restored(header.get("costs")),
        units=UnitTotals.restored(header.get("units")),
        **({name: header[name] for name in PLAIN} | {"causes": tuple(header["causes"])}),
    )


def _counts_in(header: dict[str, Any], slots: tuple[Slot, ...], reader: _Arrays) -> CountStore:
    """The counts of the guards in force, without what is summed by blocks of request time."""
    width, segments = (slots[-1].stop if slots else 0), header["segment_rows"]
    late = [slot.guard.key for slot in slots if isinstance(slot.rule, Late)]
    return CountStore(
        slots,
        reader.columns(ROWS, width),
        reader.columns(1, width)[0],
        reader.columns(segments, width),
        reader.columns(2, width),
        reader.bursts(sum(burst_columns(slots)), header["bursts"][0]),
        {key: reader.bursts(1, raw) for key, raw in zip(late, header["bursts"][1:], strict=True)},
        reader.pass_blocks(slots, header["pass_blocks"]),
        list(header["opened"]),
        _restarts_in(header["restarts"]),
        silent=set(header["silent"]),
    )


def _epoch_in(raw: Sequence[Any], context: Context, tally: CountStore, reader: _Arrays) -> LimitEpoch:
    """What a guard counted under an earlier limit."""
    guard, (restarts, opened, burst) = _guard_in(raw[0]), raw[1:]
    rule = GUARDS[guard.name].rule(guard, context.of(guard))
    rows, parts = reader.columns(ROWS, rule.width), reader.columns(len(tally.segments), rule.width)
    fails = reader.columns(ROWS, widths(rule)[0]) if tally.timings and isinstance(rule, Slower | Ratio) else None
    return LimitEpoch(guard, rule, rows, parts, _restarts_in(restarts), opened, float.fromhex(burst), fails)


class _Arrays:
    """Cuts arrays off a body; raises `EvidenceError` when it does not hold exactly those asked for."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def take(self, *shape: int) -> Counts:
        return np.frombuffer(self._cut(int(np.prod(shape)) * 8), dtype="<i8").astype(np.int64).reshape(shape)

    def columns(self, rows: int, width: int) -> Counts:
        """What `_columns_out` made of a table."""
        new = np.unpackbits(np.frombuffer(self._cut((width + 7) // 8), np.uint8), count=width)
        if width and not new[0]:
            raise EvidenceError("a damaged snapshot: its first column is as that before it")
        # Not by an index in brackets, whose result may lie in memory column by column.
        return np.take(self.take(rows, int(new.sum())), np.cumsum(new) - 1, axis=1)

    def bursts(self, columns: int, raw: list[int]) -> Bursts:
        pairs, past, fill = raw
        if not (0 <= past <= KEPT and 0 <= fill < LENGTH):
            raise EvidenceError("a damaged snapshot: more latest pairs than are kept")
        found = Bursts.empty(columns)
        for array in found.arrays:
            array[:] = self.take(*array.shape)
        recent = np.frombuffer(self._cut(2 * columns * (past + fill)), dtype="<i2")
        found.recent[:, KEPT - past : KEPT + fill] = recent.reshape(columns, past + fill)
        found.pairs, found.past, found.fill = pairs, past, fill
        return found

    def timings(self, rules: Sequence[TimedRule]) -> Timings:
        shapes = Timings.empty(rules)
        fails, passes = (self.columns(*array.shape) for array in (shapes.fails, shapes.passes))
        return Timings(fails, passes, self.take(*shapes.paces.shape))

    def pass_blocks(self, slots: Sequence[Slot], raw: list[Any]) -> PassBlocks:
        pairs, late = raw
        found = PassBlocks.empty(slots)
        found.sums, found.count = self.take(*found.sums.shape), self.take(*found.count.shape)
        found.pairs = GatheredBlocks(self.take(pairs, 4))
        found.late = {key: GatheredBlocks(self.take(rows, 4)) for key, _, rows in late}
        found.fronts = {key: front for key, front, _ in late}
        return found

    def _cut(self, size: int) -> bytes:
        part = self._body[self._at : self._at + size]
        if len(part) != size:
            raise EvidenceError("a damaged snapshot: it ends too early")
        self._at += size
        return part

    def end(self) -> None:
        if self._at != len(self._body):
            raise EvidenceError("a damaged snapshot: it is too long")


def _guard_out(guard: Guard) -> list[Any]:
    """A guard's fields, up to the last that is not empty."""
    fields = [guard.name, guard.limit, guard.relative, guard.tolerance]
    if guard.outcome:
        return [*fields, guard.aspect, guard.outcome, guard.within, guard.in_points]
    return [*fields, *([guard.aspect] if guard.aspect else [])]


def _guard_in(raw: list[Any]) -> Guard:
    return Guard(*raw)


def _aspects_out(aspects: Sequence[Aspect]) -> dict[str, Any]:
    """The only prediction as it is, or several by their names."""
    found = [
        {
            "kinds": one.kinds,
            "learned": one.learned,
            "kind": one.kind.value,
            "reference": _reference_out(one.reference),
        }
        for one in aspects
    ]
    if not aspects[0].name:
        return found[0]
    return {"aspects": {one.name: {**raw, "unread": one.unread} for one, raw in zip(aspects, found, strict=True)}}


def _aspects_in(plan: Plan, header: dict[str, Any]) -> list[Aspect]:
    """The predictions of a plan, in its order."""
    raw = header.get("aspects", {"": header})
    return [_aspect_in(spec.name, raw[spec.name]) for spec in plan.aspects]


def _aspect_in(name: str, raw: dict[str, Any]) -> Aspect:
    reference = _reference_in(raw["reference"])
    return Aspect(name, Kind(raw["kind"]), reference, dict(raw["kinds"]), list(raw["learned"]), raw.get("unread", 0))


def _restarts_in(raw: list[Any]) -> Restarts:
    return Restarts(tuple(raw[0]), raw[1])


def _reference_out(reference: Reference | None) -> list[Any] | None:
    if reference is None:
        return None
    return [getattr(reference, name) for name in Reference.__slots__]


def _reference_in(raw: list[Any] | None) -> Reference | None:
    return None if raw is None else Reference(raw[0], raw[1], tuple(raw[2]), tuple(raw[3]), *raw[4:])


def _recent_out(recent: RecentBodies) -> list[Any]:
    return [[time, f"{h:x}"] for time, h in recent.entries]


def _recent_in(raw: list[Any]) -> RecentBodies:
    return RecentBodies((time, int(h, 16)) for time, h in raw)


def _judged_out(pairs: JudgedPairs) -> list[Any]:
    return [_recent_out(pairs.recent), _clusters_out(pairs.clusters), *pairs.figures]


def _judged_in(raw: list[Any]) -> JudgedPairs:
    return JudgedPairs(_recent_in(raw[0]), _clusters_in(raw[1]), *raw[2:])


def _clusters_out(clusters: Clusters) -> list[Any]:
    *window, users = clusters.entries
    return [*window, [[f"{key:x}", sent, counts] for key, sent, counts in users]]


def _clusters_in(raw: list[Any]) -> Clusters:
    window, requests, most, users = raw
    return Clusters(window, requests, most, [(int(key, 16), sent, counts) for key, sent, counts in users])


def _watch_out(watch: EDetector | None) -> Any:
    """The e-detector's sums as hexadecimal floats: exact."""
    if watch is None:
        return None
    logs = {name: [list(log.shape), [x.hex() for x in log.ravel().tolist()]] for name, log in watch.logs.items()}
    return [watch.minute, logs, watch.blocks, watch.parts, _bursts_out(watch.bursts)]


def _blocks_out(blocks: OpenBlocks | None) -> list[Any] | None:
    """Length, first open block, workers, and how many pairs wait."""
    if blocks is None:
        return None
    return [blocks.length.hex(), blocks.start, dict(sorted(blocks.front.items())), len(blocks.rows)]


def _blocks_in(raw: list[Any] | None, reader: _Arrays) -> OpenBlocks | None:
    if raw is None:
        return None
    length, start, front, waiting = raw
    blocks = OpenBlocks(float.fromhex(length), WIDTH)
    blocks.restore(reader.take(waiting, FACTS + WIDTH), start, front)
    return blocks


def _watch_in(raw: list[Any], tally: CountStore, reader: _Arrays) -> EDetector:
    counts = reader.columns(2, tally.rows.shape[1])
    minute, logs, blocks, parts, last = raw
    bursts = reader.bursts(len(tally.bursts.sums), last)
    read = {name: np.array([float.fromhex(x) for x in values]).reshape(shape) for name, (shape, values) in logs.items()}
    return EDetector(counts, bursts, minute, read, blocks, parts)


def _bursts_out(bursts: Bursts) -> list[int]:
    return [bursts.pairs, bursts.past, bursts.fill]


def _arrays_of(bursts: Bursts) -> list[NDArray[Any]]:
    return [*bursts.arrays, bursts.recent[:, KEPT - bursts.past : KEPT + bursts.fill]]
