"""The local engine's part of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reconciler.config.reporting import FilePath
from reconciler.manifests import Seconds, Section


class EnvironmentsSection(Section):
    """Removal of images and their environments that no object uses.

    One is removed once it was not used for ``keep``. A run that needs it later has it built again.
    """

    enabled: bool = True
    keep: Seconds = 7 * 86400.0


class LocalSection(Section):
    """The local engine.

    ``slots`` are CPU cores; by default all of this machine's.
    """

    root: FilePath = "./state"
    runtime: Literal["process"] = "process"
    slots: Annotated[int, Field(ge=1, le=4096)] | None = None
    secrets: FilePath = "./secrets"
    environments: EnvironmentsSection = Field(default_factory=EnvironmentsSection)
