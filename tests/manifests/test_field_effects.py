"""Each manifest field declares its effect, and a change of it has exactly that effect.

The tests are driven by the manifest classes and their JSON Schema, so a new field is covered by
itself. A new section needs a manifest in ``MANIFESTS`` that has it; a new pattern, a value in
``STRINGS`` that matches it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest

from reconciler.engine import RunSpec
from reconciler.manifests import ANNOTATION_EFFECTS, EFFECT, UPDATE_ANNOTATION, Effect, Section
from reconciler.manifests.effects import effect_at, fields_of, undeclared
from reconciler.manifests.json_schema import kind_schema
from reconciler.manifests.schema import DatasetManifest, ModelManifest
from reconciler.planner import preview
from reconciler.types import (
    Commit,
    ExecutionHash,
    ForeignRef,
    GitSource,
    Kind,
    RequestHash,
    ResolvedSource,
    TaskKey,
    TreeId,
)
from tests.manifests.reading import yaml
from tests.planner import world as worlds
from tests.planner.test_remote_clusters import CLUSTER, ready

ROOTS: dict[str, type[Section]] = {"Model": ModelManifest, "Dataset": DatasetManifest}
GIT = {"git": {"url": "https://example.com/m"}}
IMAGE = {"image": {"ref": f"registry.example.com/m@sha256:{'0' * 64}"}}
RESOURCES = {"resources": {"cpu": 1, "gpu": {"count": 1}}}
FROM = {"from": {"url": "s3://bucket/m"}}


def document(kind: str, name: str, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


#: One manifest of each shape. A field is changed in the first that has the section of the field.
MANIFESTS = [
    document(
        "Model",
        "m",
        source=GIT,
        build=RESOURCES,
        load=RESOURCES,
        training={**RESOURCES, "dataset": {"name": "data"}},
        evaluation={
            **RESOURCES,
            "command": ["test.sh"],
            "source": {"git": {"url": "https://example.com/test"}},
            "dataset": {"name": "data"},
            "require": ["accuracy > 0.1"],
        },
    ),
    document("Model", "m", source={"model": {"name": "base"}}, training={}),
    document("Model", "m", source=IMAGE),
    document("Model", "m", source=GIT, load=FROM),
    document("Dataset", "m", source=GIT, build=RESOURCES, load=RESOURCES),
    document("Dataset", "m", source={"bucket": {"url": "s3://bucket/m"}}),
    document("Dataset", "m", source=IMAGE),
    document("Dataset", "m", source=GIT, load=FROM),
    document(
        "Model",
        "m",
        source=IMAGE,
        training={
            "matrix": {
                "params": {"lr": [1, 2]},
                "best": {"metric": "accuracy", "goal": "maximize"},
            }
        },
    ),
]
#: Objects that references name, now and after a change of a reference.
REFERRED = [
    document(kind, name, namespace, source=IMAGE, load={"params": {"version": 1}})
    for kind, known in (("Model", "base"), ("Dataset", "data"))
    for name, namespace in ((known, "default"), (known, "other"), ("other", "default"))
]
#: Values of fields with a pattern: the first that matches is taken.
STRINGS = [
    "other",
    "accuracy > 0.5",
    "0" * 40,
    "s3://other/bucket",
    f"registry.example.com/o@sha256:{'1' * 64}",
]
VALUES: dict[tuple[str, ...], Any] = {
    ("spec", "training", "matrix", "params"): {"lr": [1]},
    ("spec", "training", "matrix", "include"): [{"lr": 3}],
    ("spec", "training", "matrix", "exclude"): [{"lr": 2}],
    ("metadata", "name"): "renamed",
    ("spec", "source", "git", "url"): "host:other",
    ("spec", "evaluation", "source", "git", "url"): "host:other",
    ("metadata", "annotations", "substratus.ai/prune"): "false",
    ("metadata", "annotations", "substratus.ai/accept"): "0" * 12,
    ("metadata", "annotations", "substratus.ai/cancel"): "2026-01-01T00:00:00Z",
}
#: Fields of a task that can have one value alone, although the class is shared with others.
FIXED = {("spec", task, "resources", "nodes") for task in ("build", "load", "evaluation")}

Path = tuple[str, ...]


@dataclass
class World(worlds.World):
    """A world whose sources' trees depend on the whole request, and all move with ``commits``."""

    commits: int = 0
    older: dict[str, str] = field(default_factory=dict)

    def tree_of(self, request: GitSource) -> ResolvedSource:
        content = f"{request} {self.commits}".encode()
        digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        return ResolvedSource(Commit(digest), TreeId(digest))

    def observe(
        self, changed: dict[str, Any]
    ) -> tuple[tuple[TaskKey | None, TaskKey | None], dict[str, str]]:
        """The keys of the manifest's artifact and evaluation, and each task's execution hash.

        While not all variants of a sweep have ended, it has no key.
        """
        self.files["m.yaml"] = yaml(changed)
        desired, invalid, _, _ = self.desired()
        assert not invalid
        (item,) = (each for each in desired.values() if each.manifest.file == "m.yaml")
        assert item.key is not None or item.variants, item.blocked
        evaluation = item.gate.task.key if item.gate is not None and item.gate.task else None
        return (item.key, evaluation), {task.kind: task.execution_hash for task in item.tasks}


