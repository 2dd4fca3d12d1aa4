"""The fixtures of either engine, for tests over both."""

from tests.engines.kubernetes.conftest import pod
from tests.engines.local.conftest import bench

__all__ = ["bench", "pod"]
