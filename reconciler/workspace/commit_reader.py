"""Commits of the manifest repository, read and parsed.

With a cache of the last commit, only files that differ are parsed.
"""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

from reconciler.config import Setup, admission
from reconciler.git import GitError, Repository
from reconciler.manifests import (
    IGNORE_FILE,
    LARGEST_FILE,
    Admission,
    Collection,
    FileContent,
    Ignore,
    Manifest,
    Tenant,
    amend,
    check_folders,
    collect,
    is_manifest_path,
    read_file,
)
from reconciler.planner import (
    RELEASE_FILE,
    CacheEntry,
    ObjectStatus,
    PlanCache,
    differing,
    read_release,
    same_keys,
)
from reconciler.types import Commit, Location, ObjectRef, Problem
from reconciler.workspace.verified_head import RefusedCommit

#: Bytes of all manifests of a commit: in memory they take some fifty times as much.
LARGEST_MANIFESTS = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSnapshot:
    """The manifests of one commit.

    ``documents`` counts manifests, valid and invalid; ``unreadable`` is the first problem of one
    that is so wrong that the object it is of is unknown; ``tenant_unreadable`` has those in the
    files of a tenant, which can only be of its objects. ``tenant_releases`` are the ids in each
    tenant's own release files, with their places. ``files`` has the blob id of each file by path.
    ``refused``: the branch's head is another commit, which is not verified.
    """

    commit: Commit
    collection: Collection
    documents: int
    unreadable: Problem | None
    released: frozenset[str]
    tenant_unreadable: Mapping[str, Problem] = field(default_factory=dict)
    tenant_releases: Mapping[str, Mapping[str, Location]] = field(default_factory=dict)
    refused: RefusedCommit | None = None
    files: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class EffectiveObjects:
    """The objects of a commit, each in its last valid form.

    ``problems`` has the first problem of each object whose manifest is invalid, also of objects
    that never had a valid one. ``errors`` are all problems of the commit, among them those of files
    that look like no manifest now, and held an object before.
    """

    manifests: Mapping[ObjectRef, Manifest]
    problems: Mapping[ObjectRef, Problem]
    errors: tuple[Problem, ...] = ()