@cache
def settled(number: int) -> World:
    """A world in which a manifest and all that it refers to are complete, each in two versions."""
    world = World({"m.yaml": yaml(MANIFESTS[number]), "referred.yaml": yaml(*REFERRED)})
    world.settings = replace(world.settings, clusters={"other": CLUSTER})
    world.remote = {
        ForeignRef("other", worlds.model("base")): ready("a"),
        ForeignRef("other", worlds.dataset("data")): ready("b"),
    }
    world.settle(measured)
    known = world.desired()[0]
    world.older = {
        "model": str(known[worlds.model("base")].key),
        "dataset": str(known[worlds.dataset("data")].key),
    }
    newer = [copied(each) for each in REFERRED]
    for each in newer:
        each["spec"]["load"]["params"]["version"] = 2
    world.files["referred.yaml"] = yaml(*newer)
    world.settle(measured)
    return world


def measured(world: worlds.World, name: str) -> None:
    """A run succeeds with metrics that follow its learning rate, up and down."""
    world.succeed(name)
    run, rate = world.runs[name], world.specs[name].params.get("lr", 0)
    assert isinstance(rate, int)
    assert run.result is not None
    metrics = {"accuracy": float(rate), "other": float(-rate)}
    world.runs[name] = replace(run, result=replace(run.result, metrics=metrics))


def declared(section: type[Section], path: Path = ()) -> Iterator[tuple[Path, type[Section]]]:
    """Each field with an effect, by path, with the class that defines it."""
    for each in fields_of(section):
        here = (*path, each.name)
        if each.effect is not None:
            yield here, section
        if each.section is not None:
            yield from declared(each.section, here)


@cache
def published(kind: str) -> Any:
    """The published schema of a kind, which takes a tenth of a second to make."""
    return kind_schema(Kind(kind))


def schema_of(kind: str, section: type[Section], name: str) -> dict[str, Any]:
    schema = published(kind)
    holder = schema if section is ROOTS[kind] else schema["$defs"][section.__name__]
    found: dict[str, Any] = holder["properties"][name]
    return found


FIELDS = [
    (kind, path, section)
    for kind, root in ROOTS.items()
    for path, section in declared(root)
    if "const" not in schema_of(kind, section, path[-1]) and path not in FIXED
]


def copied(manifest: dict[str, Any]) -> dict[str, Any]:
    """A copy that shares nothing, not even with itself."""
    found: dict[str, Any] = json.loads(json.dumps(manifest))
    return found


