"""Forecasts of the time and cost of tasks. Pure.

They are made from the runs that were complete.

A forecast is the median of the last complete runs of the object, else of its kin: runs of the same
image, or of objects with the same base. Where the history has runs with different numbers of epochs
or steps, and their times follow it, each is scaled to the number that is asked for. What the
history does not show is unknown: a number of epochs that no run had, while all had the same one, is
not extrapolated.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations, islice
from statistics import median

from reconciler.manifests import ModelSource
from reconciler.planner.object_status import HistoryEntry, ObjectStatus
from reconciler.planner.phases import TaskPhase
from reconciler.planner.prices import Prices
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.types import JSON, ObjectRef, TaskKey, TaskKind

#: Complete runs that a forecast is the median of, and those that show what time follows.
LAST, FITTED = 5, 20
#: Params that say how long a command goes on.
LENGTHS = ("epochs", "steps", "num_train_epochs", "max_steps")
#: The median relative error at most of times that follow a param.
_FOLLOWS = 0.25
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class ForecastBasis(enum.StrEnum):
    """The history that a forecast is made from."""

    OWN = "own"
    KIN = "kin"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, and what nine in ten stay below."""

    p50: float
    p90: float

    def times(self, factor: float) -> Spread:
        """Return the spread of a multiple."""
        return Spread(self.p50 * factor, self.p90 * factor)

    def rounded(self) -> Spread:
        """Return the spread as documents have it."""
        return Spread(round(self.p50, 6), round(self.p90, 6))

    def plus(self, other: Spread) -> Spread:
        """Return the sum: of p90, what a sum hardly exceeds."""
        return Spread(self.p50 + other.p50, self.p90 + other.p90)


