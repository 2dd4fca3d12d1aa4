"""The registry of bucket drivers, by name and by URL scheme.

Each driver is a pure function from a directory to a part of a pod.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.config import DriverName
from reconciler.engines.kubernetes.buckets import (
    azure_blob,
    claim,
    gcsfuse,
    hostpath,
    mountpoint_s3,
    rclone,
)
from reconciler.engines.kubernetes.buckets.interface import Driver

DRIVERS: Mapping[DriverName, Driver] = {
    module.DRIVER.name: module.DRIVER
    for module in (gcsfuse, mountpoint_s3, azure_blob, claim, hostpath, rclone)
}
BY_SCHEME: Mapping[str, Driver] = {
    driver.scheme: driver for driver in DRIVERS.values() if driver.scheme is not None
}
