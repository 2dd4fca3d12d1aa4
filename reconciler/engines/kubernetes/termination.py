"""placeholder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.run import FailureClass


@dataclass(frozen=True)
class Termination:
    attempt: int
    exit_code: int
    failure: FailureClass
    metrics: Mapping[str, float]
    gpu_seconds: float
    last: str


def read_termination(message: str) -> Termination | None:
    return None
