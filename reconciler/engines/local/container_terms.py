"""The terms of containers.

Every supervisor reads them. Other modules are imported for containers alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Program = Literal["docker", "podman"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerTerms:
    """The terms of containers, which a daemon finds out at its start.

    ``user`` is the one of commands, who is the daemon's own outside. ``cpus`` are those of the
    machine; ``rootless``: other users inside are none of the daemon's outside.
    """

    program: Program
    network: str
    user: str
    cpus: int
    rootless: bool
