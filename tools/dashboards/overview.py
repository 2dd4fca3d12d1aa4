"""The overview: what needs attention, what is being made, and what it uses."""

from __future__ import annotations

from tools.dashboards.layout import INSIDE, JOB, OUTSIDE, PLACES, Dashboard, Row
from tools.dashboards.panels import Bars, Lines, Panel, Query, Stat, Table
from tools.dashboards.queries import grown, of, quantile, total, with_folder

_RED = {0.0: "green", 1.0: "red"}
_ORANGE = {0.0: "green", 1.0: "orange"}


def dashboard() -> Dashboard:
    """Of all objects of one or more daemons."""
    return Dashboard(
        name="overview",
        title="Models",
        meaning="All Models and Datasets: what needs attention, what is being made, what it uses.",
        variables=(JOB, *PLACES),
        rows=(
            Row("Needs attention", (*_counts(), *_objects())),
            Row("What is being made", _work()),
            Row("How long it takes", _durations()),
            Row("GPUs", _gpus()),
        ),
    )


def _in_phase(phase: str) -> str:
    return total("objects", f'phase="{phase}"')


def _counts() -> tuple[Panel, ...]:
    return (
        Stat(
            title="Failed",
            queries=[Query(_in_phase("Failed"))],
            meaning="Their command failed; they stay so, at no cost, until something changes.",
            width=3,
            thresholds=_RED,
        ),
        Stat(
            title="Invalid",
            queries=[Query(_in_phase("Invalid"))],
            meaning="Their manifest is wrong; they stay in their last good form.",
            width=3,
            thresholds=_RED,
        ),
        Stat(
            title="Errors in manifests",
            queries=[Query(total("manifest_errors"))],
            meaning="`reconciler validate` in a clone names file, line and field.",
            width=3,
            thresholds=_RED,
        ),
        Stat(
            title="Holds",
            queries=[Query(total("holds"))],
            meaning="Syncs that would recompute or remove too much, and wait for a release in Git.",
            width=3,
            thresholds=_ORANGE,
        ),
        Stat(
            title="Objects held",
            queries=[Query(total("held_objects"))],
            meaning="A hold keeps them as they are.",
            width=3,
            thresholds=_ORANGE,
        ),
        Stat(
            title="Waiting",
            queries=[Query(_in_phase("Waiting"))],
            meaning="For another object, a source, a resource, or a delay before a retry.",
            width=3,
        ),
        Stat(
            title="Ready",
            queries=[Query(f"{_in_phase('Ready')} / ({total('objects')} > 0)")],
            meaning="The share of objects whose newest artifact is complete.",
            width=3,
            unit="percentunit",
        ),
        Stat(
            title="Objects",
            queries=[Query(total("objects"))],
            meaning="All Models and Datasets.",
            width=3,
        ),
    )


def _objects() -> tuple[Panel, ...]:
    urgent = of("object_phase", 'phase=~"Invalid|Failed|Held|Waiting"')
    return (
        Table(
            title="Objects that need somebody",
            queries=[Query(with_folder(f"max by (kind, namespace, name, phase) ({urgent})"))],
            meaning="Each cell leads to the object, its status file, its page, and the Jobs.",
            width=12,
            height=10,
            columns=("phase", "kind", "namespace", "name"),
            hidden=("folder",),
            links=(INSIDE, *OUTSIDE),
        ),
        Lines(
            title="Objects by phase",
            queries=[Query(total("objects", by="phase"), "{{phase}}")],
            meaning="All objects, by the phase that they are in.",
            width=12,
            height=10,
            phases=True,
            stacked=True,
        ),
    )


def _work() -> tuple[Panel, ...]:
    return (
        Lines(
            title="Runs under way",
            queries=[
                Query(
                    total("runs", 'phase=~"Pending|Running"', by="task, phase"),
                    "{{task}} {{phase}}",
                )
            ],
            meaning="Pending: created, and its command has not started.",
            width=12,
            stacked=True,
        ),
        Lines(
            title="Queue",
            queries=[
                Query(
                    total("tasks", 'phase=~"Pending|Waiting|Held"', by="task, phase"),
                    "{{task}} {{phase}}",
                ),
                Query(total("retries_due"), "delayed retries"),
            ],
            meaning="Tasks that are still to be done, delayed retries among them.",
            width=12,
        ),
        Lines(
            title="Runs that ended",
            queries=[Query(grown("runs_ended_total", by="result"), "{{result}}")],
            meaning="failed: by the command. infrastructure: otherwise, and tried again.",
            width=12,
        ),
        Lines(
            title="Retries",
            queries=[Query(grown("retries_total", by="task, by"), "{{task}} by the {{by}}")],
            meaning="By the engine: another attempt within a run. By the daemon: another run.",
            width=12,
        ),
    )


def _durations() -> tuple[Panel, ...]:
    return (
        Lines(
            title="From a new commit to its first run",
            queries=[
                Query(quantile(0.5, "head_to_run", over="1h"), "median"),
                Query(quantile(0.95, "head_to_run", over="1h"), "95th percentile"),
            ],
            meaning="From noticing a commit to creating the first run that it makes; over an hour.",
            width=8,
            unit="s",
            thresholds={10.0: "orange"},
        ),
        Lines(
            title="From a run's creation to its start",
            queries=[
                Query(quantile(0.5, "run_queue", over="1h", by="task"), "{{task}} median"),
                Query(
                    quantile(0.95, "run_queue", over="1h", by="task"), "{{task}} 95th percentile"
                ),
            ],
            meaning="Waiting for a node, a GPU, a queue, an image; over an hour.",
            width=8,
            unit="s",
        ),
        Lines(
            title="From a run's start to its end",
            queries=[
                Query(quantile(0.5, "run", over="6h", by="task"), "{{task}} median"),
                Query(quantile(0.95, "run", over="6h", by="task"), "{{task}} 95th percentile"),
            ],
            meaning="However they ended; over six hours.",
            width=8,
            unit="s",
        ),
    )


def _gpus() -> tuple[Panel, ...]:
    used = f"sum by (kind, namespace, name) (increase({of('gpu_seconds_total')}[$__range]))"
    return (
        Lines(
            title="GPUs",
            queries=[
                Query(total("gpus_in_use"), "in use"),
                Query(total("gpus_requested"), "requested"),
            ],
            meaning="Requested by runs that are created; in use once their commands have started.",
            width=8,
        ),
        Lines(
            title="GPUs by namespace",
            queries=[Query(total("object_gpus", by="namespace"), "{{namespace}}")],
            meaning="Requested by live runs of the objects that have series of their own.",
            width=8,
            stacked=True,
        ),
        Bars(
            title="GPU hours, most first",
            queries=[
                Query(f"sort_desc(topk(10, {used} / 3600))", "{{kind}} {{namespace}}/{{name}}")
            ],
            meaning="Of runs that ended in the time that is shown, however they ended.",
            width=8,
            unit="h",
        ),
    )
