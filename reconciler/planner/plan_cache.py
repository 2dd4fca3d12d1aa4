"""The cache of everything remembered between two plans.

With 10,000 objects of which one has changed, working out all of them again costs seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from reconciler.planner.identical import differing, same_keys, same_values
from reconciler.planner.plan import Plan

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
V = TypeVar("V")

#: Pairs of mappings whose difference is kept: a sync compares fewer.
_COMPARED = 8


@dataclass(frozen=True, slots=True)
class CacheEntry(Generic[V]):
    """A value, and the inputs that it was made from."""

    inputs: tuple[Any, ...]
    value: V


class PlanCache:
    """Everything remembered between two plans of one repository and configuration.

    The invariant: a plan, and the statuses that it gives, are the same with this cache as with an
    empty one. An entry therefore has the result of a pure function and the inputs of it, and is
    valid while exactly these inputs are identical: the very same objects, or equal text. Python's
    ``==`` would take a param of ``1`` for ``true``. No input and no value is changed in place.

    ``applied`` is the last plan that was applied, for :mod:`reconciler.planner.unchanged`: unlike
    an entry it says what has happened, and can be absent, but not made again.

    As a context, the cache is dropped as a whole by any error: what an error left is not trusted.
    To be used from one thread at a time.
    """

    def __init__(self) -> None:
        self.applied: Plan | None = None
        self._entries: dict[str, CacheEntry[Any]] = {}
        self._compared: list[tuple[Mapping[Any, Any], Mapping[Any, Any], AbstractSet[Any]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            self.applied = None
            self._entries.clear()
            self._compared.clear()

    def value(
        self, name: str, inputs: tuple[Any, ...], make: Callable[[CacheEntry[V] | None], V]
    ) -> V:
        """Return what was made of identical inputs, or make it.

        ``make`` gets the last entry, as a result can often be had from that at the cost of the
        difference.
        """
        last: CacheEntry[V] | None = self._entries.get(name)
        if last is not None and _identical(last.inputs, inputs):
            return last.value
        value = make(last)
        self._entries[name] = CacheEntry(inputs, value)
        return value

    def table(
        self, name: str, rows: Mapping[K, V], make: Callable[[K, V], R | None], *common: Any
    ) -> Mapping[K, R]:
        """Return the result of each row; None leaves a row out.

        Only rows that differ are made again, or all when ``common`` inputs differ. Where no result
        differs, the mapping is the very same as the last one.
        """

        def amended(last: CacheEntry[Mapping[K, R]] | None) -> Mapping[K, R]:
            before, old = (last.inputs[0], last.value) if last is not None else ({}, {})
            changed = self.differing(before, rows)
            if last is not None and _identical(last.inputs[1:], common):
                keys = (key for key in changed if key in rows)
                stale = [key for key in keys if not _same(before.get(key), rows[key])]
            else:
                stale = list(rows)
            made = {key: make(key, rows[key]) for key in stale}
            new = {
                key: value
                for key, value in made.items()
                if value is not None and not _same(value, old.get(key))
            }
            if all(key in rows and key in before for key in changed) and not any(
                (value is None) is (key in old) for key, value in made.items()
            ):
                return {**old, **new} if new else old
            found = {**old, **new}
            return {key: found[key] for key in rows if made.get(key, found.get(key)) is not None}

        return self.value(name, (rows, *common), amended)

    def differing(self, before: Mapping[K, V], now: Mapping[K, V]) -> AbstractSet[K]:
        """Return the keys that differ; the same pair is compared once."""
        for one, other, found in self._compared:
            if one is before and other is now:
                return found
        changed = frozenset(differing(before, now))
        self._compared = [(before, now, changed), *self._compared[: _COMPARED - 1]]
        return changed

    def snapshot(self, name: str, rows: Mapping[K, V]) -> Mapping[K, V]:
        """Copy a mutable mapping; return the last copy while that is identical."""
        last: CacheEntry[Mapping[K, V]] | None = self._entries.get(name)
        if last is None or not same_keys(last.value, rows) or not same_values(last.value, rows):
            last = self._entries[name] = CacheEntry((), dict(rows))
        return last.value

    def same(self, name: str, rows: Mapping[K, V]) -> Mapping[K, V]:
        """Replace rows by their equals in the last call, which are identical."""
        last: CacheEntry[Mapping[K, V]] | None = self._entries.get(name)
        old = last.value if last is not None else {}
        return self.snapshot(
            name, {key: old[key] if old.get(key) == value else value for key, value in rows.items()}
        )


def _same(one: object, other: object) -> bool:
    return one is other or (isinstance(one, str | bytes) and one == other)


def _identical(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return len(before) == len(now) and all(map(_same, before, now))
