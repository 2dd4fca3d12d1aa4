"""Commits of the manifest repository, read and parsed.

Only files that changed since the last commit are parsed again.
"""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from reconciler.config import Setup
from reconciler.git import Repository
from reconciler.manifests import (
    IGNORE_FILE,
    LARGEST_FILE,
    Collection,
    FileContent,
    Ignore,
    Manifest,
    amend,
    collect,
    is_manifest_path,
    read_file,
)
from reconciler.planner import RELEASE_FILE, ObjectStatus, differing, read_release, same_keys
from reconciler.types import Commit, Location, ObjectRef, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSnapshot:
    """The manifests of one commit.

    ``documents`` counts manifests, valid and invalid; ``unreadable``: some are so wrong that the
    object they are of is unknown. ``files`` has the blob id of each file by path.
    """

    commit: Commit
    collection: Collection
    documents: int
    unreadable: bool
    released: frozenset[str]
    files: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class EffectiveObjects:
    """The objects of a commit, each in its last valid form.

    ``problems`` has the first problem of each object whose manifest is invalid, also of objects
    that never had a valid one.
    """

    manifests: Mapping[ObjectRef, Manifest]
    problems: Mapping[ObjectRef, Problem]


class CommitReader:
    """Reads commits of one repository.

    Keeps parsed files by path and blob id. ``clusters`` are the other clusters that references may
    name; None: that is not known.
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
        self._last_valid_manifests: dict[tuple[Commit, str, ObjectRef], Manifest | None] = {}

    @classmethod
    def from_setup(cls, repository: Repository, setup: Setup) -> Self:
        """A reader of the configured folder."""
        config = setup.config
        return cls(
            repository,
            path=config.repository.path,
            namespace=config.kubernetes.namespace,
            clusters=config.clusters,
        )

    def read(self, commit: Commit) -> CommitSnapshot:
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
        return CommitSnapshot(
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
        """Amend the last collection.

        Returns None where more than the content of manifests differs.
        """
        if self._collection is None or not same_keys(before, files):
            return None
        blobs = {path: files[path] for path in sorted(differing(before, files))}
        # Ignored files, and the ignore file itself, are not among the parsed ones.
        if not blobs.keys() <= self._parsed.keys():
            return None
        new = {path: (blob, self._parse(path, blob)) for path, blob in blobs.items()}
        old = [self._parsed[path][1] for path in new]
        found = amend(self._collection, old, [content for _, content in new.values()])
        self._parsed.update(new)
        return found

    def effective(
        self, snapshot: CommitSnapshot, records: Mapping[ObjectRef, ObjectStatus]
    ) -> EffectiveObjects:
        """Return a commit's objects, invalid ones in their last valid form."""
        collection = snapshot.collection
        if not collection.problems:
            return EffectiveObjects(collection.objects, {})
        manifests = dict(collection.objects)
        problems: dict[ObjectRef, Problem] = {}
        by_file: dict[str, Problem] = {}
        for problem in collection.problems:
            if problem.object is not None:
                problems.setdefault(problem.object, problem)
            else:
                by_file.setdefault(problem.location.file, problem)
        if by_file:
            # The object of such a document is unknown: it counts for all that came from its file.
            for ref, record in records.items():
                path = record.manifest.path if record.manifest else ""
                if path in by_file and ref not in manifests:
                    problems.setdefault(ref, by_file[path])
        for ref in problems.keys() & records.keys():
            good = self._last_valid(records[ref])
            if good is not None:
                manifests[ref] = good
        return EffectiveObjects(manifests, problems)

    def _last_valid(self, record: ObjectStatus) -> Manifest | None:
        """Return an object's last valid manifest; None if unreadable."""
        manifest = record.manifest
        if manifest is None or not manifest.digest:
            return None
        slot = (manifest.commit, manifest.path, record.ref)
        if slot not in self._last_valid_manifests:
            self._last_valid_manifests[slot] = self._find(record)
        return self._last_valid_manifests[slot]

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
        """A path relative to the configured folder, as ``.reconcilerignore`` has it."""
        return path.removeprefix(f"{self._path}/") if self._path else path

    def _parse(self, path: str, blob: str) -> FileContent:
        data = self._repository.read_blob(blob, LARGEST_FILE + 1)
        return read_file(path, data, default_namespace=self._namespace)
