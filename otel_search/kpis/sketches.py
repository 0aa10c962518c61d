"""Sketches of what cannot be counted in sums: who came, for how long, and what was asked.

A sketch has a bounded size whatever comes, and those of several workers and moments can be merged;
Apache DataSketches (the extra `kpis`) has them, with proven errors. Each kind of sketch is kept by
slots of time, so that what is older than the window can be left out.
"""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import datasketches

from otel_search.kpis.stays import Stay, joined

S = TypeVar("S")

_LG_USERS = 12  # 4,096 registers, 2 KB: a standard error of 1.6 %
_LG_SESSIONS = 10  # 1,024 sessions, chosen by their hash and so the same ones in each worker
_LG_SHAPES = 7  # 96 different shapes


@dataclass(frozen=True)
class Kind(Generic[S]):
    """One kind of sketch.

    Attributes:
        seconds: How long a slot is.
        new: Makes an empty one.
        to_bytes: Of one.
        from_bytes: One, as it was.
        merged: One of several.
    """

    seconds: int
    new: Callable[[], S]
    to_bytes: Callable[[S], bytes]
    from_bytes: Callable[[bytes], S]
    merged: Callable[[Iterable[S]], S]


class Slots(Generic[S]):
    """Sketches of one kind by slots of time.

    Args:
        kind: Of the sketches.
        keep: Seconds after whose end a slot is dropped.
    """

    def __init__(self, kind: Kind[S], keep: float) -> None:
        self._kind = kind
        self._keep = keep
        self._slots: dict[int, S] = {}
        self._before: dict[int, S] = {}
        self._done: dict[int, str] = {}

    def at(self, now: float) -> S:
        """The sketch that is open now."""
        slot = int(now // self._kind.seconds)
        sketch = self._slots.get(slot)
        if sketch is None:
            sketch = self._slots[slot] = self._kind.new()
            oldest = (now - self._keep) // self._kind.seconds
            for kept in (self._slots, self._before, self._done):
                for old in [each for each in kept if each < oldest]:
                    del kept[old]
        return sketch

    def since(self, start: float) -> Iterator[S]:
        """The sketches of all slots that end after `start`."""
        oldest = start // self._kind.seconds
        for kept in (self._slots, self._before):
            for slot, sketch in kept.items():
                if slot >= oldest:
                    yield sketch

    def dump(self, now: float) -> dict[str, str]:
        """All of it as text; what is closed is worked out once."""
        current = int(now // self._kind.seconds)
        told = {}
        for slot in {*self._slots, *self._before}:
            text = self._done.get(slot)
            if text is None:
                there = [kept[slot] for kept in (self._before, self._slots) if slot in kept]
                sketch = there[0] if len(there) == 1 else self._kind.merged(there)
                text = b64encode(self._kind.to_bytes(sketch)).decode()
                if slot < current:
                    self._done[slot] = text
            told[str(slot)] = text
        return told

    def load(self, told: dict[str, str]) -> None:
        """Add what another has dumped."""
        for key, text in told.items():
            slot, sketch = int(key), self._kind.from_bytes(b64decode(text))
            known = self._before.get(slot)
            self._before[slot] = sketch if known is None else self._kind.merged([known, sketch])
            self._done.pop(slot, None)

    def clear(self) -> None:
        """Drop all of it."""
        for kept in (self._slots, self._before, self._done):
            kept.clear()


class _Joining(datasketches.TuplePolicy):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()

    def create_summary(self) -> list[Stay]:
        return []

    def update_summary(self, summary: list[Stay], value: float) -> list[Stay]:
        return joined(summary, [(value, value)])

    def __call__(self, summary: list[Stay], other: list[Stay]) -> list[Stay]:
        return joined(summary, other)


class _StaysAsBytes(datasketches.PyObjectSerDe):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()

    def get_size(self, stays: list[Stay]) -> int:
        return 4 + 16 * len(stays)

    def to_bytes(self, stays: list[Stay]) -> bytes:
        return struct.pack(f"<i{2 * len(stays)}d", len(stays), *(moment for stay in stays for moment in stay))

    def from_bytes(self, data: bytes, offset: int) -> tuple[list[Stay], int]:
        (count,) = struct.unpack_from("<i", data, offset)
        moments = struct.unpack_from(f"<{2 * count}d", data, offset + 4)
        return list(zip(moments[::2], moments[1::2], strict=True)), 4 + 16 * count


def _new_users() -> Any:
    return datasketches.hll_sketch(_LG_USERS, datasketches.tgt_hll_type.HLL_4)


def _merged_users(sketches: Iterable[Any]) -> Any:
    union = datasketches.hll_union(_LG_USERS)
    for sketch in sketches:
        union.update(sketch)
    return union.get_result(datasketches.tgt_hll_type.HLL_4)


def _merged_sessions(sketches: Iterable[Any]) -> Any:
    union = datasketches.tuple_union(_Joining(), _LG_SESSIONS)
    for sketch in sketches:
        union.update(sketch)
    return union.get_result()


def _merged_shapes(sketches: Iterable[Any]) -> Any:
    merged = datasketches.frequent_strings_sketch(_LG_SHAPES)
    for sketch in sketches:
        merged.merge(sketch)
    return merged


def _session_bytes(sketch: Any) -> bytes:
    compact = sketch.compact() if hasattr(sketch, "compact") else sketch
    return bytes(compact.serialize(_StaysAsBytes()))


USERS: Kind[Any] = Kind(
    60,
    _new_users,
    lambda sketch: bytes(sketch.serialize_compact()),
    datasketches.hll_sketch.deserialize,
    _merged_users,
)
SESSIONS: Kind[Any] = Kind(
    3600,
    lambda: datasketches.update_tuple_sketch(_Joining(), _LG_SESSIONS),
    _session_bytes,
    lambda data: datasketches.compact_tuple_sketch.deserialize(data, _StaysAsBytes()),
    _merged_sessions,
)
SHAPES: Kind[Any] = Kind(
    300,
    lambda: datasketches.frequent_strings_sketch(_LG_SHAPES),
    lambda sketch: bytes(sketch.serialize()),
    datasketches.frequent_strings_sketch.deserialize,
    _merged_shapes,
)


def frequent(sketch: Any) -> list[tuple[str, int]]:
    """The items of a sketch with their estimated weights, the heaviest first."""
    kind = datasketches.frequent_items_error_type.NO_FALSE_NEGATIVES
    return [(item, int(estimate)) for item, estimate, _, _ in sketch.get_frequent_items(kind)]
