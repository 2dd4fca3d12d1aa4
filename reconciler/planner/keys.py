"""Keys of tasks and artifacts, and execution hashes: all content hashes.

A key is the SHA-256 of the RFC 8785 canonical JSON of a task's inputs, of which the first 40
hex digits are kept. It includes the keys of the tasks it depends on, so all keys of a commit are
known before anything has run. The format is ``k1``; what follows from it is in buckets, registries
and status files of every user, so the golden keys in the tests are never edited.

The manifest classes declare for each field whether it is in the key or in the execution hash
(:class:`reconciler.manifests.Effect`); this module reads the declarations. A field at its default
is left out. A new field with a default therefore changes no old key, and a default never changes
within ``k1``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import rfc8785

from reconciler.manifests import (
    BucketSection,
    BuildSection,
    Effect,
    EvaluationSection,
    GitSection,
    LoadSection,
    ObservedBucketSection,
    RunSection,
    TrainingSection,
    values_with,
)
from reconciler.types import JSON, ExecutionHash, ForeignRef, Hash, ObjectRef, RequestHash, TaskKey

KEY_VERSION = "k1"
EXECUTION_HASH_VERSION = "h1"
HEX_DIGITS = 40

#: Fields of a Git source that select its tree, which is in the key in their place.
_SELECT_TREE = frozenset({"url", "path", "branch", "tag", "commit", "update"})


def fingerprint(value: Mapping[str, JSON]) -> Hash:
    """Hash a value: 40 digits of the SHA-256 of its JSON.

    Canonical is RFC 8785; the first 40 digits are kept. Raises rfc8785.CanonicalizationError for
    NaN, infinities and integers beyond ±2^53.
    """
    return hashlib.sha256(rfc8785.dumps(dict(value))).hexdigest()[:HEX_DIGITS]


def _inputs(task: str, **fields: JSON) -> Hash:
    kept = {name: value for name, value in fields.items() if value is not None}
    return fingerprint({"version": KEY_VERSION, "task": task, **kept})


def identity(cluster: str, ref: ObjectRef) -> dict[str, JSON]:
    """An object's identity in the keys of its loads and trainings."""
    return {"cluster": cluster, "namespace": ref.namespace, "kind": ref.kind, "name": ref.name}


def build_key(*, tree: JSON, git: GitSection, section: BuildSection) -> Hash:
    """Hash a build: its context's tree and the use of the Dockerfile.

    ``tree`` is the tree id or, in a request hash, the request that it was resolved from.
    """
    fields = values_with(Effect.KEY, git)
    if not git.dockerfile:  # `dockerfile: .` has always had the key of the default
        del fields["dockerfile"]
    fields = {name: value for name, value in fields.items() if name not in _SELECT_TREE}
    return _inputs("build", tree=tree, **fields, **values_with(Effect.KEY, section))


def load_key(
    *, identity: dict[str, JSON], image: Hash, section: LoadSection, base: Hash | None
) -> Hash:
    """Hash a load. ``image`` is a build key or a ``sha256:…`` digest."""
    fields = values_with(Effect.KEY, section)
    return _inputs("load", object=identity, image=image, base=base, **fields)


def train_key(
    *,
    identity: dict[str, JSON],
    image: Hash,
    section: TrainingSection,
    base: Hash | None,
    dataset: Hash | None,
) -> Hash:
    """Hash a training. ``base`` is None for mode Scratch."""
    fields = values_with(Effect.KEY, section)
    return _inputs("train", object=identity, image=image, base=base, dataset=dataset, **fields)


def evaluate_key(
    *,
    identity: dict[str, JSON],
    image: Hash,
    section: EvaluationSection,
    artifact: Hash,
    dataset: Hash | None,
) -> Hash:
    """Hash an evaluation of an artifact. ``require`` is in no key."""
    fields = values_with(Effect.KEY, section)
    return _inputs(
        "evaluate", object=identity, image=image, artifact=artifact, dataset=dataset, **fields
    )


def given_key(*, identity: dict[str, JSON], bucket: BucketSection, listing: JSON = None) -> Hash:
    """Hash a bucket of existing data: URL, and revision or listing.

    ``listing`` is the digest of what is in it or, in a request hash of a followed one, the request.
    """
    fields = values_with(Effect.KEY, bucket)
    fields.pop("update", None)  # it selects the listing
    return _inputs("given", object=identity, listing=listing, **fields)


def hash_execution(section: RunSection, *, retry: str) -> ExecutionHash:
    """Hash the execution of a task. ``retry`` is the annotation substratus.ai/retry."""
    # Unlike other fields at their default, h1 has timeout, retries and both fields of a GPU.
    fields = values_with(Effect.EXECUTION, section)
    fields |= {"timeout": section.timeout, "retries": section.retries}
    gpu = section.resources.gpu
    if gpu is not None:
        set_fields = values_with(Effect.EXECUTION, gpu)
        fields["gpu"] = {**set_fields, "type": gpu.type or "", "count": gpu.count}
    if retry:
        fields["retry"] = retry
    return ExecutionHash(fingerprint({"version": EXECUTION_HASH_VERSION, **fields}))


def tenant_build_key(key: Hash, tenant: str | None) -> Hash:
    """Hash the build of an image for one tenant.

    Keys downstream have the image's own key: an artifact is named by its inputs alone. But a
    tenant runs in no image that another has built, although it would be made of the same.
    """
    return key if tenant is None else _inputs("build", image=key, tenant=tenant)


def pin_hash(source: GitSection | ObservedBucketSection, *, update: str) -> Hash:
    """Hash the request that a pinned commit or listing was resolved for.

    Another hash resolves the source anew. ``update`` is the annotation substratus.ai/update.
    """
    request = values_with(Effect.KEY, source)
    return fingerprint({"version": KEY_VERSION, "pin": request, "update": update})


def follow_request_hash(target: ForeignRef, part: str) -> Hash:
    """Hash the name of another cluster's object, for request hashes.

    The hash is the same for every artifact of the object. ``part`` is ``artifact`` or ``image``.
    """
    follows = identity(target.cluster, target.ref)
    return fingerprint({"version": KEY_VERSION, "follows": follows, "part": part})


def as_key(value: Hash) -> TaskKey:
    """Mark a hash as the key of a task or an artifact."""
    return TaskKey(value)


def as_request_hash(value: Hash) -> RequestHash:
    """Mark a hash as a request hash."""
    return RequestHash(value)
