"""The pod of a load, a training or an evaluation.

The user's image is started through the wrapper, with these directories:

| path | what | mount |
|---|---|---|
| ``/model/saved`` (a Dataset: ``/data``) | the artifact | its directory; staged: local disk |
| ``/base-model/saved``, ``/data`` | base, dataset | read-only |
| ``/model/saved``, ``/result`` of an evaluation | the artifact, its result | read-only; as above |
| ``/params/params.json`` | params | from the pod's own annotation |
| ``/scratch`` | local disk | emptyDir |
| :data:`REPORTS` | the token for reports | from the pod's own annotation |
| :data:`STAGED` | the artifact of a staged bucket | for the wrapper alone |
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace

import rfc8785

from reconciler.engine import (
    BASE,
    DATA,
    MODEL,
    PARAMS,
    RESULT,
    SCRATCH,
    CommandPaths,
    Ranks,
    ReportServer,
    RunSpec,
    contract_variables,
    manifest_variables,
    report_token,
)
from reconciler.engines.kubernetes import wrapper
from reconciler.engines.kubernetes.buckets.interface import Directory, Writes
from reconciler.engines.kubernetes.buckets.registry import DRIVERS
from reconciler.engines.kubernetes.config import ClusterSettings, ReportSettings
from reconciler.engines.kubernetes.pod_parts import (
    CONTAINER,
    UNPRIVILEGED,
    ApiObject,
    Fragment,
    RenderError,
    annotation_file,
    refuse,
    size,
    variables,
)
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import GROUP, JSON, Kind, Verify

#: Where the directory of a staged bucket is mounted.
STAGED = "/.reconciler-bucket"

#: The token of the run's reports, and the CA of the server that takes them.
REPORTS = "/.reconciler-reports"
TOKEN_ANNOTATION = f"{GROUP}/progress-token"
CA_ANNOTATION = f"{GROUP}/progress-ca"

PARAMS_ANNOTATION = f"{GROUP}/params"
#: "true" on pods whose wrapper copies between local disk and the bucket.
STAGED_ANNOTATION = f"{GROUP}/staged"
MASTER_PORT = 29500
#: What a pod is given to end in. Staged: to copy out what is settled, within a spot node's notice.
GRACE = {Writes.DIRECT: 30, Writes.STAGED: 90}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandPod:
    """The pod of a command, but for what every run's pod has."""

    container: ApiObject
    fragment: Fragment
    grace: int


def command_pod(
    spec: RunSpec, settings: ClusterSettings, *, grace: int | None, container_resources: ApiObject
) -> CommandPod:
    """The container of the command and everything around it. Raises RenderError.

    ``grace`` is what a template gives the pod to end in; None leaves it to the bucket.
    """
    if spec.output is None or spec.image is None or not spec.command:
        raise refuse(f"the {spec.task} has no command, image or artifact to run with")
    _check_secrets(spec, settings)
    output = settings.directory("artifact", spec.output, namespace=spec.namespace, read_only=False)
    own = _own(spec)
    artifact = _artifact(output, own)
    fragment = artifact.fragment + _local_files(spec)
    # Content that a scrub found damaged has its size, and would be taken for complete again.
    own_check = Verify.DIGESTS if settings.scrubbed else output.bucket.verify
    inputs, verified = [], {"artifact": own_check}
    for name, mounted, place in (
        ("base", spec.base, BASE),
        ("dataset", spec.dataset, DATA),
        ("model", spec.artifact, MODEL),
    ):
        if mounted is not None:
            if not mounted.external:
                inputs.append(f"{name}={mounted.key}:{place}")
            read = settings.directory(
                name,
                mounted.url,
                namespace=spec.namespace,
                read_only=True,
                allowed=mounted.cluster is not None,
            )
            if not mounted.external:
                verified[name] = read.bucket.verify
            fragment += mount_at(read, place).fragment
    reports = _reports(spec, settings.reports)
    if settings.reports is not None:
        fragment += _report_files(spec, settings.reports)
    install = wrapper.install_container(settings.images.wrapper)
    fragment = (
        Fragment(
            init_containers=(install,),
            volumes=(wrapper.volume(),),
            mounts=(wrapper.mount(),),
        )
        + fragment
    )
    staged = output.bucket.writes is Writes.STAGED
    if grace is None:
        grace = GRACE[output.bucket.writes]
    environment = wrapper.environment(
        key=spec.key,
        lineage={**spec.lineage, "params": _bounded(spec.params)},
        artifact=artifact.path,
        stage=own if staged else None,
        gpus=spec.resources.gpu.count if spec.resources.gpu else 0,
        nodes=spec.resources.nodes,
        sync=output.bucket.sync,
        rclone=artifact.barrier,
        grace=grace / 3 if staged else None,  # the command's share; the copy has the rest
        secrets=sorted(spec.secret_env),
        inputs=inputs,
        verify={name: how for name, how in verified.items() if how is not None},
        stall=spec.stall,
        reports=reports,
        lacks=() if staged else DRIVERS[output.bucket.driver].lacks,
    )
    container = {
        "name": CONTAINER,
        "image": spec.image,
        "command": wrapper.wrapped(spec.command),
        "env": [*_environment(spec, own, reports), *environment],
        "resources": container_resources,
        "securityContext": dict(UNPRIVILEGED),
        "terminationMessagePath": wrapper.TERMINATION,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(fragment.mounts),
    }
    return CommandPod(container=container, fragment=fragment, grace=grace)


def _own(spec: RunSpec) -> str:
    """Return the place of the directory that a run writes."""
    if spec.artifact is not None:
        return RESULT
    return DATA if spec.output_kind is Kind.DATASET else MODEL


