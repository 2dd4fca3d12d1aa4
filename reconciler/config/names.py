"""Names of the configuration file and of variables, for commands without a configuration."""

from __future__ import annotations

CONFIG_VARIABLE = "RECONCILER_CONFIG"
REPOSITORY_VARIABLE = "RECONCILER_REPOSITORY__URL"
DEFAULT_FILE = "reconciler.yaml"
