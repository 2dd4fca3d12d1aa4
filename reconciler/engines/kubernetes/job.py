"""Rendering of a run: the Job first, then what it needs. Pure.

The Job is a plain one. What a daemon has to know of a run that it has forgotten is in its labels
(by which it is selected and compared) and annotations (which inform), so that any later daemon
understands it without the manifest that it came from.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from reconciler.engine import RunSpec
from reconciler.engines.kubernetes import merge_patch as templates
from reconciler.engines.kubernetes import wrapper
from reconciler.engines.kubernetes.buckets.interface import Writes
from reconciler.engines.kubernetes.build_pod import BUILDERS, SOURCE_CONTAINER, build_pod, image_tag
from reconciler.engines.kubernetes.command_pod import GRACE, command_pod
from reconciler.engines.kubernetes.config import ClusterSettings, GpuType, find_gpu
from reconciler.engines.kubernetes.headless_service import headless_service
from reconciler.engines.kubernetes.pod_parts import (
    CONTAINER,
    ApiObject,
    Fragment,
    RenderError,
    container_resources,
)
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import GROUP

#: A safety net: the daemon clears Jobs away much sooner.
TTL = 7 * 24 * 3600

EXECUTION_HASH = f"{GROUP}/execution-hash"
GPUS = f"{GROUP}/gpus"
REQUEST_HASH = f"{GROUP}/request-hash"
#: The URL of the artifact directory; of a build, the reference that is pushed to.
OUTPUT = f"{GROUP}/output"
_LONGEST = 2**31 - 1  # seconds that the API takes
_GRACE = "terminationGracePeriodSeconds"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def render(spec: RunSpec, settings: ClusterSettings) -> list[ApiObject]:
    """Render a run's Job, then its Service and volumes. Raises RenderError."""
    merged_in = _templates(spec, settings)
    gpu = find_gpu(spec.resources.gpu, settings.gpus) if spec.resources.gpu else None
    counted = {gpu.resource: spec.resources.gpu.count} if gpu and spec.resources.gpu else {}
    requests = container_resources(spec.resources, gpu=counted)
    if spec.build is not None:
        builder = BUILDERS[settings.builder]
        built = build_pod(spec, spec.build, settings, builder=builder, container_resources=requests)
        container, fragment, grace = built.container, built.fragment, None
    else:
        command = command_pod(spec, settings, grace=_grace(merged_in), container_resources=requests)
        container, fragment, grace = command.container, command.fragment, command.grace
    pod = _pod(spec, settings, container=container, fragment=fragment, gpu=gpu, grace=grace)
    for template in merged_in:
        pod = templates.merge(pod, template)
    output = spec.output or image_tag(spec.namespace, spec.key, settings)
    job = _job(spec, _ours_win(pod, container["env"]), output=output)
    nodes = spec.resources.nodes
    service = [headless_service(spec.name, spec.namespace, spec.labels)] if nodes > 1 else []
    return [job, *service, *fragment.objects]


def _templates(spec: RunSpec, settings: ClusterSettings) -> list[Mapping[str, Any]]:
    """Return the templates of the task's kind and the manifest's profile.

    The profile's comes last and wins.
    """
    found = [settings.templates.get(spec.task.value, {})]
    if spec.profile is not None:
        if spec.profile not in settings.profiles:
            known = ", ".join(sorted(settings.profiles)) or "none"
            code = ReasonCode.PROFILE_UNKNOWN
            raise RenderError(Reason.of(code, profile=spec.profile, known=known))
        found.append(settings.profiles[spec.profile])
    return found


def _grace(merged_in: list[Mapping[str, Any]]) -> int | None:
    """Return the templates' grace period, which the wrapper has to know."""
    found = [template.get("spec", {}).get(_GRACE) for template in merged_in]
    return next((grace for grace in reversed(found) if isinstance(grace, int)), None)


def _ours_win(pod: ApiObject, env: list[ApiObject]) -> ApiObject:
    """Restore the command's variables, which a template may not change.

    It may add others.
    """
    containers = pod["spec"]["containers"]
    names = {variable["name"] for variable in env}
    merged = [
        {
            **container,
            "env": [v for v in container["env"] if v["name"] not in names] + env,
        }
        if container["name"] == CONTAINER
        else container
        for container in containers
    ]
    return {**pod, "spec": {**pod["spec"], "containers": merged}}


