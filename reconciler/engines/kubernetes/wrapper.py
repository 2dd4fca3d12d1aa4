"""The wrapper around the user's command, installed by an init container.

``wrapper.sh`` carries out the contract between a command and its artifact: the marker
(``artifact.sh``), attempt numbers and logs (``attempt.sh``), progress (``progress.sh``), and for
buckets that are no file system the copies in and out (``staged.sh``). It
writes what :mod:`reconciler.engines.local.marker` reads, so either engine's artifact is complete
for the other. The user's image needs no shell and no libc: the init container brings a static
busybox, copied from its own image into an emptyDir that both mount.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from types import MappingProxyType

from reconciler.engine import DEFAULTS, ReportServer
from reconciler.types import JSON, Verify

VOLUME = "reconciler-wrapper"
MOUNT = "/.reconciler"
#: PROGRESS_FILE of a command; the wrapper makes its folder.
PROGRESS = f"{MOUNT}/progress/progress.json"
#: The container's terminationMessagePath. Not the default one: programs are known to write that.
TERMINATION = "/dev/reconciler-termination"
#: The exit code of a container that failed for another reason than its command, for a
#: podFailurePolicy. A command that ends with it is reported as 1.
INFRASTRUCTURE_EXIT = 210
#: The exit code of a container that got SIGTERM, whatever its command made of it.
TERMINATED_EXIT = 143

#: The first line of a function with a comment.
_HEADER = re.compile(r"^((?:function )?\w+\([^#]*\) [{(]) # .*")
#: A comment behind code. With a quote in it, it may be the end of a text.
_TRAILER = re.compile(r"(?<=\S) # [^\"'`$\\]*$")
_FILES = (
    "wrapper.sh",
    "artifact.sh",
    "program.sh",
    "attempt.sh",
    "progress.sh",
    "staged.sh",
    "wrapper.awk",
)
_APPLETS = (
    "awk cat cmp cp cut date dd find grep head ln ls mkdir mkfifo mv readlink realpath rm sed "
    "setsid sh sleep sort stat sync tail tee timeout touch tr uniq usleep wget xargs"
)
# /proc/self/exe of busybox's cp is busybox, whatever the image calls it. An applet that is
# missing should fail here, before anything has been started.
_INSTALL = f"""set -eu
umask 022
cd "$0"
cp /proc/self/exe busybox
mkdir -p bin
for applet in {_APPLETS}; do
    ./busybox --list | grep -qx "$applet" || {{ echo "busybox has no $applet"; exit 1; }}
    ln -sf ../busybox "bin/$applet"
