"""An image of the daemon as it is in this tree, for a node that can pull none of its base images.

It holds what the Dockerfile's holds (the package, what it depends on, git and ssh, the same user
and entry point) out of the environment that runs the tests.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

import reconciler
from tests.cluster import stock
from tests.cluster.images import Image

_NAME = "model-reconciler"
_SITE = "/opt/reconciler/site-packages"
_USER = 65532
_CAS = "/etc/ssl/certs/ca-certificates.crt"


def daemon_image(registry: str) -> str:
    """Push it; its reference by digest comes back."""
    image = Image(
        entrypoint=("python3", "-m", "reconciler"),
        command=("run",),
        user=f"{_USER}:{_USER}",
        workdir="/etc/reconciler",
        environment={"PYTHONPATH": _SITE, "PYTHONUNBUFFERED": "1"},
    )
    image.busybox().python()
    image.text("/etc/passwd", f"reconciler:x:{_USER}:{_USER}::/tmp:/bin/sh\n")
    stock.git(image)
    # As the package ca-certificates leaves it: pygit2 cannot be imported without.
    trusted = ssl.get_default_verify_paths()
    image.file(_CAS, _CAS)
    image.link(trusted.openssl_cafile, _CAS)
    image.link(trusted.openssl_capath, str(Path(_CAS).parent))
    package = Path(reconciler.__file__).parent
    for file in package.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            image.file(f"{_SITE}/reconciler/{file.relative_to(package)}", file)
    native = []
    for found in _needed(_NAME, {}).values():
        for listed in found.files or ():
            file = Path(str(found.locate_file(listed)))
            if ".." not in listed.parts and file.is_file() and "__pycache__" not in file.parts:
                image.file(f"{_SITE}/{listed}", file)
                if re.search(r"\.so(\.|$)", file.name):
                    native.append(file)
    image.libraries(native)
    return image.push(registry, _NAME)


def _needed(
    name: str, found: dict[str, Distribution], extras: Iterable[str] = ()
) -> dict[str, Distribution]:
    """What a distribution depends on, and what that depends on, by name."""
    for text in distribution(name).requires or ():
        needed = Requirement(text)
        marker = needed.marker
        if marker is not None and not any(marker.evaluate({"extra": e}) for e in ("", *extras)):
            continue
        if needed.name not in found or needed.extras:
            found[needed.name] = distribution(needed.name)
            _needed(needed.name, found, needed.extras)
    return found