def _pod(
    spec: RunSpec,
    settings: ClusterSettings,
    *,
    container: ApiObject,
    fragment: Fragment,
    gpu: GpuType | None,
    grace: int | None,
) -> ApiObject:
    """Render the pod template, before the configuration's are merged in."""
    pod: ApiObject = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": min(max(1, math.ceil(spec.timeout)), _LONGEST),
        _GRACE: GRACE[Writes.DIRECT] if grace is None else grace,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    }
    if spec.service_account is not None:
        pod["serviceAccountName"] = spec.service_account
        pod["automountServiceAccountToken"] = True
    if spec.priority is not None:
        pod["priorityClassName"] = spec.priority
    if settings.registry.secret is not None:
        pod["imagePullSecrets"] = [{"name": settings.registry.secret}]
    if spec.resources.nodes > 1:
        pod["subdomain"] = spec.name
    if gpu is not None:
        pod |= {
            name: value
            for name, value in (
                ("nodeSelector", dict(gpu.node_selector)),
                ("tolerations", list(gpu.tolerations)),
            )
            if value
        }
    pod["initContainers"] = list(fragment.init_containers)
    pod["containers"] = [container]
    pod["volumes"] = list(fragment.volumes)
    return {
        "metadata": {
            "labels": dict(spec.labels),
            "annotations": {**spec.annotations, **fragment.annotations},
        },
        "spec": pod,
    }


def _job(spec: RunSpec, pod: ApiObject, *, output: str) -> ApiObject:
    labels = dict(spec.labels)
    # On pods too: of a Job that is deleted they are what is left, and still the run.
    notes = {EXECUTION_HASH: spec.execution_hash, REQUEST_HASH: spec.request_hash, OUTPUT: output}
    if spec.resources.gpus:
        notes[GPUS] = str(spec.resources.gpus)
    metadata = pod["metadata"]
    pod = {**pod, "metadata": {**metadata, "annotations": {**metadata["annotations"], **notes}}}
    body: ApiObject = {
        "backoffLimit": spec.retries,
        "podReplacementPolicy": "Failed",  # at no time do two pods of one key run
        "ttlSecondsAfterFinished": TTL,
        "podFailurePolicy": {"rules": list(_fail_at_once_on(spec))},
    }
    if spec.resources.nodes > 1:
        # Ranks cannot go on without each other: the daemon starts the next attempt whole.
        body |= {
            "backoffLimit": 0,
            "completionMode": "Indexed",
            "completions": spec.resources.nodes,
            "parallelism": spec.resources.nodes,
        }
    if spec.queue is not None:
        labels[QUEUE_LABEL] = spec.queue
        body["suspend"] = True  # for Kueue to release
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "labels": labels,
            "annotations": {**spec.annotations, **notes},
        },
        "spec": {**body, "template": pod},
    }


def _fail_at_once_on(spec: RunSpec) -> Iterator[ApiObject]:
    """Render the rules that end a Job at once.

    Only failures of the command count against ``retries``.

    Where something else is to blame the Job ends at once, for the daemon to say what it was and
    to try again later, with its own count and delay. So it is with a disruption (eviction,
    preemption, a lost node) too. Ignored, it would have a pod made anew at once and for ever: an
    evicted pod is soon gone, so that their number would be unknown.

    Any rank's failure ends its Job. Of a rank that was disrupted nothing is left but what the
    Job says then, so that a daemon that was not there does not blame the others' commands.
    """
    yield {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}
    if spec.resources.nodes == 1:
        yield _fail_at_once(CONTAINER, "In", wrapper.INFRASTRUCTURE_EXIT)
        first = SOURCE_CONTAINER if spec.build is not None else wrapper.VOLUME
        yield _fail_at_once(first, "NotIn", 0)


def _fail_at_once(container: str, operator: str, code: int) -> ApiObject:
    codes = {"containerName": container, "operator": operator, "values": [code]}
    return {"action": "FailJob", "onExitCodes": codes}


#: kubectl reads YAML 1.1, for which ``no``, ``010`` and ``1:30`` are no strings: what is not
#: plainly a word is quoted.
_WORD = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*")
#: Lines that a block shows as they are: no tabs, no blanks at either end, nothing unprintable.
_BLOCK = re.compile(r"([!-~]([ -~]*[!-~])?\n|[ ]+[!-~]([ -~]*[!-~])?\n|\n)+")
_NO_STRINGS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def dump(objects: Iterable[ApiObject]) -> str:
    """Return the objects as YAML documents, keys in their order."""
    yaml = YAML()
    yaml.width = 1 << 20  # a folded line is no line to copy
    yaml.allow_unicode = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    documents = []
    for item in objects:
        stream = io.StringIO()
        yaml.dump(_styled(item), stream)
        documents.append(stream.getvalue())
    return "---\n".join(documents)


def _styled(value: Any) -> Any:
    if isinstance(value, dict):
        return {_styled(key): _styled(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_styled(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if "\n" in value and not value.startswith((" ", "\n")) and _BLOCK.fullmatch(f"{value}\n"):
        return LiteralScalarString(value)
    if _WORD.fullmatch(value) and value.lower() not in _NO_STRINGS:
        return value
    return DoubleQuotedScalarString(value)
