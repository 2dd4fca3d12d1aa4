"""The configuration as it is found: one YAML file, each key of which a variable can set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, get_args, get_origin

from pydantic import BaseModel

from reconciler.config.kubernetes import BucketSection, BucketsSection
from reconciler.config.model import Config, ConfigError, Setup
from reconciler.manifests import Name, described, read_documents, validate
from reconciler.types import JSON, Location, Problem

ENVIRONMENT_PREFIX = "RECONCILER_"
CONFIG_VARIABLE = "RECONCILER_CONFIG"
REPOSITORY_VARIABLE = "RECONCILER_REPOSITORY__URL"
DEFAULT_FILE = "reconciler.yaml"

_Path = tuple[str, ...]


def load_setup(file: Path, environment: Mapping[str, str], *, required: bool = False) -> Setup:
    """Read the file, set what the environment overrides, and check the whole.

    A file that is empty, or has only comments, is no mistake: the environment may say it all. One
    that is not there is an empty one, if the environment says where the repository is. Neither
    holds where the file is ``required``: it had something to say. Raises ConfigError.
    """
    overrides = _overrides(environment)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        if required or ("repository", "url") not in overrides:
            message = "there is no such file; `reconciler init DIR` makes a repository that has one"
            raise ConfigError([Problem(Location(str(file)), "", message)]) from None
        data = b"{}"
    except OSError as error:
        raise ConfigError([Problem(Location(str(file)), "", str(error.strerror))]) from error
    documents, problems = read_documents(data, str(file))
    if problems:
        raise ConfigError(problems)
    if required and not documents:
        raise ConfigError([Problem(Location(str(file)), "", "it is empty")])
    documents = documents or read_documents(b"{}", str(file))[0]
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        several = len(documents) > 1
        found = f"{len(documents)} documents" if several else described(documents[0].value)
        message = f"expected one mapping, found {found}"
        raise ConfigError([Problem(Location(str(file)), "", message)])
    value = documents[0].value
    placed = {_set(value, path, said[1]): said for path, said in overrides.items()}
    checked = validate(documents[0], Config)
    if isinstance(checked, list):
        raise ConfigError([_placed(problem, placed) for problem in checked])
    return Setup(config=checked, folder=file.resolve().parent)


def _overrides(environment: Mapping[str, str]) -> dict[_Path, tuple[str, JSON]]:
    """The values that variables set, by the path of the key: (variable, value read as YAML).

    A variable whose first part is no key is not meant for us (Kubernetes sets
    ``<SERVICE>_PORT`` for each service of a namespace); a wrong part after that is an error.
    """
    found: dict[_Path, tuple[str, JSON]] = {}
    problems = []
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
            continue
        parts = name.removeprefix(ENVIRONMENT_PREFIX).split("__")
        if _key(Config, parts[0]) is None:
            continue
        path = _resolve(parts)
        if isinstance(path, str):
            problems.append(Problem(Location(f"${name}"), ".".join(parts).lower(), path))
            continue
        documents, wrong = read_documents(text.encode("utf-8", "surrogateescape"), f"${name}")
        if not wrong and len(documents) < 2:
            found[path] = (name, documents[0].value if documents else None)
        else:
            said = wrong[0].message if wrong else f"expected one value, found {len(documents)}"
            problems.append(Problem(Location(f"${name}"), ".".join(path), said))
    if problems:
        raise ConfigError(problems)
    return found


def _resolve(parts: list[str]) -> _Path | str:
    holder: _Holder = Config
    path: list[str] = []
    for part in parts:
        found = _key(holder, part)
        if found is None:
            return f"there is no key {part.lower()} in {'.'.join(path) or 'the configuration'}"
        path.append(found[0])
        holder = found[1]
    return tuple(path)


@dataclass(frozen=True, slots=True)
class _Named:
    """A mapping whose keys are names of the user's, each with a section, or with anything."""

    section: type[BaseModel] | None


#: What keys are looked up in; None: nothing below it has a variable of its own.
_Holder: TypeAlias = "type[BaseModel] | _Named | None"


def _key(holder: _Holder, part: str) -> tuple[str, _Holder] | None:
    """The key whose upper-case form this is, and what it holds."""
    if isinstance(holder, _Named):
        return _name(part), holder.section
    if holder is None:
        return None
    for name, field in holder.model_fields.items():
        alias = field.alias or name
        if alias.upper() == part:
            return alias, _held(field.annotation)
    return (_name(part), BucketSection) if holder is BucketsSection else None


def _held(annotation: object) -> _Holder:
    types = [annotation, *get_args(annotation)]
    sections = [t for t in types if isinstance(t, type) and issubclass(t, BaseModel)]
    section = sections[0] if sections else None
    if get_origin(annotation) is not dict:
        return section if get_origin(annotation) is not list else None
    return _Named(section) if section is not None or get_args(annotation)[0] == Name else None


def _name(part: str) -> str:
    """The name that a part of a variable stands for; a shell's variables have no ``-``."""
    return part.lower().replace("_", "-")


def _set(value: dict[str, JSON], path: _Path, override: JSON) -> _Path:
    """Set a value; returns where it is now, with the names as the file has them."""
    place: list[str] = []
    for part in path:
        if place:
            inner = value.get(place[-1])
            if not isinstance(inner, dict):
                inner = value[place[-1]] = {}
            value = inner
        same = (key for key in value if _name(key) == part)
        place.append(part if part in value else next(same, part))
    value[place[-1]] = override
    return tuple(place)


def _placed(problem: Problem, overrides: Mapping[_Path, tuple[str, JSON]]) -> Problem:
    """A problem with a value that a variable set is that variable's."""
    parts = tuple(re.split(r"[.\[]", problem.field))
    for path, (name, _) in overrides.items():
        if parts[: len(path)] == path:
            return Problem(Location(f"${name}"), problem.field, problem.message)
    return problem
