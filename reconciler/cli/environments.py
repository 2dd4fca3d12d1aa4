"""Images and environments of the local engine, for ``reconciler artifacts``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reconciler.cli.artifact_entries import EnvironmentEntry
from reconciler.cli.artifact_use import role_text, use_columns
from reconciler.cli.recorded_state import RecordedState
from reconciler.cli.select import same
from reconciler.cli.table import Column, Listing
from reconciler.config import Setup
from reconciler.engine import CollectedKind
from reconciler.engines.local import StoredEnvironment, stored_environments
from reconciler.planner import images_in_use
from reconciler.review import counted, printable, shown_size
from reconciler.types import ObjectRef

#: The local engine's root without a configuration.
_ROOT = Path("state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment or image on this machine's disk.

    ``users`` are the objects whose image needs it. ``removed`` is the time from which a daemon may
    remove it, None while something needs it or if nothing is removed. ``frees`` are the bytes that
    the disk then has more.
    """

    stored: StoredEnvironment
    size: int
    frees: int
    users: tuple[ObjectRef, ...]
    removed: datetime | None

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.stored.path.name

    @property
    def url(self) -> str:
        """The place of its folder."""
        return self.stored.path.as_uri()

    @property
    def due(self) -> bool:
        """True if the next collection removes it."""
        return self.removed is not None and self.removed <= datetime.now(UTC)

    @property
    def use(self) -> str:
        """The role in which objects use it."""
        is_own = self.stored.kind is CollectedKind.ENVIRONMENT and not self.stored.shared
        return f"own {self.stored.kind} of" if is_own else f"{self.stored.kind} of"

    def serves(self, *, name: str | None, namespace: str | None, kind: str | None) -> bool:
        """Return whether a selected object uses it."""
        return any(same(ref, name=name, namespace=namespace, kind=kind) for ref in self.users)

    @property
    def entry(self) -> EnvironmentEntry:
        """The entry that ``--format json`` prints."""
        return EnvironmentEntry(
            kind=self.stored.kind.capitalize(),
            namespace=None,
            name=self.name,
            key=self.name,
            url=self.url,
            finished=self.stored.finished,
            size=self.size,
            used_by=tuple(f"{self.use} {ref}" for ref in self.users),
            removed=False,
            last_used=self.stored.used,
            running=self.stored.running,
            shared=self.stored.shared,
            collected_from=self.removed,
            frees=self.frees,
            what=self.stored.kind,
        )


def environments_of(setup: Setup | None, state: RecordedState) -> Iterator[Environment]:
    """Find what builds left, with the objects that need it now."""
    keep = setup.environments_keep if setup is not None else None
    needed = {ref: images_in_use(state.records[ref]) for ref in sorted(state.records)}
    root = (setup.root if setup is not None else _ROOT).absolute()
    for stored in stored_environments(root):
        names = stored.builds | {(root / "images" / key).as_uri() for key in stored.builds}
        users = tuple(ref for ref, images in needed.items() if names & images)
        usage = stored.usage()
        unused = not users and not stored.running
        yield Environment(
            stored=stored,
            size=usage.size,
            frees=usage.frees,
            users=users,
            removed=stored.used + keep if unused and keep is not None else None,
        )


def last_used(environment: Environment) -> tuple[str, float, str]:
    """Return the place in the list: by kind, the last used first."""
    return environment.stored.kind, -environment.stored.used.timestamp(), environment.name


def environment_table(found: Sequence[Environment], *, wide: bool) -> Listing:
    """Return a row for each environment."""
    columns = [Column(title) for title in ("NAME", "KIND", "MADE", "LAST USED")]
    table = Listing(
        *columns, Column("SIZE", right=True), Column("REMOVED", below=True), *use_columns(wide=wide)
    )
    for environment in found:
        table.add(
            environment.name[:24],
            environment.stored.kind.value,
            f"{environment.stored.finished:%Y-%m-%d %H:%M}",
            f"{environment.stored.used:%Y-%m-%d %H:%M}",
            shown_size(environment.size),
            _removal(environment),
            _use_of(environment),
            printable(environment.url),
        )
    return table


def environment_summary(found: Sequence[Environment]) -> str:
    """Return the number and size of environments, and what collections free."""
    count = Counter(environment.stored.kind for environment in found)
    counts = [counted(number, kind.value) for kind, number in sorted(count.items())]
    total = sum(environment.size for environment in found)
    due = sum(environment.frees for environment in found if environment.due)
    later = sum(e.frees for e in found if e.removed is not None and not e.due)
    parts = [f"{' and '.join(counts)}, {shown_size(total)}"]
    parts += [f"the next collection frees {shown_size(due)}"] if due else []
    parts += [f"later ones free {shown_size(later)}"] if later else []
    return "; ".join(parts)


def _use_of(environment: Environment) -> str:
    if environment.users:
        return role_text(environment.use, [ref.name for ref in environment.users])
    return "a run" if environment.stored.running else "history alone"


def _removal(environment: Environment) -> str:
    if environment.removed is None:
        return ""
    return "next" if environment.due else f"after {environment.removed:%Y-%m-%d %H:%M}"
