"""One object: how it stands, since when, what it has cost, and where everything is."""

from __future__ import annotations

from tools.dashboards.layout import JOB, OUTSIDE, PLACES, Choice, Dashboard, Row
from tools.dashboards.panels import Lines, Panel, Query, Stat, States, Table
from tools.dashboards.queries import of, with_folder

_THIS = ('namespace="$namespace"', 'kind="$kind"', 'name="$name"')


def dashboard() -> Dashboard:
    """The one that the others lead to."""
    return Dashboard(
        name="object",
        title="Models: one object",
        meaning="How one stands, since when, what it has cost, and where everything is.",
        variables=(
            JOB,
            Choice("namespace", "Namespace", of("object_phase")),
            Choice("kind", "Kind", of("object_phase", *_THIS[:1])),
            Choice("name", "Name", of("object_phase", *_THIS[:2])),
            *PLACES,
        ),
        rows=(Row("$kind $namespace/$name", _now()), Row("Over time", _over_time())),
        since="now-24h",
    )


def _of(metric: str, *, by: str = "") -> str:
    """What a metric says of it; replicas that know nothing of it say nothing."""
    selected = of(metric, *_THIS)
    return f"max by ({by}) ({selected})" if by else f"max({selected})"


def _now() -> tuple[Panel, ...]:
    return (
        Stat(
            title="Phase",
            queries=[Query(_of("object_phase", by="phase"), "{{phase}}")],
            meaning="As the status file says it.",
            width=4,
            phases=True,
            named=True,
        ),
        Stat(
            title="Artifact made",
            queries=[Query("1000 * " + _of("object_artifact_timestamp_seconds"))],
            meaning="When the current artifact was complete.",
            width=5,
            unit="dateTimeFromNow",
            empty="never",
        ),
        Stat(
            title="GPU hours",
            queries=[Query(f"sum(increase({of('gpu_seconds_total', *_THIS)}[$__range])) / 3600")],
            meaning="Of runs that ended in the time that is shown, however they ended.",
            width=5,
            unit="h",
            empty="0",
        ),
        Stat(
            title="GPUs now",
            queries=[Query(_of("object_gpus"))],
            meaning="Of its live runs, those that wait to start among them.",
            width=5,
            empty="0",
        ),
        Stat(
            title="Attempts",
            queries=[Query(_of("object_task_attempts"))],
            meaning="Of the task that was started most often, with its present inputs.",
            width=5,
            thresholds={0.0: "green", 3.0: "orange", 6.0: "red"},
        ),
        Table(
            title="Where everything is",
            queries=[Query(with_folder(_of("object_phase", by="kind, namespace, name, phase")))],
            meaning="Each cell leads to the status file, the status page, and the Jobs.",
            width=24,
            height=4,
            columns=("kind", "namespace", "name", "phase"),
            hidden=("folder",),
            links=OUTSIDE,
        ),
    )


def _over_time() -> tuple[Panel, ...]:
    return (
        States(
            title="Phases",
            queries=[Query(_of("object_phase", by="phase"), "{{phase}}")],
            meaning="Since when it is in which.",
            width=24,
            height=6,
            phases=True,
        ),
        Lines(
            title="Duration of its tasks",
            queries=[Query(_of("object_task_duration_seconds", by="task"), "{{task}}")],
            meaning="From the first start with the present inputs to the end, or to now.",
            width=8,
            unit="s",
        ),
        Lines(
            title="Attempts at its tasks",
            queries=[Query(_of("object_task_attempts", by="task"), "{{task}}")],
            meaning="How often each command was started with the present inputs.",
            width=8,
        ),
        Lines(
            title="GPUs",
            queries=[Query(_of("object_gpus"), "requested")],
            meaning="That its live runs asked for.",
            width=8,
        ),
    )
