"""``reconciler compare``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import click

from reconciler.cli.options import config_option, format_option, load_if_there, wide_option
from reconciler.cli.recorded_state import RecordedState, StateReader
from reconciler.cli.select import (
    find_key,
    has_labels,
    keys_of,
    kind_option,
    label_option,
    names_argument,
    namespace_option,
    note_unknown_labels,
    read_labels,
    same,
    unknown_name,
    with_removed,
)
from reconciler.cli.table import Column, Listing, console
from reconciler.cli.terminal import json_text, visible
from reconciler.cli.try_artifacts import with_tries
from reconciler.config import Setup
from reconciler.git import GitError
from reconciler.planner import ObjectStatus
from reconciler.review import (
    COMPARISON,
    COMPARISON_ROW,
    COST_TITLE,
    ArtifactComparison,
    CompareOrder,
    code_text,
    compare_artifacts,
    comparison_columns,
    comparison_rows,
    comparison_summary,
    printable,
    prose,
    table_row,
)
from reconciler.types import JSON, Commit, TaskKey
from reconciler.workspace import CommitSubjects


@click.command()
@names_argument
@label_option
@namespace_option
@kind_option
@click.option(
    "--sort",
    default="finished",
    show_default=True,
    metavar="COLUMN[:asc]",
    help="A metric, `finished`, `duration`, `gpuSeconds` or `cost`; the highest first, or with "
    ":asc the lowest.",
)
@format_option("text", "markdown", "csv", "json")
@wide_option
@config_option
def compare(
    names: tuple[str, ...],
    labels: tuple[str, ...],
    namespace: str | None,
    kind: str | None,
    sort: str,
    style: str,
    output: str | None,
    config_file: Path,
) -> None:
    """Compare artifacts: the params that differ, metrics, code and cost.

    NAMES are Models and Datasets, all of whose artifacts are compared, or keys (their first 6 or
    more digits are enough) of single artifacts. Without NAMES, the artifacts of all objects are
    compared, or of those with a label.

    A row is an artifact. Params that are the same in all have no column. The code is the commit of
    the source, with its subject where the clone, or a daemon of this machine, knows the commit. Of
    an object that is trained, the artifacts of its trainings are compared.
    """
    setup = load_if_there(config_file)
    state = StateReader(setup, Path()).read()
    state.check_synced()
    local = _add_tries(state, setup)
    wanted = read_labels(labels)
    if wanted:
        note_unknown_labels(state)
    found = compare_artifacts(
        *_selected(state, names, namespace=namespace, kind=kind, labels=wanted),
        order=CompareOrder.parse(sort),
        currency=state.prices.currency,
        local=local,
    )
    found = found.with_subjects(_subjects(state, setup, found.commits()))
    if style == "json":
        click.echo(json_text(COMPARISON.dump(found)))
    elif style == "csv":
        click.echo(_csv(found), nl=False)
    elif style == "markdown":
        click.echo(_markdown(found))
    else:
        _print_table(found, wide=output is not None)


def _add_tries(state: RecordedState, setup: Setup | None) -> set[TaskKey]:
    """Add the artifacts of local tries; return their keys."""
    keys: set[TaskKey] = set()
    for ref, record in list(state.records.items()):
        state.records[ref], found = with_tries(record, setup)
        keys |= found
    return keys


def _selected(
    state: RecordedState,
    names: Iterable[str],
    *,
    namespace: str | None,
    kind: str | None,
    labels: dict[str, str],
) -> tuple[list[tuple[ObjectStatus, TaskKey | None]], list[ObjectStatus]]:
    """Return the selected objects with the given keys, and all objects.

    Raises ClickException for an unknown name, and UsageError for the beginning of several keys.
    """
    everything = [*state.records.values(), *state.removed.values()]
    found: list[tuple[ObjectStatus, TaskKey | None]] = []
    for name in names:
        records = with_removed(state, name)
        named = [(record, None) for ref, record in records.items() if ref.name == name]
        if not named and (key := find_key(name, records)) is not None:
            found += [(record, key) for record in records.values() if key in keys_of(record)]
        elif not named:
            raise unknown_name(name, records, recorded=True)
        found += named
    if not names:
        found = [(record, None) for record in state.records.values()]
    return [
        (record, key)
        for record, key in found
        if same(record.ref, name=None, namespace=namespace, kind=kind)
        and has_labels(record, labels, state)
    ], everything


def _subjects(
    state: RecordedState, setup: Setup | None, commits: AbstractSet[Commit]
) -> Mapping[Commit, str]:
    """Return the known subjects of commits.

    They are in the clone, or in the copies of an installation on this machine.
    """
    found: dict[Commit, str] = {}
    repository = state.repository
    for commit in commits:
        try:
            if repository is not None and repository.has(commit):
                found[commit] = repository.subject(commit)
        except GitError:  # a shallow clone, or a damaged one
            pass
    if setup is not None:
        found.update(CommitSubjects.from_setup(setup).of(commits - found.keys()))
    return found


def _print_table(found: ArtifactComparison, *, wide: bool) -> None:
    titles = comparison_columns(found)
    rows = comparison_rows(found)
    numbers = [cell.number for cell in rows[0]] if rows else [False for _ in titles]
    columns = [
        Column(
            printable(title).upper() if title in _OWN else printable(title),
            right=number,
            drop=0 if wide else _DROPPED.get(title, _given(found, title)),
        )
        for title, number in zip(titles, numbers, strict=True)
    ]
    table = Listing(*columns)
    for row in rows:
        table.add(*(printable(cell.text) for cell in row))
    if rows:
        console().print(table, crop=False)
    click.echo(comparison_summary(found))


#: The columns that a narrow terminal has no place for, the highest number first.
_DROPPED = {"object": 0, "key": 0, "GPU seconds": 6, "code": 5, COST_TITLE: 4, "duration": 3}
_KEPT = 2


def _given(found: ArtifactComparison, title: str) -> int:
    """Return when a param's or metric's column is dropped."""
    if title in found.metrics[:_KEPT] or title in found.params[:_KEPT]:
        return 0
    return 2 if title in found.metrics else 1


_OWN = ("object", "key", "code", "duration", "GPU seconds", COST_TITLE)


def _markdown(found: ArtifactComparison) -> str:
    rows = comparison_rows(found)
    if not rows:
        return comparison_summary(found)
    lines = [
        [prose(title) for title in comparison_columns(found)],
        ["--:" if cell.number else "---" for cell in rows[0]],
        *([prose(cell.text) if cell.text else "" for cell in row] for row in rows),
    ]
    table = "\n".join(map(table_row, lines))
    return f"{table}\n\n{comparison_summary(found)}"


def _csv(found: ArtifactComparison) -> str:
    """Write a row per artifact, with whole keys and values.

    A cost stands beside its currency, and the basis that says that it is an estimate.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fixed = ["kind", "namespace", "name", "key", "current", "local", "finished"]
    figures = ["commit", "code", "seconds", "gpuSeconds", "cost"]
    money = ["currency", "costBasis", "url"]
    params = [f"params.{name}" for name in found.params]
    metrics = [f"metrics.{name}" for name in found.metrics]
    writer.writerow([_cell(each) for each in (*fixed, *params, *metrics, *figures, *money)])
    for row in found.artifacts:
        entry = COMPARISON_ROW.dump(row)
        priced = row.cost is not None
        writer.writerow(
            [
                *(_cell(entry[name]) for name in fixed),
                *(_cell(row.params.get(name)) for name in found.params),
                *(_cell(row.metrics.get(name)) for name in found.metrics),
                _cell(row.commit),
                _cell(code_text(row.code) or None),
                *(_cell(entry[name]) for name in figures[2:]),
                _cell(found.currency if priced else None),
                _cell(found.cost_basis if priced else None),
                _cell(entry["url"]),
            ]
        )
    return visible(text.getvalue())


def _cell(value: JSON) -> str:
    """Format a value so that no spreadsheet takes it for a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if value[:1] in _FORMULA else value


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
