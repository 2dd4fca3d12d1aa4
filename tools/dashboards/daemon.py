"""The daemon itself: whether it works, what fails, how long its steps take, what it uses."""

from __future__ import annotations

from tools.dashboards.layout import JOB, Dashboard, Row
from tools.dashboards.panels import Lines, Panel, Query, Stat, States
from tools.dashboards.queries import CHOSEN, grown, of, quantile, total

_STEPS = {
    "fetch": "fetch",
    "plan": "plan",
    "apply": "carry out",
    "sync": "whole sync",
    "push": "push of status",
}
_LATE = {0.0: "green", 300.0: "orange", 900.0: "red"}
_REPLICA = "{{job}} {{instance}}"


def dashboard() -> Dashboard:
    """Of one or more daemons, and their replicas."""
    return Dashboard(
        name="daemon",
        title="Models: the daemon",
        meaning="Whether the reconciler works, what fails, how long its steps take, what it uses.",
        variables=(JOB,),
        rows=(
            Row("How it is", (*_health(), *_signs())),
            Row("What fails", _failures()),
            Row("How long its steps take", _steps()),
            Row("What comes and goes", _traffic()),
            Row("What it uses", _usage()),
        ),
    )


def _since(what: str) -> str:
    return f"time() - max({of(f'last_{what}_timestamp_seconds')} > 0)"


def _health() -> tuple[Panel, ...]:
    return (
        Stat(
            title="Replicas",
            queries=[Query(f"count({of('build_info')})")],
            meaning="That are scraped.",
            width=3,
        ),
        Stat(
            title="Leaders",
            queries=[Query(total("leader"))],
            meaning="One of each daemon's replicas; with none nothing is created or pushed.",
            width=3,
            thresholds={0.0: "red", 1.0: "green"},
        ),
        Stat(
            title="Version",
            queries=[Query(f"count by (version) ({of('build_info')})", "{{version}}")],
            meaning="More than one while a new one is rolled out.",
            width=3,
            named=True,
        ),
        Stat(
            title="Since the last fetch",
            queries=[Query(_since("fetch"))],
            meaning="Pushes have no effect while this grows.",
            width=3,
            unit="s",
            thresholds=_LATE,
        ),
        Stat(
            title="Since the last sync",
            queries=[Query(_since("sync"))],
            meaning="There is none while nothing changes, but for looks at sources.",
            width=3,
            unit="s",
        ),
        Stat(
            title="Since the last push",
            queries=[Query(_since("push"))],
            meaning="Of status files; there is none while nothing changes.",
            width=3,
            unit="s",
        ),
        Stat(
            title="Sources that cannot be read",
            queries=[Query(total("unreadable_sources"))],
            meaning="What is built from them waits.",
            width=3,
            thresholds={0.0: "green", 1.0: "orange"},
        ),
        Stat(
            title="Objects without series",
            queries=[Query(total("objects_left_out"))],
            meaning="Beyond server.metricsObjects.",
            width=3,
        ),
    )


def _signs() -> tuple[Panel, ...]:
    return (
        States(
            title="Who leads",
            queries=[Query(of("leader"), _REPLICA)],
            meaning="1: that replica.",
            width=12,
            thresholds={0.0: "gray", 1.0: "green"},
        ),
        Lines(
            title="Alerts",
            queries=[
                Query(
                    'sum by (alertname, alertstate) (ALERTS{alertname=~"Reconciler.*"})',
                    "{{alertname}} {{alertstate}}",
                )
            ],
            meaning="Of deploy/prometheus/rules.yaml; docs/runbooks.md says what to do about each.",
            width=12,
            stacked=True,
        ),
    )


def _failures() -> tuple[Panel, ...]:
    return (
        Lines(
            title="Failed calls",
            queries=[
                Query(grown("errors_total", by="where, class") + " > 0", "{{where}} {{class}}")
            ],
            meaning="By what they were for, and by why they failed.",
            width=12,
            empty="none",
        ),
        Lines(
            title="Runs created and ended",
            queries=[
                Query(grown("runs_created_total"), "created"),
                Query(grown("runs_ended_total", by="result"), "{{result}}"),
            ],
            meaning="infrastructure: for other reasons than the command's.",
            width=12,
        ),
    )


def _steps() -> tuple[Panel, ...]:
    return (
        *(
            Lines(
                title=title,
                queries=[
                    Query(quantile(share, step, over="15m"), name) for step, name in _STEPS.items()
                ],
                meaning="Over a quarter of an hour, of the steps that were done in it.",
                width=8,
                unit="s",
            )
            for title, share in (("Medians", 0.5), ("95th percentiles", 0.95))
        ),
        Lines(
            title="Syncs",
            queries=[Query(grown("sync_duration_seconds_count", by="job"), "{{job}}")],
            meaning="With nothing to do there are next to none.",
            width=8,
        ),
    )


def _traffic() -> tuple[Panel, ...]:
    return (
        Lines(
            title="Requests to the API server",
            queries=[Query(grown("api_requests_total", by="method, code"), "{{method}} {{code}}")],
            meaning="On a cluster, by HTTP status. With nothing to do: the lease's renewals.",
            width=6,
        ),
        Lines(
            title="Webhooks",
            queries=[Query(grown("webhooks_total", by="result"), "{{result}}")],
            meaning="That came in. refused: without the right signature.",
            width=6,
        ),
        Lines(
            title="Reviews of pull requests",
            queries=[
                Query(total("pull_requests"), "open"),
                Query(grown("reviews_total", by="result"), "{{result}}"),
            ],
            meaning="Pull requests that are followed, and what was told of their plans.",
            width=6,
        ),
        Lines(
            title="Notifications",
            queries=[Query(grown("notifications_total", by="result"), "{{result}}")],
            meaning="That went out.",
            width=6,
        ),
    )


def _usage() -> tuple[Panel, ...]:
    return (
        Lines(
            title="CPU",
            queries=[Query(f"rate({of('process_cpu_seconds_total')}[$__rate_interval])", _REPLICA)],
            meaning="Cores, without git, ssh and the local engine's runs.",
            width=6,
        ),
        Lines(
            title="Memory",
            queries=[Query(of("process_resident_memory_bytes"), _REPLICA)],
            meaning="Resident, of the daemon's process alone.",
            width=6,
            unit="bytes",
        ),
        Lines(
            title="Open files",
            queries=[Query(of("process_open_fds"), _REPLICA)],
            meaning="Connections among them.",
            width=6,
        ),
        Lines(
            title="Series",
            queries=[Query(f"scrape_samples_scraped{{{CHOSEN}}}", _REPLICA)],
            meaning="That a scrape brings; server.metricsObjects bounds those of objects.",
            width=6,
        ),
    )
