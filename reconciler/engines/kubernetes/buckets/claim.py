"""A PersistentVolumeClaim that is there already: ``pvc://CLAIM/path``, in the run's namespace."""

from __future__ import annotations

import hashlib

from reconciler.engines.kubernetes.buckets.interface import FILE_SYSTEM, Directory, Driver, Mount
from reconciler.engines.kubernetes.pod_parts import Fragment

_LONGEST = 57  # of 63, after the prefix


def mount(directory: Directory) -> Mount:
    """Mount a directory as a subPath of its claim.

    The claim is one volume, however many of its directories the pod has.

    Not read-only as a volume, since another directory of it may be written in the same pod: the
    mount is. A kubelet never gets a pod going that names one claim in two volumes.
    """
    claim = directory.bucket.container
    name = volume_name(claim)
    volume = {"name": name, "persistentVolumeClaim": {"claimName": claim}}
    return Mount(volume=name, fragment=Fragment(volumes=(volume,)), sub_path=directory.path)


def volume_name(claim: str) -> str:
    """Return a volume's name.

    It is the claim's, or a hash of a claim's that is too long for a volume's or has dots.
    """
    if len(claim) <= _LONGEST and "." not in claim:
        return f"claim-{claim}"
    return f"claim-{hashlib.sha256(claim.encode()).hexdigest()[:16]}"


DRIVER = Driver(
    name="pvc",
    scheme="pvc",
    can=FILE_SYSTEM,
    takes=frozenset(),
    mount=mount,
)