ZERO = Spread(0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """An estimate of one run: pod seconds, GPU seconds, cost.

    All are None without a basis, ``cost`` also without prices. ``runs`` counts those it is made of.
    """

    basis: ForecastBasis = ForecastBasis.NONE
    seconds: Spread | None = None
    gpu_seconds: Spread | None = None
    cost: Spread | None = None
    runs: int = 0


UNKNOWN = Forecast()
#: A complete run, and the object that it was of.
_Kin = tuple[ObjectRef, HistoryEntry]


@dataclass(slots=True)
class Forecaster:
    """Forecasts from the records of all objects.

    Its indexes are made when they are needed.
    """

    records: Mapping[ObjectRef, ObjectStatus]
    desired: Mapping[ObjectRef, ResolvedObject]
    prices: Prices
    _by_image: dict[tuple[TaskKind, str], list[HistoryEntry]] | None = None
    _by_base: dict[tuple[TaskKind, tuple[str, ...]], list[_Kin]] | None = None
    _known: dict[tuple[ObjectRef, TaskKind, TaskKey | None], Forecast] = field(default_factory=dict)

    def of(self, ref: ObjectRef, task: Task) -> Forecast:
        """Return the forecast of an object's task."""
        place = ref, task.kind, task.key  # the trainings of a sweep have other params
        known = self._known.get(place)
        if known is None:
            known = self._known[place] = self._made(ref, task)
        return known

    def _made(self, ref: ObjectRef, task: Task) -> Forecast:
        record = self.records.get(ref)
        history = complete(record.history if record is not None else (), task.kind)
        own = [entry for entry in history if entry.for_evaluation is task.for_evaluation]
        times, basis = forecast_times(own, task.params), ForecastBasis.OWN
        if not times:
            times, basis = forecast_times(self._image_kin(task), task.params), ForecastBasis.KIN
        if not times:
            times = forecast_times(self._base_kin(ref, task), task.params)
        if not times:
            return UNKNOWN
        seconds = spread(times)
        costs = (self.prices.cost(task.resources, s) for s in (seconds.p50, seconds.p90))
        return Forecast(
            basis=basis,
            seconds=seconds,
            gpu_seconds=seconds.times(task.resources.gpus),
            cost=Spread(*costs) if self.prices else None,
            runs=len(times),
        )

    def _image_kin(self, task: Task) -> Iterable[HistoryEntry]:
        if self._by_image is None:
            self._by_image = defaultdict(list)
            for record in self.records.values():
                for entry in record.history:
                    if entry.image_key is not None and is_complete(entry):
                        self._by_image[entry.task, entry.image_key].append(entry)
            # Thousands may share an image or a base, and each of them asks: sorted once.
            self._by_image = {at: _newest(found) for at, found in self._by_image.items()}
        # The key of a build is that of its image: a build has no kin but the same one again.
        if task.kind is TaskKind.BUILD or task.image_key is None:
            return ()
        return self._by_image.get((task.kind, task.image_key), ())

    def _base_kin(self, ref: ObjectRef, task: Task) -> Iterable[HistoryEntry]:
        if self._by_base is None:
            self._by_base = defaultdict(list)
            for other, item in self.desired.items():
                record = self.records.get(other)
                if record is not None and (base := _base(item)) is not None:
                    for entry in filter(is_complete, record.history):
                        self._by_base[entry.task, base].append((other, entry))
            for kin in self._by_base.values():
                kin.sort(key=lambda each: _finished(each[1]))
        own = self.desired.get(ref)
        base = _base(own) if own is not None else None
        if base is None or task.kind is TaskKind.BUILD:
            return []
        kin = self._by_base.get((task.kind, base), [])
        newest = islice((entry for other, entry in reversed(kin) if other != ref), FITTED)
        return list(newest)[::-1]


def _base(item: ResolvedObject) -> tuple[str, ...] | None:
    """Return the place of an object's base model, if it has one."""
    source = item.manifest.document.spec.source
    base = source.model if isinstance(source, ModelSource) else None
    if base is None:
        return None
    return base.cluster or "", base.namespace or item.ref.namespace, base.name


def is_complete(entry: HistoryEntry) -> bool:
    """Return whether an entry tells how long a whole run takes."""
    return entry.phase is TaskPhase.SUCCEEDED and entry.seconds > 0


def complete(history: Iterable[HistoryEntry], kind: TaskKind) -> list[HistoryEntry]:
    """Return the entries of complete runs of a kind of task."""
    return [entry for entry in history if entry.task is kind and is_complete(entry)]


def _newest(history: Iterable[HistoryEntry]) -> list[HistoryEntry]:
    """Return the last entries, in the order of their ends."""
    return sorted(history, key=_finished)[-FITTED:]


def _finished(entry: HistoryEntry) -> datetime:
    return entry.finished or _LONG_AGO


def forecast_times(history: Iterable[HistoryEntry], params: Mapping[str, JSON]) -> Sequence[float]:
    """Return the times of the last complete runs, scaled to params.

    Empty if they are unknown.
    """
    entries = _newest(history)
    for name in LENGTHS:
        asked = _length(params, name)
        if asked is None:
            continue
        pairs = [(n, e.seconds) for e in entries if (n := _length(e.params, name)) is not None]
        if not pairs:
            return ()
        return _scaled(pairs, asked)
    return [entry.seconds for entry in entries[-LAST:]]


def _scaled(pairs: Sequence[tuple[float, float]], asked: float) -> Sequence[float]:
    """Scale the times of the last runs to a length.

    Only as far as times follow the length.
    """
    last = pairs[-LAST:]
    if len({n for n, _ in pairs}) == 1:
        return [seconds for _, seconds in last] if pairs[0][0] == asked else ()
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(pairs, 2) if a[0] != b[0]]
    slope = max(0.0, median(slopes))
    start = max(0.0, median(seconds - slope * n for n, seconds in pairs))
    errors = [abs(start + slope * n - seconds) / seconds for n, seconds in pairs]
    same = [seconds for n, seconds in pairs if n == asked][-LAST:]
    if median(errors) > _FOLLOWS or start + slope * asked <= 0:
        # Other params matter more. Runs of the same length still tell what one takes.
        return same or ([seconds for _, seconds in last] if _between(pairs, asked) else ())
    return [
        seconds * (start + slope * asked) / (start + slope * n)
        for n, seconds in last
        if start + slope * n > 0
    ]


def _between(pairs: Sequence[tuple[float, float]], asked: float) -> bool:
    lengths = [n for n, _ in pairs]
    return min(lengths) <= asked <= max(lengths)


def _length(params: Mapping[str, JSON], name: str) -> float | None:
    value = params.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
        return None
    return float(value)


def spread(times: Sequence[float]) -> Spread:
    """Return the median and the 90th percentile, between the two nearest times."""
    found = sorted(times)
    place = 0.9 * (len(found) - 1)
    low = int(place)
    high = min(low + 1, len(found) - 1)
    return Spread(median(found), found[low] + (place - low) * (found[high] - found[low]))
