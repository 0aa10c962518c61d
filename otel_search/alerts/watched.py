"""What has been seen of the series that expressions look at, one snapshot after the other.

The sums that rules look at are kept, and not the series: a service with thousands of series, looked
back at for three days, takes some hundred kilobytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from otel_search.alerts.expression import Series
from otel_search.alerts.history import Track
from otel_search.alerts.samples import Key, Sample

Group = Key
"""The labels of one group of series, by whose values a rule tells its alerts apart."""

_MAX_GROUPS = 1000


@dataclass
class Watched:
    """Some series, watched for one purpose.

    Attributes:
        by: The labels that make their groups.
        kind: `growth`, `resets`, `count`, or how gauges become one.
        seconds: How long it is looked back.
        observed: When it was looked at last.
        last: The value of each series at the last look; times, for `count`.
        tracks: What came of it, by group.
        traces: The last known trace of each group.
    """

    series: Series
    by: tuple[str, ...]
    kind: str
    seconds: float = 0.0
    observed: float | None = None
    last: dict[Key, float] = field(default_factory=dict)
    groups: dict[Key, Group] = field(default_factory=dict)
    tracks: dict[Group, Track] = field(default_factory=dict)
    traces: dict[Group, tuple[float, str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The same in each process, to find it again in what another has left."""
        where = " or ".join(",".join(map(str, each)) for each in self.series.any_of)
        return f"{self.kind} {self.series.name}{{{where}}} by {','.join(self.by)}"

    @property
    def is_kept(self) -> bool:
        """Whether a process that goes on needs it: who counts series counts them anew."""
        return self.kind != "count"

    def look(self, found: list[Sample], now: float, *, since_start: bool) -> None:
        """Take the samples of one snapshot.

        Args:
            found: Those of these series; numbers all of them.
            now: When it was taken, in seconds since the epoch.
            since_start: See `Evaluator.observe`.
        """
        if self.kind in ("growth", "resets"):
            self._add_growth(found, now, since_start=since_start)
        elif self.kind == "count":
            self.last |= dict.fromkeys((sample.key for sample in found), now)
            self.last = {key: when for key, when in self.last.items() if when >= now - self.seconds}
            self.groups = {key: group for key, group in self.groups.items() if key in self.last} | {
                sample.key: self._group(sample) for sample in found
            }
        else:
            self._add_gauges(found, now)
        self.observed = now
        self._forget(now)

    def _group(self, sample: Sample) -> Group:
        return tuple((label, sample.labels[label]) for label in self.by if sample.labels.get(label))

    def _add_growth(self, found: list[Sample], now: float, *, since_start: bool) -> None:
        fresh = self.observed is None
        before = now - 1e-3 if self.observed is None else self.observed
        growth: dict[Group, float] = {}
        last, self.last = self.last, {}
        for sample in found:
            group = self._group(sample)
            known = last.get(sample.key)
            self.last[sample.key] = sample.value
            if self.kind == "resets":
                went_back = known is not None and (since_start or sample.value < known)
                delta = float(went_back)
            elif since_start or (known is None and not fresh):
                delta = sample.value
            elif known is None:
                delta = 0.0
            else:
                # A counter that went backwards has started anew.
                delta = sample.value - known if sample.value >= known else sample.value
            growth[group] = growth.get(group, 0.0) + delta
            if sample.exemplar is not None and (sample.exemplar[1] > self.traces.get(group, (0.0,))[0]):
                self.traces[group] = (sample.exemplar[1], sample.exemplar[2], sample.exemplar[3])
        for group, delta in growth.items():
            track = self.tracks.get(group)
            if track is None:
                track = self.tracks[group] = Track(self.seconds)
                if not fresh or since_start:
                    track.add(before, 0.0)  # before there was a series, nothing had been counted
            track.add(now, (track.last() or 0.0) + delta)

    def _add_gauges(self, found: list[Sample], now: float) -> None:
        groups: dict[Group, list[float]] = {}
        for sample in found:
            groups.setdefault(self._group(sample), []).append(sample.value)
        for group, values in groups.items():
            self.tracks.setdefault(group, Track(self.seconds)).add(now, _aggregated(self.kind, values))

    def _forget(self, now: float) -> None:
        """Forget groups that have been silent for a window, and never keep more than a bound."""
        silent = [group for group, track in self.tracks.items() if track.times[-1] < now - self.seconds]
        more = sorted(self.tracks, key=lambda group: self.tracks[group].times[-1])[:-_MAX_GROUPS]
        for group in {*silent, *more}:
            del self.tracks[group]
            self.traces.pop(group, None)

    def look_back(self, seconds: float) -> None:
        """Look back for so many seconds from now on."""
        self.seconds = seconds
        for track in self.tracks.values():
            track.seconds = seconds

    def state(self) -> dict[str, Any]:
        """What `restored` needs, for JSON: the sums, and the last values that resets are seen by."""
        last = self.last.items() if self.kind == "resets" else ()
        return {
            "tracks": [[list(map(list, group)), track.state()] for group, track in self.tracks.items()],
            # JSON has no infinity.
            "last": [[list(map(list, key)), value] for key, value in last if math.isfinite(value)],
        }

    def restored(self, state: Any) -> tuple[dict[Group, Track], dict[Key, float]]:
        """The tracks and the last values that another process has left.

        Raises:
            KeyError, TypeError, ValueError: It is not what `state` returns.
        """
        tracks = {}
        for group, samples in state["tracks"][:_MAX_GROUPS]:
            track = Track(self.seconds)
            track.restore(samples)
            if track.times:
                tracks[_key(group)] = track
        return tracks, {_key(key): float(value) for key, value in state["last"]}


def _key(pairs: Any) -> Key:
    return tuple((str(name), str(value)) for name, value in pairs)


def _aggregated(how: str, values: list[float]) -> float:
    match how:
        case "max":
            return max(values)
        case "min":
            return min(values)
        case "avg":
            return sum(values) / len(values)
    return sum(values)
