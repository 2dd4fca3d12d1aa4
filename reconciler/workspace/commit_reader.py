"""A commit of the manifest repository, read: only what changed since the last one is parsed."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler.git.repository import Repository
from reconciler.manifests.collection import Collection, amend, collect
from reconciler.manifests.ignore import Ignore, is_manifest_path
from reconciler.manifests.loader import FileContent, Manifest, read_file
from reconciler.planner import RELEASE_FILE, ObjectStatus, differing, read_release, same_keys
from reconciler.types import Commit, Location, ObjectRef, Problem

IGNORE_FILE = ".reconcilerignore"
#: A file larger than this is an error; the reader asks for one byte more, to see that it is.
LARGEST_FILE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a commit says.

    ``documents`` counts manifests, right or wrong; ``unreadable`` says that some are so wrong
    that nobody can tell which object they are of.
    """

    commit: Commit
    collection: Collection
    documents: int
    unreadable: bool
    released: frozenset[str]
    files: Mapping[str, str] = field(repr=False)


class Reader:
    """Reads commits of one repository; keeps parsed files by path and blob id.

    ``clusters`` are the other clusters that references may name; None: that is not known.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        path: str,
        namespace: str,
        clusters: Container[str] | None,
    ) -> None:
        self._repository = repository
        self._clusters = clusters
        self._path = path
        self._namespace = namespace
        self._parsed: dict[str, tuple[str, FileContent]] = {}
        self._last: tuple[Commit, Mapping[str, str]] | None = None
        self._collection: Collection | None = None
        self._good: dict[tuple[Commit, str, ObjectRef], Manifest | None] = {}

    def read(self, commit: Commit) -> Head:
        """Read a commit. Raises GitError if the repository cannot be read."""
        files = self._repository.list_manifests(commit, self._path, self._last)
        before = self._last[1] if self._last is not None else {}
        self._last = (commit, files)
        collection = self._changed(before, files) or self._all(files)
        self._collection = collection
        if self._path and not files and self._repository.tree_id(commit, self._path) is None:
            missing = Problem(
                Location(self._path), "", "repository.path is no folder of the repository"
            )
            collection = replace(collection, problems=(missing,))
        return Head(
            commit=commit,
            collection=collection,
            documents=len(collection.objects) + len(collection.problems),
            unreadable=any(problem.object is None for problem in collection.problems),
            released=read_release(self._repository.read_file(commit, RELEASE_FILE)),
            files=files,
        )

    def _all(self, files: Mapping[str, str]) -> Collection:
        ignore = self._ignore(files)
        parsed = {}
        for path, blob in files.items():
            if is_manifest_path(path) and not ignore.matches(self._inside(path)):
                known = self._parsed.get(path)
                parsed[path] = (
                    known if known and known[0] == blob else (blob, self._parse(path, blob))
                )
        self._parsed = parsed
        return collect((content for _, content in parsed.values()), clusters=self._clusters)

    def _changed(self, before: Mapping[str, str], files: Mapping[str, str]) -> Collection | None:
        """From the last collection, where only the content of manifests is another."""
        if self._collection is None or not same_keys(before, files):
            return None
        blobs = {path: files[path] for path in sorted(differing(before, files))}
        # A file that was ignored, or says what is, is not among those that were parsed.
        if not blobs.keys() <= self._parsed.keys():
            return None
        new = {path: (blob, self._parse(path, blob)) for path, blob in blobs.items()}
        old = [self._parsed[path][1] for path in new]
        found = amend(self._collection, old, [content for _, content in new.values()])
        self._parsed.update(new)
        return found

    def last_good(self, record: ObjectStatus) -> Manifest | None:
        """The form an object's manifest had when it was last valid, where that can be read."""
        manifest = record.manifest
        if manifest is None or not manifest.digest:
            return None
        slot = (manifest.commit, manifest.path, record.ref)
        if slot not in self._good:
            self._good[slot] = self._find(record)
        return self._good[slot]

    def _find(self, record: ObjectStatus) -> Manifest | None:
        manifest = record.manifest
        assert manifest is not None
        if not self._repository.has(manifest.commit):
            return None
        data = self._repository.read_file(manifest.commit, manifest.path)
        if data is None:
            return None
        content = read_file(manifest.path, data, default_namespace=self._namespace)
        found = [m for m in content.manifests if m.ref == record.ref]
        return found[0] if found else None

    def _ignore(self, files: Mapping[str, str]) -> Ignore:
        for path, blob in files.items():
            if self._inside(path) == IGNORE_FILE:
                return Ignore.parse(self._repository.read_blob(blob, LARGEST_FILE + 1))
        return Ignore.parse(b"")

    def _inside(self, path: str) -> str:
        """A path relative to the configured folder, as ``.reconcilerignore`` speaks of it."""
        return path.removeprefix(f"{self._path}/") if self._path else path

    def _parse(self, path: str, blob: str) -> FileContent:
        data = self._repository.read_blob(blob, LARGEST_FILE + 1)
        return read_file(path, data, default_namespace=self._namespace)