def _bounded(params: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return params with numbers as in canonical JSON.

    Their size is bounded in canonical JSON.

    Written as ``1.0`` instead of ``1``, a long list of them would outgrow a variable.
    """
    return {name: json.loads(rfc8785.dumps(value)) for name, value in params.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryMount:
    """A mounted directory; ``path`` is its place in the main container."""

    fragment: Fragment
    path: str
    barrier: str | None


def _artifact(directory: Directory, own: str) -> DirectoryMount:
    """Mount the run's own directory.

    If its bucket is staged, local disk is in its place.
    """
    if directory.bucket.writes is Writes.DIRECT:
        return mount_at(directory, own)
    mounted = mount_at(directory, STAGED)
    local = Fragment(
        volumes=({"name": "staging", "emptyDir": {}},),
        mounts=({"name": "staging", "mountPath": own},),
        annotations={STAGED_ANNOTATION: "true"},
    )
    return replace(mounted, fragment=mounted.fragment + local)


def mount_at(directory: Directory, place: str) -> DirectoryMount:
    """Mount a bucket's directory at a place of the main container."""
    mount = DRIVERS[directory.bucket.driver].mount(directory)
    volume_mount: ApiObject = {"name": mount.volume, "mountPath": place}
    if mount.sub_path:
        volume_mount["subPath"] = mount.sub_path
    # What is one level down is a mount of its own: while that is gone, nothing may be written in
    # its place, where the next mount would hide it.
    if directory.read_only or mount.inside:
        volume_mount["readOnly"] = True
    if mount.propagation is not None:
        volume_mount["mountPropagation"] = mount.propagation
    return DirectoryMount(
        fragment=mount.fragment + Fragment(mounts=(volume_mount,)),
        path=posixpath.join(place, mount.inside) if mount.inside else place,
        barrier=mount.barrier,
    )


def _local_files(spec: RunSpec) -> Fragment:
    """Return the volumes of params.json, scratch and shared memory."""
    asked = spec.resources
    volumes: list[ApiObject] = [
        annotation_file("params", PARAMS_ANNOTATION, posixpath.basename(PARAMS)),
        {"name": "scratch", "emptyDir": {"sizeLimit": size(asked.disk)} if asked.disk else {}},
    ]
    mounts: list[ApiObject] = [
        {"name": "params", "mountPath": posixpath.dirname(PARAMS), "readOnly": True},
        {"name": "scratch", "mountPath": SCRATCH},
    ]
    if asked.shm:
        memory = {"medium": "Memory", "sizeLimit": size(asked.shm)}
        volumes.append({"name": "shm", "emptyDir": memory})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 - it is its name
    return Fragment(
        volumes=tuple(volumes),
        mounts=tuple(mounts),
        annotations={PARAMS_ANNOTATION: rfc8785.dumps(dict(spec.params)).decode()},
    )


def _reports(spec: RunSpec, settings: ReportSettings | None) -> ReportServer | None:
    if settings is None:
        return None
    return ReportServer(
        url=f"{settings.url}/progress/{spec.name}",
        token=f"{REPORTS}/token",
        ca=f"{REPORTS}/ca.crt" if settings.ca is not None else None,
    )


def _report_files(spec: RunSpec, settings: ReportSettings) -> Fragment:
    """Return the volume of the run's token, and of the server's CA."""
    key = settings.key
    files = {TOKEN_ANNOTATION: ("token", report_token(key, spec.name) if key else "unknown")}
    if settings.ca is not None:
        files[CA_ANNOTATION] = ("ca.crt", settings.ca)
    items: list[ApiObject] = []
    for annotation, (name, _) in files.items():
        volume = annotation_file("reports", annotation, name)
        items += volume["downwardAPI"]["items"]
    return Fragment(
        volumes=({"name": "reports", "downwardAPI": {"items": items}},),
        mounts=({"name": "reports", "mountPath": REPORTS, "readOnly": True},),
        annotations={annotation: text for annotation, (_, text) in files.items()},
    )


def _environment(spec: RunSpec, own: str, reports: ReportServer | None) -> list[ApiObject]:
    """Return the command's variables: the manifest's and, over them, the contract's."""
    paths = CommandPaths(
        output=own,
        params=PARAMS,
        progress=wrapper.PROGRESS,
        scratch=SCRATCH,
        base=BASE if spec.base is not None else None,
        dataset=DATA if spec.dataset is not None else None,
        artifact=MODEL if spec.artifact is not None else None,
    )
    plain = {
        **manifest_variables(spec.env, spec.params),
        **contract_variables(paths, _ranks(spec), kind=spec.output_kind, reports=reports),
    }
    secret = [
        {
            "name": name,
            "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}},
        }
        for name, key in sorted(spec.secret_env.items())
        if name not in plain
    ]
    found = [*variables(plain), *secret]
    if spec.resources.nodes > 1:
        index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
        found.append({"name": "NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": index}}})
    return found


def _ranks(spec: RunSpec) -> Ranks:
    """Return a run's ranks, which meet at the Service's first pod."""
    nodes = spec.resources.nodes
    if nodes == 1:
        return Ranks(nodes=1, address="127.0.0.1", port=MASTER_PORT, rank=0)
    address = f"{spec.name}-0.{spec.name}"
    return Ranks(nodes=nodes, address=address, port=MASTER_PORT, rank=None)


def _check_secrets(spec: RunSpec, settings: ClusterSettings) -> None:
    for variable, key in sorted(spec.secret_env.items()):
        if key.name in settings.own_secrets:
            code = ReasonCode.SECRET_RESERVED
            raise RenderError(Reason.of(code, variable=variable, secret=key.name))
