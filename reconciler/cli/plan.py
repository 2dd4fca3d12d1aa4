"""``reconciler plan``."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from reconciler.cli.options import config_option, format_option, load_if_there
from reconciler.cli.plan_text import text
from reconciler.cli.state import DEFAULT_BRANCH, read_state
from reconciler.cli.workflow import annotating
from reconciler.config import Setup
from reconciler.daemon.planning import (
    Requests,
    Resolutions,
    effective,
    make_plan,
    own_sources,
    source_requests,
)
from reconciler.daemon.reading import Head, Reader
from reconciler.daemon.remotes import source_reader
from reconciler.git.mirror import LocalRepository
from reconciler.planner.desire import Memo
from reconciler.planner.plan import Plan, Settings
from reconciler.planner.review import Review, review
from reconciler.review.markdown import markdown
from reconciler.run import Capacity
from reconciler.types import GitSource, Kind, ResolvedSource


@click.command()
@click.option("--base", required=True, metavar="REV", help="The commit before the change.")
@click.option("--head", required=True, metavar="REV", help="The commit after it.")
@click.option(
    "--repo",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    show_default=True,
    help="A clone of the manifest repository.",
)
@format_option("text", "markdown", "json")
@click.option("--all", "everything", is_flag=True, help="List what is not this change's doing too.")
@config_option
def plan(
    base: str, head: str, folder: Path, style: str, everything: bool, config_file: Path
) -> None:
    """Show what a sync of HEAD would do to the state that the status branch records.

    Nothing is run and no cluster is needed. What a sync of BASE would do as well is not the
    change's doing, and only counted. Exits with 2 if anything would change, and with 1 on errors
    in the manifests. In a workflow of GitHub Actions, errors are printed as annotations too.
    """
    setup = load_if_there(config_file)
    planning = _Planning(setup, LocalRepository.open(folder))
    found = planning.review(base, head)
    if style == "json":
        click.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    elif style == "markdown":
        click.echo(markdown(found))
    else:
        with annotating(found.errors, root=folder):
            click.echo(text(found, everything=everything))
    sys.exit(1 if found.errors else 2 if found.changes else 0)


#: Without a configuration nobody knows where artifacts go; no plan depends on it.
_NOWHERE = dict.fromkeys(Kind, "file:///")


def clock() -> datetime:
    """Now: how long a run that would be cancelled has been running."""
    return datetime.now(UTC)


class _Planning:
    """A plan of a commit in a clone, from what the clone's status branch says."""

    def __init__(self, setup: Setup | None, repository: LocalRepository) -> None:
        self._setup = setup
        self._repository = repository
        config = setup.config if setup else None
        self._memo: Memo = {}
        self._reader = Reader(
            repository,
            path=config.repository.path if config else "",
            namespace=config.kubernetes.namespace if config else "default",
        )
        branch = setup.status_branch if setup else DEFAULT_BRANCH
        self._state = read_state(repository, branch)
        self._settings = setup.settings if setup else Settings(buckets=_NOWHERE)
        self._url = (
            setup.repository_url if setup else repository.remote_url() or repository.path.as_uri()
        )
        self._allow = setup.sources_allow if setup else ("https://*", "ssh://*", "file://*")

    def review(self, base: str, head: str) -> Review:
        """What a sync of ``head`` would do. Raises GitError for a revision that is not there."""
        old = self._reader.read(self._repository.resolve(base))
        new = self._reader.read(self._repository.resolve(head))
        now = clock()
        before = self._plan(old, now)
        plan = self._plan(new, now)
        return review(plan, before=before, errors=new.collection.problems)

    def _plan(self, head: Head, now: datetime) -> Plan:
        state = self._state
        objects = effective(head, self._reader, state.records)
        requests = source_requests(objects.manifests, repository_url=self._url, allow=self._allow)
        return make_plan(
            head=head,
            objects=objects,
            requests=requests,
            resolutions=self._resolve(requests, head),
            records=state.records,
            ledger=state.ledger,
            runs=state.runs(),
            capacity=Capacity(containers=True),
            settings=self._settings,
            now=now,
            memo=self._memo,
        )

    def _resolve(self, requests: Requests, head: Head) -> Resolutions:
        """Where sources stand now; as last recorded, where they cannot be read from here."""
        found = dict(own_sources(requests, self._repository, head))
        remote = {r for r in requests.values() if isinstance(r, GitSource) and r.url}
        if remote and self._setup is not None:
            found |= source_reader(self._setup).resolve(remote)
        for ref, request in requests.items():
            record = self._state.records.get(ref)
            if not isinstance(request, GitSource) or record is None or record.source is None:
                continue
            now = found.get(request)
            if not isinstance(now, ResolvedSource) and record.source.url == request.url:
                found[request] = ResolvedSource(record.source.commit, record.source.tree)
        return found
