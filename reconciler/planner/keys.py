"""Keys: the content hashes that name every task, and with it every artifact.

A key is the SHA-256 of the RFC 8785 canonical JSON of a task's inputs, of which the first 40
hex digits are kept. It includes the keys of the tasks it depends on, so all keys of a commit are
known before anything has run. The format is ``k1``; what follows from it is in buckets, registries
and status files of every user, so the golden keys in the tests are never edited.

A field at its default is left out. A new field with a default therefore changes no old key, and
a default never changes within ``k1``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import rfc8785

from reconciler.manifests.schema import (
    CommandSection,
    GitSection,
    LoadSection,
    RunSection,
    TrainingSection,
)
from reconciler.types import JSON, ForeignRef, How, Intent, ObjectRef, TaskKey

KEY_VERSION = "k1"
HOW_VERSION = "h1"
HEX_DIGITS = 40

DEFAULT_LOAD_COMMAND = ["load.sh"]
DEFAULT_TRAIN_COMMAND = ["train.sh"]

#: Either a key (of what is wanted) or an intent (of what was asked for): the same Merkle hash
#: over the same fields, in which a followed source counts as its tree or as its name.
Hash = str


def fingerprint(value: Mapping[str, JSON]) -> Hash:
    """The first 40 hex digits of the SHA-256 of the value's canonical JSON (RFC 8785).

    Raises rfc8785.CanonicalizationError for NaN, infinities and integers beyond ±2^53.
    """
    return hashlib.sha256(rfc8785.dumps(dict(value))).hexdigest()[:HEX_DIGITS]


def _inputs(task: str, **fields: JSON) -> Hash:
    kept: dict[str, JSON] = {
        name: value for name, value in fields.items() if value not in (None, "", {}, False)
    }
    return fingerprint({"version": KEY_VERSION, "task": task, **kept})


def identity(cluster: str, ref: ObjectRef) -> dict[str, JSON]:
    """An object's identity as it stands in the keys of its loads and trainings."""
    return {"cluster": cluster, "namespace": ref.namespace, "kind": ref.kind, "name": ref.name}


def build_key(*, tree: JSON, git: GitSection, rerun: str) -> Hash:
    """Of a build: its context's tree id, and how the Dockerfile is used.

    ``tree`` is the tree id or, in an intent, whatever stands for it.
    """
    return _inputs(
        "build",
        tree=tree,
        dockerfile=git.dockerfile if git.dockerfile != "Dockerfile" else None,
        buildArgs=dict(git.build_args),
        submodules=git.submodules,
        rerun=rerun,
    )


def load_key(
    *, identity: dict[str, JSON], image: Hash, section: LoadSection, base: Hash | None
) -> Hash:
    """Of a load. ``image`` is a build key or an image digest (``sha256:…``)."""
    return _inputs(
        "load",
        object=identity,
        image=image,
        base=base,
        **_command(section, section.command, DEFAULT_LOAD_COMMAND),
    )


def train_key(
    *,
    identity: dict[str, JSON],
    image: Hash,
    section: TrainingSection,
    base: Hash | None,
    dataset: Hash | None,
) -> Hash:
    """Of a training. ``base`` is None for mode Scratch."""
    return _inputs(
        "train",
        object=identity,
        image=image,
        base=base,
        dataset=dataset,
        mode=section.mode if section.mode != "Finetune" else None,
        **_command(section, section.command, DEFAULT_TRAIN_COMMAND),
    )


def given_key(*, identity: dict[str, JSON], url: str, revision: str) -> Hash:
    """Of a bucket that is there already: its place and the revision that the user names."""
    return _inputs("given", object=identity, url=url, revision=revision)


def _command(
    section: CommandSection, command: list[str], default: Sequence[str]
) -> dict[str, JSON]:
    return {
        "command": list(command) if command != default else None,
        "params": section.params,
        "env": dict(section.env),
        "rerun": section.rerun,
    }


def how_hash(section: RunSection, *, retry: str) -> How:
    """The hash of how a task is run. ``retry`` is the annotation substratus.ai/retry."""
    resources = section.resources
    gpu = resources.gpu
    fields: dict[str, JSON] = {
        "cpu": resources.cpu,
        "memory": resources.memory,
        "disk": resources.disk,
        "shm": resources.shm,
        "gpu": {"type": gpu.type or "", "count": gpu.count} if gpu else None,
        "nodes": resources.nodes if resources.nodes != 1 else None,
        "timeout": section.timeout,
        "retries": section.retries,
        "profile": section.profile,
        "queue": section.queue,
        "priority": section.priority,
        "serviceAccount": section.service_account,
        "retry": retry or None,
    }
    if isinstance(section, CommandSection):
        fields["secretEnv"] = {
            name: {"name": secret.name, "key": secret.key}
            for name, secret in section.secret_env.items()
        } or None
    kept = {name: value for name, value in fields.items() if value is not None}
    return How(fingerprint({"version": HOW_VERSION, **kept}))


def pin_hash(git: GitSection, *, update: str) -> Hash:
    """What a pinned commit was resolved for: a change of it resolves anew.

    ``update`` is the annotation substratus.ai/update.
    """
    asked = git.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return fingerprint({"version": KEY_VERSION, "pin": asked, "update": update})


def follow_intent(target: ForeignRef, part: str) -> Hash:
    """What stands in an intent for an object of another cluster, whatever it is made into.

    ``part`` tells its artifact from its image.
    """
    who = identity(target.cluster, target.ref)
    return fingerprint({"version": KEY_VERSION, "follows": who, "part": part})


def as_key(value: Hash) -> TaskKey:
    """Mark a hash as a key of what is wanted."""
    return TaskKey(value)


def as_intent(value: Hash) -> Intent:
    """Mark a hash as an intent."""
    return Intent(value)
