"""Failures of a run: each has a reason and a class."""

from __future__ import annotations

from typing import ClassVar

from reconciler.engine import FailureClass
from reconciler.reasons import Reason, ReasonCode, message


class RunFailedError(Exception):
    """The run, or an attempt of it, failed.

    ``again``: another attempt may succeed.
    """

    def __init__(self, reason: Reason, failure: FailureClass, *, again: bool = False) -> None:
        super().__init__(message(reason))
        self.reason = reason
        self.failure = failure
        self.again = again


class _DetailedError(RunFailedError):
    code: ClassVar[ReasonCode] = ReasonCode.INFRASTRUCTURE_FAILED
    fault: ClassVar[FailureClass] = FailureClass.INFRASTRUCTURE

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.of(self.code, detail=detail), self.fault)
        self.detail = detail


class CommandError(RunFailedError):
    """The command cannot be started, and another attempt would not help."""

    def __init__(self, code: ReasonCode, **arguments: str | int) -> None:
        super().__init__(Reason.of(code, **arguments), FailureClass.COMMAND)


class LaunchError(_DetailedError):
    """The machine could not start the command."""


class StillRunningError(_DetailedError):
    """Processes of an attempt could not be ended."""


class ContainerError(_DetailedError):
    """The program that runs containers cannot do what was asked."""


class SecretError(_DetailedError):
    """A secret is missing; the message names the file, never its content."""

    code = ReasonCode.SECRET_MISSING


class ArtifactError(_DetailedError):
    """The command's files cannot be an artifact."""

    code = ReasonCode.ARTIFACT_INCOMPLETE
    fault = FailureClass.COMMAND


class RequirementsError(_DetailedError):
    """The tree's requirements cannot be read; the message names the file."""

    code = ReasonCode.BUILD_FAILED
    fault = FailureClass.COMMAND
