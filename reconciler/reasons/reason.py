"""A reason: why a task, run or object is as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self, TypeAlias

from reconciler.reasons.codes import ReasonCode
from reconciler.types import ForeignRef, ObjectRef, TaskKind

#: A value that a message is made of; a ``Reason`` is the cause of the one that carries it.
Argument: TypeAlias = (
    "str | int | float | datetime | TaskKind | ObjectRef | ForeignRef | Reason "
    "| tuple[ObjectRef | TaskKind | str, ...]"
)


@dataclass(frozen=True, slots=True)
class Reason:
    """A code, and the arguments that its message template names.

    ``recorded`` is the message that was rendered by an earlier process, read back from a file.
    """

    code: ReasonCode
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    recorded: str | None = None

    def __hash__(self) -> int:
        """Hash the arguments too: 10,000 objects may have one code."""
        return hash((self.code, frozenset(self.arguments.items()), self.recorded))

    @property
    def root(self) -> Reason:
        """The innermost cause."""
        cause = self.arguments.get("cause")
        return cause.root if isinstance(cause, Reason) else self

    def __str__(self) -> str:
        raise TypeError(f"render {self.code!r} with reconciler.reasons.message")

    @classmethod
    def of(cls, code: ReasonCode, **arguments: Argument) -> Self:
        """Make a reason. The arguments are those of the code's template."""
        return cls(code, arguments)

    @classmethod
    def read(cls, code: str, text: str) -> Self:
        """Read a recorded reason; an unknown code becomes ``Unknown``."""
        return cls(ReasonCode.known(code), recorded=text)


@dataclass(frozen=True, slots=True)
class UnresolvedSource:
    """A source that cannot be read now; without secrets."""

    reason: Reason

    @classmethod
    def unavailable(cls, detail: str) -> Self:
        """Make one of a remote's or a client's error text."""
        return cls(Reason.of(ReasonCode.SOURCE_UNAVAILABLE, detail=detail))
