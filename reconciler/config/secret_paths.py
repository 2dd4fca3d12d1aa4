"""The files and folders of a configuration that have secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from pydantic import BaseModel


class _Secret:
    """The mark of a field that names a secret's file or folder."""


SECRET: Final = _Secret()


def secret_paths(section: BaseModel) -> Iterator[str]:
    """Yield a section's secret files and folders, as they were given."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, str) and (SECRET in field.metadata or _marks(field.annotation)):
            yield value
        for inner in _sections(value):
            yield from secret_paths(inner)


def _marks(annotation: object) -> bool:
    return any(part is SECRET or _marks(part) for part in get_args(annotation))


def _sections(value: object) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
    elif isinstance(value, dict):
        yield from (each for each in value.values() if isinstance(each, BaseModel))
    elif isinstance(value, list):
        yield from (each for each in value if isinstance(each, BaseModel))
