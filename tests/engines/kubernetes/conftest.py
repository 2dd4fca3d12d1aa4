"""Containers that share a bucket."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines.kubernetes.container import Container, need_busybox

MakeContainer = Callable[..., Container]


@pytest.fixture
def pod(tmp_path: Path) -> MakeContainer:
    """Make a container of a new pod on the same bucket; keywords steer it."""
    need_busybox()
    numbers = itertools.count(1)
    bucket = tmp_path / "bucket" / "key"

    def make(
        *, env: dict[str, str] | None = None, staged: bool = False, **steer: object
    ) -> Container:
        place = tmp_path / f"pod-{next(numbers)}"
        stage = place / "saved" if staged else None
        return Container(place, bucket, stage, dict(env or {}), steer)

    return make