done
! ./busybox --list | grep -qx sha256sum || ln -sf ../busybox bin/sha256sum
while [ $# -gt 0 ]; do
    printf '%s\\n' "$2" >"$1"
    shift 2
done
"""


def literal(text: str) -> str:
    """Escape a text in command, args or env to arrive unchanged.

    The kubelet replaces ``$(NAME)`` there and makes one ``$`` of two.
    """
    return text.replace("$", "$$")


def volume() -> dict[str, JSON]:
    """Return the pod's volume for the wrapper."""
    return {"name": VOLUME, "emptyDir": {}}


def mount() -> dict[str, JSON]:
    """Return the volume's mount.

    It is the same in the init container and in the user's, and writable in both.
    """
    return {"name": VOLUME, "mountPath": MOUNT}


def install_container(image: str, files: Sequence[str] = _FILES) -> dict[str, JSON]:
    """The init container. ``image`` has a static busybox as its ``sh``: ``busybox:musl``.

    ``files`` are the scripts that it installs.

    It keeps to the restricted Pod Security Standard. Limits equal requests, so the pod may be
    Guaranteed; they count only where they exceed the user's.
    """
    scripts = [part for name in files for part in (name, _script(name))]
    limits: dict[str, JSON] = {"cpu": "100m", "memory": "64Mi"}
    return {
        "name": VOLUME,
        "image": image,
        "command": ["sh", "-c", literal(_INSTALL), MOUNT, *map(literal, scripts)],
        "resources": {"requests": dict(limits), "limits": limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [mount()],
    }


@cache
def _script(name: str) -> str:
    """Return a script as pods have it, without comments and indentation."""
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    lines = (_TRAILER.sub("", _HEADER.sub(r"\1", line.lstrip(" "))) for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def wrapped(command: Sequence[str]) -> list[str]:
    """Return the container's ``command``, which replaces the image's entry point.

    ``args`` stay empty.
    """
    return [f"{MOUNT}/busybox", "sh", f"{MOUNT}/wrapper.sh", *map(literal, command)]


def environment(
    *,
    key: str,
    lineage: Mapping[str, JSON],
    artifact: str,
    stage: str | None = None,
    gpus: int = 0,
    nodes: int = 1,
    sync: float = 600,
    rclone: str | None = None,
    grace: float | None = None,
    secrets: Iterable[str] = (),
    inputs: Iterable[str] = (),
    verify: Mapping[str, Verify] = MappingProxyType({}),
    stall: float | None = None,
    reports: ReportServer | None = None,
    lacks: Iterable[str] = (),
) -> list[dict[str, JSON]]:
    """Return the variables that steer the wrapper, unseen by the command.

    ``artifact`` is the artifact's directory where the bucket is mounted. Without ``stage`` the
    command writes there; with it, it writes the local directory ``stage``, which is copied out
    every ``sync`` seconds and at the end. ``rclone`` is the ``host:port`` of a sidecar's remote
    control (``--rc-no-auth``), asked before anything counts as written. ``gpus`` is of one node.
    Of the pod's grace period the command has ``grace`` seconds, the copy the rest; without it the
    kubelet's SIGKILL alone ends a command that ignores SIGTERM. ``secrets`` are the names of
    variables whose values are kept out of the termination message. ``inputs`` must be complete
    before the command starts, each ``NAME=KEY:DIRECTORY``; ``verify`` is how they, and an
    ``artifact`` that is complete already, are compared with their markers. Of those that it does
    not name, only the key in the marker is. A command that neither prints nor reports progress for
    ``stall`` seconds is ended; the server ``reports`` gets what it writes into PROGRESS_FILE.
    ``lacks`` is what the mounted bucket cannot do of which the wrapper knows another way.

    With several nodes, a rank is the Job's completion index and the Job one attempt of all ranks
    (``backoffLimit: 0``): its UID distinguishes their files from those of an earlier attempt.
    """
    values = {
        "KEY": key,
        "LINEAGE": ",\n ".join(f"{_json(name)}: {_json(value)}" for name, value in lineage.items()),
        "ARTIFACT": artifact,
        "STAGE": stage,
        "GPUS": str(gpus),
        "NODES": str(nodes),
        "SYNC": f"{sync:.0f}" if stage else None,
        "RCLONE": rclone,
        "GRACE": f"{grace:.0f}" if grace is not None else None,
        "SECRETS": " ".join(secrets),
        "INPUTS": " ".join(inputs),
        "VERIFY": " ".join(f"{name}={how.value}" for name, how in verify.items()),
        "STALL": f"{max(1.0, stall):.0f}" if stall is not None else None,
        "REPORTS": reports.url if reports is not None else None,
        "TOKEN": reports.token if reports is not None else None,
        "CA": reports.ca if reports is not None else None,
        "LACKS": " ".join(lacks),
        "TERMINATION": TERMINATION,
        "DEFAULTS": " ".join(f"{name}={value}" for name, value in DEFAULTS.items()),
    }
    variables: list[dict[str, JSON]] = [
        {"name": f"RECONCILER_{name}", "value": literal(value)}
        for name, value in values.items()
        if value
    ]
    if nodes > 1:
        uid = "metadata.labels['batch.kubernetes.io/controller-uid']"
        source: dict[str, JSON] = {"fieldRef": {"fieldPath": uid}}
        variables.append({"name": "RECONCILER_RUN", "valueFrom": source})
    return variables


def _json(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
