"""Names of the configuration file and of its variables."""

from __future__ import annotations

CONFIG_VARIABLE = "RECONCILER_CONFIG"
REPOSITORY_VARIABLE = "RECONCILER_REPOSITORY__URL"
DEFAULT_FILE = "reconciler.yaml"
