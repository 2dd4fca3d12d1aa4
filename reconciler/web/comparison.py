"""The page that compares the artifacts of selected objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, urlencode

from reconciler.review import (
    ArtifactComparison,
    ComparedArtifact,
    CompareOrder,
    compare_artifacts,
    sortable_columns,
)
from reconciler.types import Commit, ObjectRef
from reconciler.web.history import MOST_METRICS, MOST_PARAMS
from reconciler.web.selection import Selection, listed
from reconciler.web.snapshot import Catalog

#: Objects whose artifacts are compared, and rows that are shown.
MOST_OBJECTS, MOST_ROWS = 500, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSelection:
    """A page of a comparison, bounded; ``more_…`` counts what is left out."""

    selection: Selection
    order: CompareOrder
    found: ArtifactComparison
    more_objects: int
    more_rows: int
    more_columns: int

    def href(self, column: str) -> str:
        """Return the URL of the rows sorted by a column."""
        ascending = column == self.order.column and not self.order.ascending
        sort = {"sort": column} | ({"order": "asc"} if ascending else {})
        query = self.selection.href.partition("?")[2]
        return f"/compare?{'&'.join(filter(None, [query, urlencode(sort)]))}"

    @property
    def curve_query(self) -> str:
        """Return the query of these rows, without a curve."""
        pairs = [self.selection.href.partition("?")[2]]
        pairs.append(urlencode({"sort": self.order.column}))
        pairs.append("order=asc" if self.order.ascending else "")
        return "&".join(filter(None, pairs))

    def aria_sort(self, column: str) -> str:
        """Return the column's value of ``aria-sort``."""
        if column != self.order.column:
            return "none"
        return "ascending" if self.order.ascending else "descending"

    def with_subjects(self, subjects: Mapping[Commit, str]) -> ComparedSelection:
        """Return the page with the known subjects of its commits."""
        return replace(self, found=self.found.with_subjects(subjects))

    def ref(self, row: ComparedArtifact) -> ObjectRef:
        """Return the object of a row."""
        return ObjectRef(row.kind, row.namespace, row.name)


def compared_selection(catalog: Catalog, selection: Selection, query: str) -> ComparedSelection:
    """Compare the artifacts of selected objects, ordered by a query."""
    page = listed(catalog, selection)
    records, selection, among = page.found, page.selection, catalog.records
    order = _order(query)
    shown = [(record, None) for record in records[:MOST_OBJECTS]]
    found = compare_artifacts(shown, among.values(), order=CompareOrder())
    if order.column in sortable_columns(found):
        found = compare_artifacts(shown, among.values(), order=order)
    else:
        order = CompareOrder()
    return ComparedSelection(
        selection=selection,
        order=order,
        found=replace(
            found,
            params=found.params[:MOST_PARAMS],
            metrics=found.metrics[:MOST_METRICS],
            artifacts=found.artifacts[:MOST_ROWS],
        ),
        more_objects=len(records[MOST_OBJECTS:]),
        more_rows=len(found.artifacts[MOST_ROWS:]),
        more_columns=len(found.params[MOST_PARAMS:]) + len(found.metrics[MOST_METRICS:]),
    )


def _order(query: str) -> CompareOrder:
    named = parse_qs(query, max_num_fields=40) if query.count("&") < 40 else {}
    column = named.get("sort", ["finished"])[0]
    return CompareOrder(column, named.get("order") == ["asc"])
