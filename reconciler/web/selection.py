"""Which objects a visitor asks for, as the query of the URL says it. Bounded, whatever it says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

from reconciler.planner import ObjectStatus, Phase
from reconciler.types import Kind
from reconciler.web.catalog import Catalog

ROWS = 100
_LONGEST_TEXT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Empty parts ask for everything. ``page`` counts from 1."""

    text: str = ""
    phases: frozenset[Phase] = frozenset()
    namespace: str = ""
    kind: Kind | None = None
    page: int = 1

    @classmethod
    def parse(cls, query: str) -> Selection:
        """Read a query; what it cannot mean is left out."""
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
        """The URL that asks for it."""
        pairs = [("q", self.text), ("namespace", self.namespace)]
        pairs += [("kind", self.kind.value if self.kind else "")]
        pairs += [("phase", phase.value) for phase in sorted(self.phases)]
        pairs += [("page", str(self.page) if self.page > 1 else "")]
        query = urlencode([(name, text) for name, text in pairs if text])
        return f"/?{query}" if query else "/"

    def at(self, page: int) -> Selection:
        """Another page of the same."""
        return replace(self, page=page)

    def toggled(self, phase: Phase) -> Selection:
        """The same with a phase more, or less."""
        return replace(self, phases=self.phases ^ {phase}, page=1)

    def any_phase(self) -> Selection:
        """The same in whatever phase."""
        return replace(self, phases=frozenset(), page=1)

    @property
    def narrows(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.text or self.phases or self.namespace or self.kind)

    def matches(self, record: ObjectStatus) -> bool:
        """Whether an object is asked for; the text is looked for in its name and its reason."""
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
    """One page of what is asked for; ``found`` is all of it, ``selection`` with the page shown."""

    selection: Selection
    found: tuple[ObjectStatus, ...]
    pages: int

    @property
    def first(self) -> int:
        """The place of the first row, from 1; 0 where there is none."""
        return (self.selection.page - 1) * ROWS + 1 if self.found else 0

    @property
    def rows(self) -> tuple[ObjectStatus, ...]:
        """The objects of this page."""
        start = (self.selection.page - 1) * ROWS
        return self.found[start : start + ROWS]


def listed(catalog: Catalog, selection: Selection) -> Listed:
    """The page that is asked for; of too high a number the last one."""
    everything: Iterable[ObjectStatus] = catalog.ordered
    found = tuple(filter(selection.matches, everything) if selection.narrows else everything)
    pages = max(1, -(-len(found) // ROWS))
    return Listed(selection.at(max(1, min(selection.page, pages))), found, pages)


_PHASES = frozenset(phase.value for phase in Phase)
_KINDS = frozenset(kind.value for kind in Kind)
