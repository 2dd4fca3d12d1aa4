"""Rules for one manifest beyond the types of its fields.

The rules check the plain value, not the validated object: a problem of one field must not hide
problems of others. Values of a wrong type are skipped, as validation reports them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import rfc8785

from reconciler.engine import env_name, is_reserved
from reconciler.manifests.matrix import MOST_COMBINATIONS, check_matrix
from reconciler.manifests.messages import described
from reconciler.manifests.yaml_nodes import Path
from reconciler.types import GROUP, JSON, Kind

LARGEST_PARAMS = 64 << 10
#: Larger integers can be equal as JSON numbers; RFC 8785 does not write them.
LARGEST_INTEGER = 2**53 - 1
#: Of a label's or an annotation's name: a DNS name, as Kubernetes has it.
LONGEST_PREFIX = 253
#: RFC 3339 in UTC and whole seconds, so that texts compare as times do.
_TIME = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII
)
#: As Kubernetes bounds an object's annotations, keys and values together.
LARGEST_ANNOTATIONS = 256 << 10

Finding: TypeAlias = tuple[Path, str]

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SHORT_KEY = re.compile(r"[0-9a-f]{12,40}")
_FORMERLY = re.compile(rf"(({_LABEL}/)?{_LABEL}/)?{_LABEL}")


def check(kind: Kind, value: JSON) -> Iterator[Finding]:
    """Find the fields that break a rule, each with a message."""
    yield from _check_prefixes(_mapping(value, "metadata"))
    yield from _check_annotations(_mapping(value, "metadata", "annotations"))
    sections: tuple[str, ...] = ("build", "load")
    if kind is Kind.MODEL:
        sections = (*sections, "training", "evaluation")
    for name in sections:
        section = _mapping(value, "spec", name)
        path: Path = ("spec", name)
        if name != "build":
            yield from _check_env(section, path)
            yield from _check_params(_mapping(section, "params"), (*path, "params"))
            command = section.get("command")
            if isinstance(command, list) and command and command[0] == "":
                yield (*path, "command", 0), "expected the name of a program, found nothing"
        nodes = _mapping(section, "resources").get("nodes")
        if name != "training" and isinstance(nodes, int) and nodes > 1:
            yield (*path, "resources", "nodes"), "only a training can have more than one node"
    if kind is Kind.MODEL:
        yield from _check_sweep(_mapping(value, "spec"))
    yield from _check_load(kind, _mapping(value, "spec"))
    yield from _nul_characters(value, ())


def _mapping(value: JSON | Mapping[str, JSON], *path: str) -> Mapping[str, JSON]:
    """The mapping at a path; empty if there is none."""
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _check_prefixes(metadata: Mapping[str, JSON]) -> Iterator[Finding]:
    for field in ("labels", "annotations"):
        for key in _mapping(metadata, field):
            length = len(key.rpartition("/")[0])
            if length > LONGEST_PREFIX:
                message = (
                    f"expected at most {LONGEST_PREFIX} characters before the /, found {length}"
                )
                yield ("metadata", field, key), message


def _check_annotations(annotations: Mapping[str, JSON]) -> Iterator[Finding]:
    path: Path = ("metadata", "annotations")
    size = sum(len(k.encode()) + len(v.encode()) for k, v in _texts(annotations))
    if size > LARGEST_ANNOTATIONS:
        yield path, f"annotations are larger than {LARGEST_ANNOTATIONS >> 10} KiB"
    for key, value in _texts(annotations):
        if key == f"{GROUP}/formerly" and not _FORMERLY.fullmatch(value):
            message = f"expected [[<cluster>/]<namespace>/]<name>, found {described(value)}"
            yield (*path, key), message
        elif key == f"{GROUP}/accept" and not _SHORT_KEY.fullmatch(value):
            message = (
                f"expected the key of an artifact, or 12 digits of it, found {described(value)}"
            )
            yield (*path, key), message
        elif key == f"{GROUP}/cancel" and not _TIME.fullmatch(value):
            message = f"expected a time such as 2026-11-29T20:00:00Z, found {described(value)}"
            yield (*path, key), message
        elif key == f"{GROUP}/prune" and value not in ("true", "false"):
            yield (*path, key), f'expected "true" or "false", found {described(value)}'


def _texts(pairs: Mapping[str, JSON]) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, value in pairs.items() if isinstance(value, str))


def _check_env(section: Mapping[str, JSON], path: Path) -> Iterator[Finding]:
    env, secret_env = _mapping(section, "env"), _mapping(section, "secretEnv")
    for field, names in (("env", env), ("secretEnv", secret_env)):
        for name in names:
            if is_reserved(name):
                message = f"{name:.80} is set by the reconciler, so it cannot be set here"
                yield (*path, field, name), message
    for name in secret_env.keys() & env.keys():
        yield (*path, "secretEnv", name), f"{name:.80} is in env as well"


def _check_params(params: Mapping[str, JSON], path: Path) -> Iterator[Finding]:
    yield from _check_variables((name for name in params if _is_scalar(params[name])), path)
    yield from _check_values(params, path)


def _is_scalar(value: JSON) -> bool:
    return not isinstance(value, (dict, list))


def _check_values(params: Mapping[str, JSON], path: Path) -> Iterator[Finding]:
    bad = list(_bad_numbers(dict(params), path))
    yield from bad
    if not bad and _size(params) > LARGEST_PARAMS:
        yield path, f"params are larger than {LARGEST_PARAMS >> 10} KiB"


def _check_variables(names: Iterable[str], path: Path) -> Iterator[Finding]:
    """Find params that would have the same environment variable."""
    variables: dict[str, str] = {}
    for name in names:
        other = variables.setdefault(env_name(name), name)
        if other != name:
            message = f'"{name:.80}" and "{other:.80}" would both be {env_name(name):.80}'
            yield (*path, name), message


def _check_sweep(spec: Mapping[str, JSON]) -> Iterator[Finding]:
    """Check the matrix of a training, with the params of each combination."""
    training = _mapping(spec, "training")
    matrix, params = _mapping(training, "matrix"), _mapping(training, "params")
    if not isinstance(training.get("matrix"), dict):
        return
    path: Path = ("spec", "training", "matrix")
    if spec.get("evaluation") is not None and matrix.get("best") is None:
        message = "of a matrix the best artifact is evaluated; add training.matrix.best"
        yield ("spec", "evaluation"), message
    lists = _mapping(matrix, "params")
    largest = {name: max(v, key=_length) for name, v in lists.items() if isinstance(v, list) and v}
    bad = [each for name in matrix for each in _bad_numbers(matrix[name], (*path, name))]
    if bad or any(_bad_numbers(dict(params), path)):
        yield from bad
        return
    # A param may be a scalar in one combination and a list in another.
    values = {name: [value] for name, value in params.items()} | {
        name: each for name, each in lists.items() if isinstance(each, list)
    }
    scalars = (name for name, each in values.items() if any(map(_is_scalar, each)))
    yield from _check_variables(scalars, (*path, "params"))
    yield from _check_values({**params, **largest}, (*path, "params"))
    included = matrix.get("include")
    if isinstance(included, list) and len(included) <= MOST_COMBINATIONS:
        for number, entry in enumerate(included):
            if isinstance(entry, dict):
                yield from _check_params({**params, **entry}, (*path, "include", number))
        yield from check_matrix(matrix, params, path)
    elif included is None:
        yield from check_matrix(matrix, params, path)


def _length(value: JSON) -> int:
    return len(json.dumps(value))


def _size(params: Mapping[str, JSON]) -> int:
    """The canonical form's bytes, estimated if they are clearly few."""
    # A number can be some five times longer in the canonical form (1e+20), nothing else grows.
    near = len(json.dumps(params))
    return near if near * 8 < LARGEST_PARAMS else len(rfc8785.dumps(dict(params)))


