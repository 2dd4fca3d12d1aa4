"""Changes of params without a commit, for ``run --once --set``. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reconciler.errors import UsageFault
from reconciler.manifests.loader import Manifest, read_file
from reconciler.manifests.schema import CommandSection
from reconciler.manifests.yaml import read_documents
from reconciler.types import JSON

#: Names in a message.
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class ParamChange:
    """A value for the param at a path, such as ``training.params.lr``."""

    path: str
    value: JSON

    @classmethod
    def parse(cls, text: str) -> ParamChange:
        """Read ``PATH=VALUE``; the value is YAML, as in a manifest. Raises UsageFault."""
        path, equals, written = text.partition("=")
        if not equals or not path:
            raise UsageFault(f"--set: expected PATH=VALUE, found {text[:80]}")
        documents, problems = read_documents(written.encode(), path)
        if problems or len(documents) > 1:
            why = problems[0].message if problems else "it is more than one document"
            raise UsageFault(f"--set {path}: the value is no YAML: {why}")
        return cls(path, documents[0].value if documents else "")


def changed(manifest: Manifest, changes: Iterable[ParamChange]) -> Manifest:
    """Return a manifest with other params, which a sync would not suspend.

    Its places in its file stay. Raises UsageFault for a path that names no param of the manifest,
    and for a value that makes it invalid.
    """
    document: Any = json.loads(json.dumps(manifest.source.value))
    for change in changes:
        _set(document["spec"], manifest, change)
    document["spec"].pop("suspend", None)
    data = json.dumps(document).encode()
    content = read_file(manifest.file, data, default_namespace=manifest.ref.namespace)
    if not content.manifests:
        problem = content.problems[0]
        raise UsageFault(f"--set makes {manifest.ref} invalid: {problem.field}: {problem.message}")
    return replace(content.manifests[0], packed=manifest.packed)


def _set(spec: dict[str, Any], manifest: Manifest, change: ParamChange) -> None:
    """Put a value in the place of a param's."""
    section, params, rest = (*change.path.split(".", 2), "", "")[:3]
    known = _sections(manifest)
    if section not in known or params != "params" or not rest:
        raise UsageFault(_unknown(manifest, change, section, known))
    names, name = spec[section].get("params", {}), rest
    while name not in names:
        outer, dot, inner = name.partition(".")
        if not dot or not isinstance(names.get(outer), dict):
            raise UsageFault(_no_param(manifest, change, name, names, spec))
        names, name = names[outer], inner
    names[name] = change.value


def _sections(manifest: Manifest) -> list[str]:
    """Return the names of the sections that have params."""
    spec = manifest.document.spec
    return [
        name
        for name in type(spec).model_fields
        if isinstance(getattr(spec, name), CommandSection) and (name in spec.model_fields_set)
    ]


def _unknown(manifest: Manifest, change: ParamChange, section: str, known: Sequence[str]) -> str:
    """Write the message about a path that is none of a param."""
    rest = change.path.partition(".params.")[2]
    near = difflib.get_close_matches(section[:80], known, n=1, cutoff=0.5)
    if near and rest:
        hint = f"did you mean {near[0]}.params.{rest[:80]}?"
    else:
        paths = ", ".join(f"{name}.params.NAME" for name in known)
        hint = f"{manifest.ref} has {paths or 'no section with params'}"
    return f"--set: {change.path[:80]} names no param; {hint}"


def _no_param(
    manifest: Manifest, change: ParamChange, name: str, names: Collection[str], spec: dict[str, Any]
) -> str:
    """Write the message about a param that a manifest does not have."""
    path, section = change.path, change.path.partition(".")[0]
    if path.removeprefix(f"{section}.params.") in spec[section].get("matrix", {}).get("params", {}):
        return f"--set: {path} has its values from {section}.matrix; a try cannot change it"
    near = difflib.get_close_matches(name[:80], names, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean {path.removesuffix(name)}{near[0]}?"
    else:
        hint = f"it has {', '.join(sorted(names)[:_SHOWN]) or 'no params'}"
    return f"--set: there is no {path[:80]} in {manifest.ref}; {hint}"
