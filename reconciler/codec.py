"""Frozen dataclasses as JSON-like trees, and back.

A dataclass is its own format: a field ``image_key`` stands as ``imageKey``, in the order of the
class. A NamedTuple is an object of its fields, an enum its value, a time RFC 3339 in UTC. The
keys of a mapping belong to the user and stay as they are, as does a value typed ``JSON``.

    codec = Codec(Record, names={"since": "lastTransitionTime"})
    codec.load(codec.dump(record)) == record

Unknown fields are passed over, so that a later version may add fields with a default. Times are
within the years 1900 to 8999, so that a difference or a time zone never leads out of the calendar.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import threading
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from datetime import UTC, datetime
from functools import cache, reduce
from operator import or_
from types import MappingProxyType
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

import msgspec

from reconciler.errors import ReconcilerError

T = TypeVar("T")
Build = Callable[[Any], Any]
#: Fields that are left out: those that are None, or as the class has them, or no field at all.
Omit = Literal["none", "default", "nothing"]

#: msgspec works out a type at its first use, and crashes in a thread that uses the type meanwhile.
_PREPARING = threading.Lock()
#: The years of times.
_EARLIEST, _LATEST = 1900, 9000
_ERROR = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)


class CodecError(ReconcilerError):
    """A tree is not of the format; the message names the field."""


#: Types whose values are written as they are: no class derived from one of them.
_PLAIN = frozenset((str, int, float, bool, type(None)))


@dataclass(frozen=True, slots=True)
class _Field:
    """A field, its name in the format, and its default."""

    name: str
    written: str
    default: object


@dataclass(frozen=True, slots=True)
class _Format:
    """A class that msgspec validates, and the builder of each field."""

    struct: type[msgspec.Struct]
    fields: tuple[tuple[str, Build | None], ...]


class Codec(Generic[T]):
    """The format of a dataclass.

    ``omit`` selects the fields that are left out; with "nothing" a None is null. ``names`` gives
    fields another name than camelCase, and ``timespec`` is the precision of times. ``forms`` are
    checks of the values of a type, such as a NewType's pattern. A format with a ``version`` has it
    as its first field, and no other version is read.
    """

    def __init__(
        self,
        cls: type[T],
        *,
        omit: Omit = "default",
        names: Mapping[str, str] | None = None,
        timespec: Literal["seconds", "microseconds"] = "seconds",
        forms: Mapping[Any, msgspec.Meta] = MappingProxyType({}),
        version: int | None = None,
    ) -> None:
        self._cls = cls
        self._omit = omit
        self._names = dict(names or {})
        self._timespec = timespec
        self._forms = forms
        self._version = version
        self._field: Callable[[Any], tuple[_Field, ...]] = cache(self._fields_of)
        self._format: Callable[[Any], _Format] = cache(self._format_of)
        self._prepared: _Format | None = None

    def dump(self, value: T) -> dict[str, Any]:
        """Return the tree of a value."""
        tree: dict[str, Any] = self._dump(value)
        return tree if self._version is None else {"version": self._version, **tree}

    def load(self, tree: object) -> T:
        """Return the value of a tree. Raises CodecError with the field."""
        if self._version is not None:
            _check_version(tree, self._version)
        form = self._prepared or self._prepare()
        try:
            found = msgspec.convert(tree, form.struct)
        except (msgspec.ValidationError, RecursionError, UnicodeEncodeError) as error:
            raise CodecError(_located(error)) from error
        value: T = self._build(self._cls, form, found)
        return value

    def _prepare(self) -> _Format:
        with _PREPARING:
            if self._prepared is None:
                form = self._format(self._cls)
                msgspec.json.Decoder(form.struct)
                self._prepared = form
            return self._prepared

    def _dump(self, value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if dataclasses.is_dataclass(value):
            tree = {}
            for field in self._field(type(value)):
                item = getattr(value, field.name)
                if self._omit == "nothing" or (
                    item is not None and (self._omit != "default" or item != field.default)
                ):
                    tree[field.written] = self._dump(item)
            return tree
        if isinstance(value, enum.Enum):
            return value.value
        if isinstance(value, datetime):
            return format_time(value, self._timespec)
        if isinstance(value, Mapping):
            return {key: self._dump(item) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            pairs = zip(self._field(type(value)), value, strict=True)
            return {field.written: self._dump(item) for field, item in pairs}
        if isinstance(value, tuple | list):
            return [self._dump(item) for item in value]
        return value

    def _fields_of(self, cls: Any) -> tuple[_Field, ...]:
        if hasattr(cls, "_fields"):
            return tuple(_Field(name, self._written(name), MISSING) for name in cls._fields)
        return tuple(
            _Field(
                field.name,
                self._written(field.name),
                field.default if field.default_factory is MISSING else field.default_factory(),
            )
            for field in dataclasses.fields(cls)
        )

    def _written(self, name: str) -> str:
        return self._names.get(name) or re.sub("_(.)", lambda m: m[1].upper(), name)

    def _format_of(self, cls: Any) -> _Format:
        # JSON is a recursive alias, which msgspec cannot resolve: such a value is free of form.
        hints = get_type_hints(cls, localns={"JSON": Any})
        members: list[tuple[str, Any, Any]] = []
        builds: list[tuple[str, Build | None]] = []
        for field in self._field(cls):
            wire, build = self._wire(hints[field.name])
            default: object = msgspec.NODEFAULT
            if field.default is not MISSING:
                # The class itself has the default.
                wire, default = wire | msgspec.UnsetType, msgspec.UNSET
            elif type(None) in get_args(hints[field.name]):
                default = None
            members.append((field.name, wire, default))
            builds.append((field.name, build))
        names = {field.name: field.written for field in self._field(cls)}
        struct = msgspec.defstruct(cls.__name__, members, rename=names, kw_only=True)
        return _Format(struct, tuple(builds))

    def _wire(self, hint: Any) -> tuple[Any, Build | None]:
        """Return the type that msgspec checks, and its builder."""
        checked = self._forms.get(hint) if isinstance(hint, NewType | type) else None
        if checked is not None:
            plain = hint.__supertype__ if isinstance(hint, NewType) else hint
            return Annotated[plain, checked], None
        if isinstance(hint, NewType):
            return self._wire(hint.__supertype__)
        if hint is datetime:
            return datetime, _aware
        if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or hasattr(hint, "_fields")):
            form = self._format(hint)
            return form.struct, lambda found: self._build(hint, form, found)
        origin, inner = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            options = [self._wire(option) for option in inner]
            build = next((build for _, build in options if build is not None), None)
            return reduce(or_, (wire for wire, _ in options)), build and _optional(build)
        if origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
            wire, build = self._wire(inner[0])
            return types.GenericAlias(tuple, (wire, ...)), build and _each(build)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            wire, build = self._wire(inner[1])
            return types.GenericAlias(dict, (str, wire)), build and _each_value(build)
        return hint, None

    def _build(self, cls: Any, form: _Format, found: msgspec.Struct) -> Any:
        values = {
            name: build(value) if build else value
            for name, build in form.fields
            if (value := getattr(found, name)) is not msgspec.UNSET
        }
        return cls(**values)


def _check_version(tree: object, version: int) -> None:
    found = tree.get("version") if isinstance(tree, Mapping) else None
    if found != version:
        raise CodecError(f"version: expected {version}, found {found!r:.40}")


@overload
def whole_seconds(time: datetime) -> datetime: ...
@overload
def whole_seconds(time: None) -> None: ...
def whole_seconds(time: datetime | None) -> datetime | None:
    """Round a time down to whole seconds, as files store it.

    So the value read back is the value written.
    """
    return time.replace(microsecond=0) if time is not None else None


def format_time(time: datetime, timespec: Literal["seconds", "microseconds"] = "seconds") -> str:
    """Format a time as RFC 3339 in UTC."""
    return time.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def _aware(time: datetime) -> datetime:
    if not _EARLIEST <= time.year < _LATEST:
        raise CodecError(f"the year {time.year} is out of range")
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _optional(build: Build) -> Build:
    return lambda found: None if found is None else build(found)


def _each(build: Build) -> Build:
    return lambda found: tuple(map(build, found))


def _each_value(build: Build) -> Build:
    return lambda found: {key: build(item) for key, item in found.items()}


def _located(error: Exception) -> str:
    match = _ERROR.fullmatch(str(error))
    if match is None or not match["path"]:
        return str(error)
    return f"{match['path']}: {match['problem']}"