def parent(manifest: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """The mapping that the field is in, or None if the manifest has no such section."""
    for name in path[:-1]:
        inner = manifest.get(name)
        if not isinstance(inner, dict):
            return None
        manifest = inner
    return manifest


def other(schema: dict[str, Any], definitions: dict[str, Any], current: Any) -> Any:
    """Another valid value of a field."""
    if "$ref" in schema:
        inner = definitions[schema["$ref"].rpartition("/")[2]]
        fields = inner["properties"].items()
        needed = {n: s for n, s in fields if n in inner.get("required", [])} or dict(fields)
        return {name: other(each, definitions, None) for name, each in needed.items()}
    if "enum" in schema:
        return next(value for value in schema["enum"] if value != current)
    if "anyOf" in schema:
        members = [each for each in schema["anyOf"] if each.get("type") != "null"]
        number = next((each for each in members if each.get("type") == "number"), members[0])
        return other(number, definitions, current)
    match schema.get("type"):
        case "boolean":
            return not current
        case "integer":
            return (current or 0) + 1
        case "number":
            return 7
        case "array":
            return [other(schema["items"], definitions, None)]
        case "object":
            name = other(schema.get("propertyNames", {}) | {"type": "string"}, definitions, None)
            values = schema.get("additionalProperties", True)
            return {name: 1 if values is True else other(values, definitions, None)}
        case "string":
            matching = (s for s in STRINGS if re.search(schema.get("pattern", ""), s))
            found = next(matching, None)
            assert found is not None, f"add a value that matches {schema['pattern']} to STRINGS"
            return found
    raise AssertionError(f"no value is known for the schema {schema}")


def check(number: int, changed: dict[str, Any], effect: Effect, *, commits: int = 0) -> None:
    world = settled(number)
    world.commits = commits
    key, execution = world.observe(MANIFESTS[number])
    new_key, new_execution = world.observe(changed)
    common = execution.keys() & new_execution.keys()
    observed = {
        Effect.KEY: key != new_key,
        Effect.EXECUTION: any(execution[task] != new_execution[task] for task in common),
    }
    assert observed == {each: each is effect for each in observed}, (
        f"the field declares {effect}; a change of it changes "
        f"{' and '.join(each for each, is_changed in observed.items() if is_changed) or 'nothing'}"
    )


def with_other(kind: str, path: Path, section: type[Section]) -> tuple[int, dict[str, Any]]:
    """The first manifest that has the section of a field, with another value of the field."""
    shapes = (
        (number, changed, holder)
        for number, manifest in enumerate(MANIFESTS)
        if manifest["kind"] == kind
        and (holder := parent(changed := copied(manifest), path)) is not None
    )
    found = next(shapes, None)
    assert found is not None, f"add a manifest that has {'.'.join(path[:-1])} to MANIFESTS"
    number, changed, holder = found
    schema = schema_of(kind, section, path[-1])
    definitions = published(kind)["$defs"]
    value = VALUES.get(path) or other(
        schema, definitions, holder.get(path[-1], schema.get("default"))
    )
    if path[-2:] in {("model", "key"), ("dataset", "key")}:
        value = settled(number).older[path[-2]]
    holder[path[-1]] = value
    return number, changed


@pytest.mark.parametrize("kind", ROOTS)
def test_every_field_declares_its_effect(kind: str) -> None:
    if found := [str(error) for error in undeclared(ROOTS[kind])]:
        pytest.fail("\n".join(found), pytrace=False)


@pytest.mark.parametrize(
    ("kind", "path", "section"), FIELDS, ids=[f"{k}.{'.'.join(p)}" for k, p, _ in FIELDS]
)
def test_a_changed_field_has_the_declared_effect(
    kind: str, path: Path, section: type[Section]
) -> None:
    number, changed = with_other(kind, path, section)
    # The update mode decides which commit is used: that is seen once the branch has moved.
    check(number, changed, effect_at(ROOTS[kind], path), commits=int(path[-1] == "update"))


#: Fields of a task that are in its key to have it run again, decide what it is given, or judge it.
NOT_OF_RUNS = {"rerun", "mode", "require", "best", "metric", "goal", "update"}
TASKS = [
    (kind, path, section)
    for kind, path, section in FIELDS
    if path[1:2] in {("build",), ("load",), ("training",), ("evaluation",)}
    and path[-1] not in NOT_OF_RUNS
    and path[2] not in {"dataset", "from"}  # artifacts that are there, with keys of their own
]


def runs_of(number: int, manifest: dict[str, Any]) -> list[RunSpec]:
    """The runs of a manifest's tasks, without their names and hashes."""
    world = settled(number)
    world.files["m.yaml"] = yaml(manifest)
    inputs = world.plan().inputs
    (ref,) = (ref for ref, item in inputs.desired.items() if item.manifest.file == "m.yaml")
    previews = preview(inputs, ref, image_tag=lambda namespace, key: f"{namespace}:{key}")
    return [plain(found.spec) for found in previews if found.spec is not None]


def plain(spec: RunSpec) -> RunSpec:
    """A run without all that has a key or a hash in it."""
    key, execution, request = TaskKey(""), ExecutionHash(""), RequestHash("")
    named = replace(spec, name="", key=key, execution_hash=execution, request_hash=request)
    return replace(named, output=None, image=None, labels={}, annotations={}, lineage={})


@pytest.mark.parametrize(
    ("kind", "path", "section"), TASKS, ids=[f"{k}.{'.'.join(p)}" for k, p, _ in TASKS]
)
def test_a_changed_field_of_a_task_changes_its_run(
    kind: str, path: Path, section: type[Section]
) -> None:
    number, changed = with_other(kind, path, section)
    assert runs_of(number, changed) != runs_of(number, MANIFESTS[number]), (
        f"{'.'.join(path)} has an effect and no use: give it to RunSpec in planner/run_spec.py"
    )


@pytest.mark.parametrize("name", ANNOTATION_EFFECTS)
def test_a_changed_annotation_has_the_declared_effect(name: str) -> None:
    changed = copied(MANIFESTS[0])
    path = ("metadata", "annotations", name)
    changed["metadata"]["annotations"] = {name: VALUES.get(path, "other")}
    check(0, changed, effect_at(ModelManifest, path), commits=int(name == UPDATE_ANNOTATION))


@pytest.mark.parametrize(
    ("kind", "path", "section"), FIELDS, ids=[f"{k}.{'.'.join(p)}" for k, p, _ in FIELDS]
)
def test_the_schema_tells_the_effect(kind: str, path: Path, section: type[Section]) -> None:
    assert schema_of(kind, section, path[-1])[EFFECT] == effect_at(ROOTS[kind], path)


@pytest.mark.parametrize(
    ("path", "effect"),
    [
        (("spec", "training", "params", "epochs"), Effect.KEY),
        (("spec", "training", "resources", "gpu", "count"), Effect.EXECUTION),
        (("spec", "training", "secretEnv", "TOKEN", "name"), Effect.EXECUTION),
        (("metadata", "annotations", "example.com/owner"), Effect.NONE),
    ],
)
def test_what_is_inside_a_field_has_the_effect_of_the_field(path: Path, effect: Effect) -> None:
    assert effect_at(ModelManifest, path) == effect


def test_a_path_without_a_field_has_no_effect() -> None:
    with pytest.raises(LookupError):
        effect_at(ModelManifest, ("spec", "epochs"))