def _bad_numbers(value: JSON, path: Path) -> Iterator[Finding]:
    """Find numbers that JSON cannot represent exactly."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _bad_numbers(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _bad_numbers(inner, (*path, number))
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield path, "NaN and infinities are not allowed in params"
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        yield path, "an integer of 2^53 or beyond is not exact in JSON; write it as a string"


def _nul_characters(value: JSON, path: Path) -> Iterator[Finding]:
    """Find text with U+0000, which arguments and environment variables cannot have.

    Nested params can have it: they reach the command as JSON only.
    """
    if isinstance(value, str):
        if "\0" in value:
            yield path, "the character U+0000 is not allowed"
    elif len(path) == _PARAM and path[2] == "params":
        return
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _nul_characters(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _nul_characters(inner, (*path, number))


_PARAM = len(("spec", "load", "params", "<name>"))


def _check_load(kind: Kind, spec: Mapping[str, JSON]) -> Iterator[Finding]:
    source, load = _mapping(spec, "source"), _mapping(spec, "load")
    promotes = kind is Kind.MODEL and "model" in source and spec.get("training") is None
    if load.get("command") == [] and not promotes:
        message = "only a Model with source.model and no training may leave it empty: to take over"
        yield ("spec", "load", "command"), message
    if load.get("from") is not None:
        if kind is Kind.MODEL and "model" in source:
            yield ("spec", "load", "from"), "cannot be used with source.model, which brings weights"
        elif kind is Kind.DATASET and "bucket" in source:
            yield ("spec", "load", "from"), "cannot be used with source.bucket, which brings data"
