"""The configuration: its schema, its file and its environment variables.

`load_setup` reads it into a `Setup`, the configuration with the folder that its relative paths
refer to.
"""

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.config.admission_rules import admission
    from reconciler.config.kubernetes import BucketConfig, DriverName, KubernetesSection
    from reconciler.config.loader import load_setup, misspelt_variables
    from reconciler.config.names import CONFIG_VARIABLE, DEFAULT_FILE, REPOSITORY_VARIABLE
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

_MODULES = {
    "BucketConfig": "kubernetes",
    "CONFIG_VARIABLE": "names",
    "Config": "schema",
    "ConfigError": "schema",
    "CredentialsSection": "schema",
    "DEFAULT_FILE": "names",
    "DriverName": "kubernetes",
    "ForgeSite": "reporting",
    "KubernetesSection": "kubernetes",
    "NotificationsSection": "reporting",
    "REPOSITORY_VARIABLE": "names",
    "RequestsSection": "reporting",
    "ReviewSection": "reporting",
    "SHORTEST_KEY": "setup",
    "Setup": "setup",
    "admission": "admission_rules",
    "config_schema": "schema",
    "load_setup": "loader",
    "misspelt_variables": "loader",
}
__getattr__ = lazy_exports(__name__, _MODULES)

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
    "admission",
    "config_schema",
    "load_setup",
    "misspelt_variables",
]
