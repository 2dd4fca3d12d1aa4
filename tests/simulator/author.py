"""The users who push manifests, and what they have asked for at each commit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from random import Random

from reconciler.planner import ObjectStatus, Phase, status_path
from reconciler.planner.object_status import ReferenceStatus
from reconciler.status import SYNC_FILE, Sync, dump_record, dump_sync
from reconciler.types import Commit, ForeignRef, Kind, ObjectRef, TaskKey
from tests.simulator.loop import EPOCH
from tests.simulator.manifests import Files, Head
from tests.simulator.remotes import Remotes
from tests.simulator.site import CLUSTER, MAIN, MANIFESTS, NAMESPACE, OTHER, SOURCE
from tests.soak.repository import Manifest

#: The branches whose heads are kept as well.
RELEASES = ("refs/heads/release/1", "refs/heads/release/2")
#: The share of branches that begin where everything is whole.
_WHOLE = 0.9


@dataclass
class Author:
    """Pushes to ``remotes``; ``heads`` are all commits so far, the oldest first.

    ``releases`` are the heads of the other branches, and ``used`` the keys that another cluster's
    status says to use.
    """

    remotes: Remotes
    repository: Files = field(default_factory=Files.begin)
    heads: list[Head] = field(default_factory=list)
    releases: dict[str, Head] = field(default_factory=dict)
    used: frozenset[str] = frozenset()
    source: int = 0
    pushed: Callable[[Head], None] = lambda _: None
    _valid: dict[str, Manifest] = field(default_factory=dict)
    _index: dict[str, int] = field(default_factory=dict)
    _versions: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        self.remotes.make(MANIFESTS)
        self.remotes.make(SOURCE)
        self.push_source(0)
        self.push("begin")

    @property
    def head(self) -> Head:
        return self.heads[-1]

    def change(self, chance: Random) -> str:
        """Change something, and push it; returns what."""
        self.repository.remember()
        done = self.repository.change(chance)
        self.push(done)
        return done

    def set(self, name: str, message: str, **fields: str | int | None) -> None:
        """Change one object, and push it."""
        objects = self.repository.objects
        objects[name] = replace(objects[name], **fields)  # type: ignore[arg-type]
        self.push(message)

    def push(self, message: str) -> None:
        files = {path: text.encode() for path, text in self.repository.files().items()}
        commit = self.remotes.commit(MANIFESTS, MAIN, files, message)
        for name, each in self.repository.objects.items():
            if not each.present:
                self._valid.pop(name, None)
            elif each.broken is None:
                self._valid[name] = each
        objects = self.repository.objects
        wrong = frozenset(
            n for n, each in objects.items() if each.present and each.broken is not None
        )
        whole = not wrong and all(each.present and not each.pin for each in objects.values())
        head = Head(commit, dict(self._valid), dict(self.repository.code), self.source)
        released = self.repository.released
        self._add(replace(head, certain=not wrong, whole=whole, wrong=wrong, released=released))

    def push_source(self, version: int) -> None:
        self.source = version
        files = {f"{name}.sh": f"# {version}\n".encode() for name in ("load", "train")}
        commit = self.remotes.commit(SOURCE, MAIN, files, f"version {version}")
        self._versions[commit] = version
        if self.heads:
            self._add(replace(self.head, source=version))

    def _add(self, head: Head) -> None:
        self._index.setdefault(head.commit, len(self.heads))
        self.heads.append(head)
        self.pushed(head)

    def push_release(self, chance: Random) -> str:
        """Let another branch begin at some head, or end."""
        branch = chance.choice(RELEASES)
        if branch in self.releases and chance.random() < 0.6:
            del self.releases[branch]
            self.remotes.delete(MANIFESTS, branch)
            return f"delete {branch}"
        whole = [head for head in self.heads[-30:] if head.whole]
        head = chance.choice(whole if whole and chance.random() < _WHOLE else self.heads[-10:])
        self.releases[branch] = head
        self.remotes.point(MANIFESTS, branch, head.commit)
        return f"{branch} is {head.commit[:12]}"

    def end_releases(self) -> None:
        """Delete the other branches: what one asks for that is not made yet is a doubt."""
        for branch in sorted(self.releases):
            self.remotes.delete(MANIFESTS, branch)
        self.releases.clear()

    def push_use(self, keys: Collection[str]) -> str:
        """Let another cluster use artifacts of this one."""
        self.used = frozenset(keys)
        ref = ObjectRef(Kind.MODEL, NAMESPACE, "theirs")
        target = ForeignRef(CLUSTER, ObjectRef(Kind.MODEL, NAMESPACE, "tested"))
        references = tuple(
            ReferenceStatus(target=target, key=TaskKey(key), url="gs://models/x") for key in keys
        )
        record = ObjectStatus(ref=ref, phase=Phase.READY, references=references)
        head = Commit(self.head.commit)
        sync = Sync(cluster="other", instance="sim", path="", head=head, observed=EPOCH)
        files = {SYNC_FILE: dump_sync(sync), status_path(ref): dump_record(record)}
        self.remotes.commit(MANIFESTS, OTHER, files, "theirs")
        return f"another cluster uses {sorted(keys)}"

    def index(self, commit: str) -> int | None:
        """The first place of a commit among the heads."""
        return self._index.get(commit)

    def changed_since(self, title: str, index: int, source: str) -> bool:
        """Return whether an object has asked for other runs since some head.

        ``source`` is the commit of its followed source that was used then, which may be an old one.
        """
        then = self.heads[index]
        before = replace(then, source=self._versions.get(source, then.source)).inputs(title)
        return any(head.inputs(title) != before for head in self.heads[index:])
