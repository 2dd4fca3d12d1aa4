"""``reconciler status``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click
from rich import box
from rich.live import Live
from rich.table import Table
from rich.text import Text

from reconciler.cli.options import config_option, format_option, load_if_there
from reconciler.cli.state import State, StateReader
from reconciler.cli.table import console, object_table
from reconciler.planner.record import HistoryEntry, Record, TaskPhase
from reconciler.status.document import dump_record, load_yaml

WATCH_INTERVAL = 2.0


@click.command()
@click.argument("name", required=False)
@click.option(
    "-l", "labels", multiple=True, metavar="LABEL=VALUE", help="Only objects so labelled."
)
@click.option("--history", is_flag=True, help="Every artifact and remembered failure.")
@click.option("--watch", is_flag=True, help="Keep looking, until Ctrl-C.")
@format_option("text", "json")
@config_option
def status(
    name: str | None,
    labels: tuple[str, ...],
    history: bool,
    watch: bool,
    style: str,
    config_file: Path,
) -> None:
    """Show the status of all objects, or of those called NAME, as the status branch has it.

    It needs no access to a cluster. Without a configuration file the repository in this folder
    is read, from what was last fetched.
    """
    reader = StateReader(load_if_there(config_file), Path())
    wanted = _labels(labels)

    def look() -> list[Record]:
        state = reader.read()
        return [r for r in state.records.values() if _matches(r, name, wanted, state)]

    records = look()
    if name is not None and not records:
        raise click.ClickException(f"no object is called {name}")
    if style == "json":
        documents = [
            load_yaml(str(r.ref), dump_record(r)) for r in sorted(records, key=lambda r: r.ref)
        ]
        click.echo(json.dumps(documents, indent=2, ensure_ascii=False))
        return
    screen = console()
    render = _history_table if history else object_table
    if not watch:
        screen.print(render(records))
        return
    with suppress(KeyboardInterrupt), Live(render(records), console=screen) as live:
        while True:
            time.sleep(WATCH_INTERVAL)
            live.update(render(look()))


def _labels(labels: Sequence[str]) -> dict[str, str]:
    wanted = {}
    for label in labels:
        key, separator, value = label.partition("=")
        if not separator:
            raise click.BadParameter(f"expected LABEL=VALUE, found {label}", param_hint="-l")
        wanted[key] = value
    return wanted


def _matches(record: Record, name: str | None, labels: dict[str, str], state: State) -> bool:
    if name is not None and record.ref.name != name:
        return False
    if not labels:
        return True
    have = state.labels(record)
    return all(have.get(key) == value for key, value in labels.items())


def _history_table(records: Sequence[Record]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in ("NAME", "FINISHED", "TASK", "KEY", "RESULT", "METRICS", "PARAMS"):
        table.add_column(title, no_wrap=title != "PARAMS")
    for record in sorted(records, key=lambda r: r.ref):
        for entry in record.history:
            table.add_row(*map(Text, _history_row(record, entry)))
    return table


def _history_row(record: Record, entry: HistoryEntry) -> tuple[str, ...]:
    finished = entry.finished.strftime("%Y-%m-%d %H:%M") if entry.finished else ""
    current = record.artifact is not None and record.artifact.key == entry.key
    result = "current" if current else entry.phase.value
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in entry.metrics.items())
    params = ", ".join(f"{name}={json.dumps(value)}" for name, value in entry.params.items())
    if entry.phase is TaskPhase.FAILED:
        metrics = entry.message
    return (record.ref.name, finished, entry.task.value, entry.key[:12], result, metrics, params)
