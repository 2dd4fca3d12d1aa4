"""The selection of objects in a URL's query, bounded whatever it says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

from reconciler.planner import ObjectStatus, Phase
from reconciler.types import Kind
from reconciler.web.snapshot import Catalog

ROWS = 100
_LONGEST_TEXT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A filter of objects and a page of the result.

    Empty parts select everything. ``page`` counts from 1.
    """

    text: str = ""
    phases: frozenset[Phase] = frozenset()
    namespace: str = ""
    kind: Kind | None = None
    page: int = 1

    @classmethod
    def parse(cls, query: str) -> Selection:
        """Read a query; ignore what is invalid."""
        pairs = parse_qsl(query, max_num_fields=40) if query.count("&") < 40 else []
        named = dict(pairs)
        number = named.get("page", "")
        return cls(
            text=named.get("q", "").strip()[:_LONGEST_TEXT],
            phases=frozenset(
                Phase(text) for name, text in pairs if name == "phase" and text in _PHASES
            ),
            namespace=named.get("namespace", "")[:_LONGEST_TEXT],
            kind=Kind(named["kind"]) if named.get("kind") in _KINDS else None,
            page=int(number) if number.isascii() and number.isdigit() and len(number) < 7 else 1,
        )

    @property
    def href(self) -> str:
        """Return the URL of the selection."""
        pairs = [("q", self.text), ("namespace", self.namespace)]
        pairs += [("kind", self.kind.value if self.kind else "")]
        pairs += [("phase", phase.value) for phase in sorted(self.phases)]
        pairs += [("page", str(self.page) if self.page > 1 else "")]
        query = urlencode([(name, text) for name, text in pairs if text])
        return f"/?{query}" if query else "/"

    @property
    def compare_href(self) -> str:
        """Return the URL of the comparison of its artifacts."""
        return self.href.replace("/", "/compare", 1)

    def at(self, page: int) -> Selection:
        """Return the same filter with another page."""
        return replace(self, page=page)

    def toggled(self, phase: Phase) -> Selection:
        """Return the same filter with a phase added or removed."""
        return replace(self, phases=self.phases ^ {phase}, page=1)

    def any_phase(self) -> Selection:
        """Return the same filter for all phases."""
        return replace(self, phases=frozenset(), page=1)

    @property
    def narrows(self) -> bool:
        """Return whether the filter may exclude anything."""
        return bool(self.text or self.phases or self.namespace or self.kind)

    def matches(self, record: ObjectStatus) -> bool:
        """Return whether an object is selected.

        The text is searched in its name and its reason.
        """
        ref = record.ref
        if self.phases and record.phase not in self.phases:
            return False
        if self.namespace and ref.namespace != self.namespace:
            return False
        if self.kind is not None and ref.kind is not self.kind:
            return False
        wanted = self.text.casefold()
        return wanted in str(ref).casefold() or wanted in record.message.casefold()


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a selection.

    ``found`` are the objects of all pages, and ``selection`` has the number of the page shown.
    """

    selection: Selection
    found: tuple[ObjectStatus, ...]
    pages: int

    @property
    def first(self) -> int:
        """Return the first row's place, from 1; 0 without rows."""
        return (self.selection.page - 1) * ROWS + 1 if self.found else 0

    @property
    def rows(self) -> tuple[ObjectStatus, ...]:
        """Return the objects of this page."""
        start = (self.selection.page - 1) * ROWS
        return self.found[start : start + ROWS]


def listed(catalog: Catalog, selection: Selection) -> Listed:
    """Return the selected page, at most the last one."""
    everything: Iterable[ObjectStatus] = catalog.ordered
    found = tuple(filter(selection.matches, everything) if selection.narrows else everything)
    pages = max(1, -(-len(found) // ROWS))
    return Listed(selection.at(max(1, min(selection.page, pages))), found, pages)


_PHASES = frozenset(phase.value for phase in Phase)
_KINDS = frozenset(kind.value for kind in Kind)
