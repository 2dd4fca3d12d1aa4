"""Any store that rclone knows, mounted by a sidecar of the pod.

The sidecar is privileged, and nothing less would do: only privileged containers may hand a
mount on to others (``mountPropagation: Bidirectional``), and that brings /dev/fuse along. It is a
native sidecar (an init container that goes on), so it is up before the command starts and
goes down after it. Its mounts outlive a kill of rclone, as dead ones: it clears them away when it
starts and when it ends.

A file is uploaded after it is closed, so writes are staged; a collection renames markers.

A directory that is read is mounted into the container as a subPath. One that is written the
wrapper alone uses, one level down in a volume that takes up a new mount when the sidecar restarts.
"""

from __future__ import annotations

from importlib import resources

from reconciler.engines.kubernetes.buckets.interface import Ability, Directory, Driver, Mount
from reconciler.engines.kubernetes.pod_parts import ApiObject, Fragment
from reconciler.engines.kubernetes.wrapper import literal

#: Where rclone answers what it has not written yet. Without a password it answers what
#: is harmless, and refuses the rest; it listens on the pod's own loopback.
BARRIER = "127.0.0.1:5572"

SIDECAR_PREFIX = "rclone-"
_FOLDER = "/bucket"
_NAME = "mount"
_CONFIG = "/config/rclone"
_CACHE = "/cache"

_SCRIPT = resources.files(__package__).joinpath("rclone.sh").read_text(encoding="utf-8")

#: Every user of the command's container may read and write. Small files wait for the store's
#: answers, not for its bandwidth: rclone's own four at a time take twice as long.
_FLAGS = (
    *("--allow-other", "--umask=000", "--dir-cache-time=10s", f"--cache-dir={_CACHE}"),
    "--transfers=8",
)
#: A file is closed when it is whole, and goes out nearly at once. Not quite: at ``0s`` rclone
#: uploads while it closes, and an upload that fails is neither queued again nor reported.
_WRITING = ("--vfs-cache-mode=writes", "--vfs-write-back=100ms", "--rc", f"--rc-addr={BARRIER}")
_READING = ("--read-only",)


def mount(directory: Directory) -> Mount:
    """A sidecar, and the volume in which its mount appears."""
    bucket = directory.bucket
    remote = bucket.remote or bucket.scheme
    source = f"{remote}:{bucket.container}/{directory.path}"
    # The last of two equal flags counts, and on these depends what "written" means.
    flags = (*_FLAGS, *bucket.mount_options, *(_READING if directory.read_only else _WRITING))
    name = f"{SIDECAR_PREFIX}{directory.name}"
    volumes: list[ApiObject] = [
        {"name": directory.name, "emptyDir": {}},
        {"name": f"{name}-cache", "emptyDir": {}},
    ]
    mounts: list[ApiObject] = [
        {"name": directory.name, "mountPath": _FOLDER, "mountPropagation": "Bidirectional"},
        {"name": f"{name}-cache", "mountPath": _CACHE},
    ]
    config = "/dev/null"
    if bucket.secret is not None:
        config = f"{_CONFIG}/rclone.conf"
        volumes.append({"name": f"{name}-config", "secret": {"secretName": bucket.secret}})
        mounts.append({"name": f"{name}-config", "mountPath": _CONFIG, "readOnly": True})
    sidecar = {
        "name": name,
        "image": directory.rclone_image,
        "restartPolicy": "Always",
        "command": ["sh", "-c", _SCRIPT, "rclone-mount"],
        "args": [literal(text) for text in (source, f"{_FOLDER}/{_NAME}", *flags)],
        "env": [{"name": "RCLONE_CONFIG", "value": config}],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        "securityContext": {"privileged": True},
        "startupProbe": {
            "exec": {"command": ["grep", "-q", f" {_FOLDER}/{_NAME} ", "/proc/mounts"]},
            "periodSeconds": 1,
            "failureThreshold": 120,
        },
        "volumeMounts": mounts,
    }
    return Mount(
        volume=directory.name,
        fragment=Fragment(init_containers=(sidecar,), volumes=tuple(volumes)),
        sub_path=_NAME if directory.read_only else "",
        inside="" if directory.read_only else _NAME,
        propagation="HostToContainer",
        barrier=None if directory.read_only else BARRIER,
    )


DRIVER = Driver(
    name="rclone",
    scheme=None,
    can=frozenset({Ability.RENAME_FILE}),
    takes=frozenset({"mountOptions", "secret", "remote"}),
    mount=mount,
)
