"""The configuration: its schema, its file and its environment variables.

`load_setup` reads it into a `Setup`, the configuration with the folder that its relative paths
refer to.
"""

from reconciler.config.kubernetes import BucketConfig, DriverName, KubernetesSection
from reconciler.config.loader import (
    CONFIG_VARIABLE,
    DEFAULT_FILE,
    REPOSITORY_VARIABLE,
    load_setup,
    misspelt_variables,
)
from reconciler.config.reporting import (
    ForgeSite,
    NotificationsSection,
    RequestsSection,
    ReviewSection,
)
from reconciler.config.schema import (
    Config,
    ConfigError,
    CredentialsSection,
    config_schema,
)
from reconciler.config.setup import SHORTEST_KEY, Setup

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_FILE",
    "REPOSITORY_VARIABLE",
    "SHORTEST_KEY",
    "BucketConfig",
    "Config",
    "ConfigError",
    "CredentialsSection",
    "DriverName",
    "ForgeSite",
    "KubernetesSection",
    "NotificationsSection",
    "RequestsSection",
    "ReviewSection",
    "Setup",
    "config_schema",
    "load_setup",
    "misspelt_variables",
]
