"""Phases of objects and of their tasks."""

from __future__ import annotations

import enum


class Phase(enum.StrEnum):
    """An object's state: the first that applies, in this order."""

    INVALID = "Invalid"
    HELD = "Held"
    BUILDING = "Building"
    LOADING = "Loading"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    FAILED = "Failed"
    LOST = "Lost"
    READY = "Ready"
    REJECTED = "Rejected"
    SUSPENDED = "Suspended"
    WAITING = "Waiting"
    PENDING = "Pending"

    __hash__ = str.__hash__  # an enum's own is written in Python


#: Phases in order of urgency: those that need attention come first.
URGENCY = (
    Phase.INVALID,
    Phase.FAILED,
    Phase.REJECTED,
    Phase.LOST,
    Phase.HELD,
    Phase.WAITING,
    Phase.BUILDING,
    Phase.LOADING,
    Phase.TRAINING,
    Phase.EVALUATING,
    Phase.PENDING,
    Phase.SUSPENDED,
    Phase.READY,
)


class TaskPhase(enum.StrEnum):
    """A task's state, or how an entry of a history ended.

    Needless: its result is not known, and nothing needs it. Interrupted, of entries alone: the run
    ended early, and not by its command.
    """

    PENDING = "Pending"
    WAITING = "Waiting"
    HELD = "Held"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    NEEDLESS = "Needless"
    INTERRUPTED = "Interrupted"

    __hash__ = str.__hash__


#: Phases of tasks of which nothing is left to do.
DONE_TASKS = (TaskPhase.SUCCEEDED, TaskPhase.NEEDLESS)
