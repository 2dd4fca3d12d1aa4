"""Reasons as data: codes with arguments, rendered to sentences last.

Code decides by :class:`ReasonCode` alone and never reads a rendered message. A status file keeps
both: ``reason`` is the code, ``message`` the sentence.
"""

from reconciler.reasons.classes import (
    AFTER_A_RUN,
    FROM_GIT,
    HELD_REMOVALS,
    INVALID_SOURCES,
    OBSTACLES,
    ON_FILES,
    ON_OTHERS,
    SILENT_RUNS,
    UNKNOWABLE,
    UNRESOLVED_SOURCES,
    WARNINGS,
    WITHOUT_RUN,
)
from reconciler.reasons.codes import ReasonCode
from reconciler.reasons.messages import message, names, remedy, waits
from reconciler.reasons.reason import Argument, Reason, UnresolvedSource

__all__ = [
    "AFTER_A_RUN",
    "FROM_GIT",
    "HELD_REMOVALS",
    "INVALID_SOURCES",
    "OBSTACLES",
    "ON_FILES",
    "ON_OTHERS",
    "SILENT_RUNS",
    "UNKNOWABLE",
    "UNRESOLVED_SOURCES",
    "WARNINGS",
    "WITHOUT_RUN",
    "Argument",
    "Reason",
    "ReasonCode",
    "UnresolvedSource",
    "message",
    "names",
    "remedy",
    "waits",
]
