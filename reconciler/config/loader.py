"""Loading of the configuration from a YAML file and environment variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel

from reconciler.config.kubernetes import BucketConfig, BucketsSection
from reconciler.config.names import CONFIG_VARIABLE
from reconciler.config.schema import Config, ConfigError
from reconciler.config.setup import Setup
from reconciler.manifests import Name, described, read_documents, validate
from reconciler.types import JSON, Location, Problem

ENVIRONMENT_PREFIX = "RECONCILER_"

#: The variables that Kubernetes sets for a service, after the service's name.
_OF_SERVICE = re.compile(
    r"(^|_)(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)
#: Texts that unset a key which may be unset.
_NOTHING = ("", "~", "null")
#: How similar a variable is to the one that it stands for: one letter in eight is wrong.
_NEAR = 0.88

_Path = tuple[str, ...]


def load_setup(file: Path, environment: Mapping[str, str], *, required: bool = False) -> Setup:
    """Read the file, apply the environment's overrides and validate the result.

    A file that is empty, or has only comments, is no error: the environment may set every key. A
    missing file counts as an empty one if the environment sets the repository's URL. Both are
    errors if the file is ``required``. Raises ConfigError.
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
    placed = {_set(value, path, override[1]): override for path, override in overrides.items()}
    checked = validate(documents[0], Config)
    if isinstance(checked, list):
        raise ConfigError([_placed(problem, placed) for problem in checked])
    return Setup(config=checked, folder=_folder(file))


def _folder(file: Path) -> Path:
    """Return the folder that relative paths are relative to.

    Links are followed, but for those of a mounted ConfigMap: they lead to a folder below the
    file's own (``..2026_11_27_…``), which is removed at the next change.
    """
    folder, resolved = file.absolute().parent.resolve(), file.resolve().parent
    mounted = folder in resolved.parents and resolved.relative_to(folder).parts[0].startswith("..")
    return folder if mounted else resolved


