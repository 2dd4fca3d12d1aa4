"""BuildKit, started for one build in the pod that builds: rootless, or privileged where need be.

Rootless BuildKit needs what no other container of ours gets: to become root of a user namespace of
its own (the setuid newuidmap, so escalation stays allowed), and the system calls and mounts that
the default seccomp and AppArmor profiles forbid there. A node without user namespaces needs the
privileged one.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from reconciler.engines.kubernetes.build_pod import DOCKER_CONFIG, Build, Builder, Built
from reconciler.engines.kubernetes.pod_parts import CONTAINER, Fragment, variables
from reconciler.engines.kubernetes.wrapper import literal

_SCRIPT = resources.files(__package__).joinpath("buildkit.sh").read_text(encoding="utf-8")
_STATE = "/buildkit"

_ROOTLESS: dict[str, Any] = {
    "runAsUser": 1000,  # the user that the image has a range of subordinate ids for
    "runAsGroup": 1000,
    "seccompProfile": {"type": "Unconfined"},
    "appArmorProfile": {"type": "Unconfined"},
}
_PRIVILEGED: dict[str, Any] = {"privileged": True}


def rootless(build: Build, /) -> Built:
    """BuildKit as an ordinary user."""
    return _built(build, _ROOTLESS)


def privileged(build: Build, /) -> Built:
    """BuildKit as the node's root."""
    return _built(build, _PRIVILEGED)


#: By what ``kubernetes.builder`` calls them.
BUILDERS: dict[str, Builder] = {"buildkit": rootless, "buildkit-privileged": privileged}


def _built(build: Build, security: dict[str, Any]) -> Built:
    output = f"type=image,name={build.image},push=true"
    if build.insecure:
        output += ",registry.insecure=true"
    arguments = ["--opt", f"filename={build.dockerfile}", "--output", output]
    for name, value in sorted(build.build_args.items()):
        arguments += ["--opt", f"build-arg:{name}={value}"]
    container = {
        "name": CONTAINER,
        "image": build.builder_image,
        "command": ["sh", "-c", _SCRIPT, "buildkit"],
        "args": [literal(text) for text in (build.image, build.context, *arguments)],
        "env": variables(
            {"STATE": _STATE, "DOCKER_CONFIG": DOCKER_CONFIG, "BUILDKITD_CONFIG": _config(build)}
        ),
        "resources": build.resources,
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "buildkit", "mountPath": _STATE}],
    }
    volumes = ({"name": "buildkit", "emptyDir": {}},)
    return Built(container=container, fragment=Fragment(volumes=volumes))


def _config(build: Build) -> str:
    """The configuration of buildkitd: nothing is kept, so nothing needs to be collected."""
    lines = ["[worker.oci]", "gc = false"]
    if build.insecure:
        lines += [f"[registry.{json.dumps(build.registry_host)}]", "http = true", "insecure = true"]
    return "\n".join([*lines, ""])