class CommitReader:
    """Reads commits of one repository.

    ``clusters`` are the other clusters that references may name; None: that is not known.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        path: str,
        namespace: str,
        clusters: Container[str] | None,
        admission: Admission | None = None,
    ) -> None:
        self._repository = repository
        self._clusters = clusters
        self._admission = admission
        self._path = path
        self._namespace = namespace

    @classmethod
    def from_setup(cls, repository: Repository, setup: Setup) -> Self:
        """A reader of the configured folder."""
        config = setup.config
        return cls(
            repository,
            path=config.repository.path,
            namespace=config.kubernetes.namespace,
            clusters=config.clusters,
            admission=admission(setup),
        )

    def read(self, commit: Commit, cache: PlanCache) -> CommitSnapshot:
        """Read a commit. Raises GitError if the repository cannot be read."""

        def listed(last: CacheEntry[Mapping[str, str]] | None) -> Mapping[str, str]:
            previous = (last.inputs[0], last.value) if last is not None else None
            return self._repository.list_manifests(commit, self._path, previous)

        def collected(last: CacheEntry[Collection] | None) -> Collection:
            amended = self._amended(last.inputs[0], contents, last.value) if last else None
            return amended or collect(
                contents.values(), clusters=self._clusters, admission=self._admission
            )

        files = cache.value("files", (commit,), listed)
        ignored = files.get(self._ignore_path(), "")
        ignore = cache.value("ignore", (ignored,), lambda _: Ignore.parse(self._blob(ignored)))
        blobs = cache.table("manifest blobs", files, partial(self._manifest_blob, ignore), ignore)
        sizes = cache.table("manifest sizes", blobs, lambda _, blob: self._size(blob))
        # A larger file is passed over.
        if (
            total := sum(size for size in sizes.values() if size <= LARGEST_FILE)
        ) > LARGEST_MANIFESTS:
            raise GitError(
                f"the manifests of commit {commit[:12]} have {total >> 20} MiB, "
                f"more than {LARGEST_MANIFESTS >> 20} MiB"
            )
        contents = cache.table("contents", blobs, partial(self._parse, sizes))
        collection = cache.value("collection", (contents,), collected)
        if ignore.problem is not None:
            collection = _with_problem(collection, self._ignore_path(), ignore.problem)
        collection = check_folders(
            collection, lambda path: self._repository.tree_id(commit, path) is not None
        )
        if self._path and not files and self._repository.tree_id(commit, self._path) is None:
            collection = _with_problem(collection, self._path, _NO_FOLDER)
        return CommitSnapshot(
            commit=commit,
            collection=collection,
            documents=len(collection.objects)
            + sum(problem.object is not None for problem in collection.problems)
            + len(collection.unreadable),
            unreadable=next((p for p in collection.unreadable if self._tenant(p) is None), None),
            tenant_unreadable={
                tenant.name: problem
                for problem in reversed(collection.unreadable)
                if (tenant := self._tenant(problem)) is not None
            },
            released=frozenset(read_release(self._repository.read_file(commit, RELEASE_FILE))),
            tenant_releases=cache.value(
                "tenant releases", (commit,), lambda _: self._tenant_releases(commit)
            ),
            files=files,
        )

    def _tenant(self, problem: Problem) -> Tenant | None:
        """Return the tenant of an unreadable manifest; None for the whole commit."""
        file = problem.location.file
        if self._admission is None or file in (self._ignore_path(), self._path):
            return None
        return self._admission.tenancy.of_file(file)

    def _tenant_releases(self, commit: Commit) -> dict[str, dict[str, Location]]:
        tenants = self._admission.tenancy.tenants.members if self._admission is not None else ()
        return {
            tenant.name: {
                identifier: Location(file, line, 1)
                for file in tenant.releases
                for identifier, line in read_release(
                    self._repository.read_file(commit, file)
                ).items()
            }
            for tenant in tenants
            if tenant.releases
        }

    def _ignore_path(self) -> str:
        return f"{self._path}/{IGNORE_FILE}" if self._path else IGNORE_FILE

    def _amended(
        self,
        before: Mapping[str, FileContent],
        now: Mapping[str, FileContent],
        collection: Collection,
    ) -> Collection | None:
        """Amend a collection; None where more than the content of files differs."""
        if not same_keys(before, now):
            return None
        paths = sorted(differing(before, now))
        old, new = [before[path] for path in paths], [now[path] for path in paths]
        return amend(collection, old, new, self._admission)

    def effective(
        self,
        snapshot: CommitSnapshot,
        records: Mapping[ObjectRef, ObjectStatus],
        cache: PlanCache,
    ) -> EffectiveObjects:
        """Return a commit's objects, invalid ones in their last valid form."""
        collection = snapshot.collection
        errors = (*collection.problems, *_confirmed(collection, records))
        if not errors:
            return EffectiveObjects(collection.objects, {})
        manifests = dict(collection.objects)
        problems: dict[ObjectRef, Problem] = {}
        by_file: dict[str, Problem] = {}
        for problem in errors:
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
        places = {
            ref: f"{manifest.commit}:{manifest.path}"
            for ref in problems
            if ref in records
            and (manifest := records[ref].manifest) is not None
            and manifest.digest
            and self._is_ours(manifest.path)
            and self._repository.has(manifest.commit)
        }
        manifests |= cache.table("last valid manifests", places, self._last_valid)
        return EffectiveObjects(manifests, problems, errors)

    def _is_ours(self, path: str) -> bool:
        """Return whether a recorded path may be a manifest's here."""
        inside = not self._path or path.startswith(f"{self._path}/")
        return inside and is_manifest_path(path)

    def _last_valid(self, ref: ObjectRef, place: str) -> Manifest | None:
        """Return an object's manifest at ``commit:path``; None if unreadable."""
        commit, _, path = place.partition(":")
        data = self._repository.read_file(Commit(commit), path)
        if data is None:
            return None
        content = read_file(path, data, default_namespace=self._namespace)
        manifest = next((found for found in content.manifests if found.ref == ref), None)
        if manifest is None or self._admission is None:
            return manifest
        # What is admitted may be less now than it was at that commit.
        return None if any(self._admission.problems({ref: manifest}, {})) else manifest

    def _manifest_blob(self, ignore: Ignore, path: str, blob: str) -> str | None:
        """Return the blob of a manifest file that is not ignored."""
        inside = path.removeprefix(f"{self._path}/") if self._path else path
        return blob if is_manifest_path(path) and not ignore.matches(inside) else None

    def _parse(self, sizes: Mapping[str, int], path: str, blob: str) -> FileContent:
        data = self._blob(blob, sizes[path])
        return read_file(path, data, default_namespace=self._namespace)

    def _size(self, blob: str) -> int:
        return self._repository.blob_size(blob) if blob else 0

    def _blob(self, blob: str, size: int | None = None) -> bytes:
        """Return a blob's first bytes; nothing for the empty id."""
        return self._repository.read_blob(blob, LARGEST_FILE + 1, size) if blob else b""


_NO_FOLDER = "repository.path is no folder of the repository"


def _with_problem(collection: Collection, path: str, message: str) -> Collection:
    """Add a problem of the whole commit, with which nothing is pruned."""
    problem = Problem(Location(path), "", message)
    return replace(
        collection,
        problems=(problem, *collection.problems),
        unreadable=(problem, *collection.unreadable),
    )


def _confirmed(
    collection: Collection, records: Mapping[ObjectRef, ObjectStatus]
) -> tuple[Problem, ...]:
    """Return the doubts about files of recorded objects that are missing."""
    if not collection.doubts:
        return ()
    held = {
        record.manifest.path
        for ref, record in records.items()
        if record.manifest is not None and ref not in collection.objects
    }
    return tuple(doubt for doubt in collection.doubts if doubt.location.file in held)