def misspelt_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Map variables that look like misspelt ones to the right ones."""
    doubtful = [name for name in map(_text, environment) if _sets_nothing(name)]
    if not doubtful:
        return {}
    keys = {_letters(name): name for name in (CONFIG_VARIABLE, *_variables(Config, ()))}
    found = {}
    for name in doubtful:
        rest = name.removeprefix(ENVIRONMENT_PREFIX)
        first, *deeper = rest.split("__")
        # What stands below a key may have a name that people chose.
        near = get_close_matches(_letters(ENVIRONMENT_PREFIX + rest), keys, n=1, cutoff=_NEAR)
        section = get_close_matches(_letters(ENVIRONMENT_PREFIX + first), keys, n=1, cutoff=_NEAR)
        if near:
            found[name] = keys[near[0]]
        elif deeper and section:
            found[name] = "__".join((keys[section[0]], *deeper))
    return found


def _sets_nothing(name: str) -> bool:
    """Return whether a variable has the prefix, but sets no key."""
    rest = name.removeprefix(ENVIRONMENT_PREFIX)
    if rest == name or _OF_SERVICE.search(rest) or name == CONFIG_VARIABLE:
        return False
    return _key(Config, rest.split("__")[0]) is None


def _variables(section: type[BaseModel], path: _Path) -> Iterator[str]:
    """Yield the variables of a section's keys, without users' names."""
    for name, field in section.model_fields.items():
        place = (*path, (field.alias or name).upper())
        yield ENVIRONMENT_PREFIX + "__".join(place)
        holder = _held(field.annotation)
        if isinstance(holder, type):
            yield from _variables(holder, place)


def _letters(variable: str) -> str:
    return variable.replace("_", "").upper()


def _overrides(environment: Mapping[str, str]) -> dict[_Path, tuple[str, JSON]]:
    """Map the path of each overridden key to its variable and value.

    Values are read as YAML, but where the key is a string and YAML reads another value
    (``1.10``, ``[::1]:8080``): there the text is the value. A variable whose first part is no key
    is not the reconciler's (Kubernetes sets ``<SERVICE>_PORT`` for each service of a namespace); a
    wrong part after that is an error.
    """
    found: dict[_Path, tuple[str, JSON]] = {}
    problems = []
    for raw, text in sorted(environment.items()):
        name = _text(raw)
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
            continue
        parts = name.removeprefix(ENVIRONMENT_PREFIX).split("__")
        if _key(Config, parts[0]) is None:
            continue
        resolved = _resolve(parts)
        if isinstance(resolved, str):
            problems.append(Problem(Location(f"${name}"), ".".join(parts).lower(), resolved))
            continue
        path, annotation = resolved
        if text != _text(text):
            problems.append(Problem(Location(f"${name}"), ".".join(path), "it is not UTF-8 text"))
            continue
        documents, wrong = read_documents(text.encode(), f"${name}")
        value = documents[0].value if documents else None
        if _is_text(annotation) and not (isinstance(value, str) and not wrong):
            unset = type(None) in get_args(annotation) and text.strip().lower() in _NOTHING
            found[path] = (name, None if unset else text)
        elif not wrong and len(documents) < 2:
            found[path] = (name, value)
        else:
            message = wrong[0].message if wrong else f"expected one value, found {len(documents)}"
            problems.append(Problem(Location(f"${name}"), ".".join(path), message))
    if problems:
        raise ConfigError(problems)
    return found


def _text(variable: str) -> str:
    r"""Return a name or value as text, with ``\xff`` for other bytes."""
    return variable.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_text(annotation: object) -> bool:
    """Return whether a key takes strings alone, or strings and nothing."""
    annotation = _plain(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return all(a is type(None) or _is_text(a) for a in get_args(annotation))
    if get_origin(annotation) is Literal:
        return all(isinstance(choice, str) for choice in get_args(annotation))
    return annotation is str


def _resolve(parts: list[str]) -> tuple[_Path, object] | str:
    """Return the path of a variable's parts, and its value's type."""
    holder: _Holder = Config
    annotation: object = None
    path: list[str] = []
    for part in parts:
        found = _key(holder, part)
        if found is None:
            return f"there is no key {part.lower()} in {'.'.join(path) or 'the configuration'}"
        name, holder, annotation = found
        path.append(name)
    return tuple(path), annotation


@dataclass(frozen=True, slots=True)
class _Named:
    """A mapping by user-defined names; ``section`` is None if values are free-form."""

    section: type[BaseModel] | None


#: The place that keys are looked up in; None if no key below it has a variable of its own.
_Holder: TypeAlias = "type[BaseModel] | _Named | None"


def _key(holder: _Holder, part: str) -> tuple[str, _Holder, object] | None:
    """Find a key by its upper-case form, its value's holder and type."""
    if isinstance(holder, _Named):
        return _name(part), holder.section, holder.section
    if holder is None:
        return None
    for name, field in holder.model_fields.items():
        alias = field.alias or name
        if alias.upper() == part:
            return alias, _held(field.annotation), field.annotation
    return (_name(part), BucketConfig, BucketConfig) if holder is BucketsSection else None


def _held(annotation: object) -> _Holder:
    types = map(_plain, (annotation, *get_args(annotation)))
    sections = [t for t in types if isinstance(t, type) and issubclass(t, BaseModel)]
    section = sections[0] if sections else None
    if get_origin(annotation) is not dict:
        return section if get_origin(annotation) is not list else None
    return _Named(section) if section is not None or get_args(annotation)[0] == Name else None


def _plain(annotation: object) -> object:
    """Return a type without what it is annotated with."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _name(part: str) -> str:
    """Return the name for a variable's part: ``_`` becomes ``-``."""
    return part.lower().replace("_", "-")


def _set(value: dict[str, JSON], path: _Path, override: JSON) -> _Path:
    """Set a value; return its path, named as in the file."""
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
    """Move a problem to the variable that has set the value."""
    parts = tuple(re.split(r"[.\[]", problem.field))
    for path, (name, _) in overrides.items():
        if parts[: len(path)] == path:
            return Problem(Location(f"${name}"), problem.field, problem.message)
    return problem
