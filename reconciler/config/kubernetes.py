"""Sections of the configuration for clusters, registries and buckets."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from reconciler.config.reporting import SecretPath
from reconciler.manifests import (
    GPU_TYPE,
    LABEL_KEY,
    LabelKey,
    LabelValue,
    Name,
    Seconds,
    Section,
    Subdomain,
)

#: Part of a pod template, as Kubernetes has it: ``{metadata: {…}, spec: {…}}``.
PodTemplate = dict[str, Any]
#: Each has a module in ``engines/kubernetes/buckets``.
DriverName = Literal["gcsfuse", "mountpoint-s3", "azure-blob", "pvc", "hostpath", "rclone"]
ImageRef = Annotated[str, Field(pattern=r"^\S+$", max_length=512)]


class GpuTypeSection(Section):
    """A type of GPU: its resource name and its nodes."""

    resource: Annotated[
        str, Field(pattern=LABEL_KEY, max_length=317, description="Of one GPU.")
    ] = "nvidia.com/gpu"
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    tolerations: list[dict[str, Any]] = Field(default_factory=list)


class TemplatesSection(Section):
    """Pod templates by kind of task, merged into the rendered pods."""

    build: PodTemplate = Field(default_factory=dict)
    load: PodTemplate = Field(default_factory=dict)
    train: PodTemplate = Field(default_factory=dict)
    evaluate: PodTemplate = Field(default_factory=dict)
    inventory: PodTemplate = Field(default_factory=dict)
    collect: PodTemplate = Field(default_factory=dict)


class ImagesSection(Section):
    """The images that the daemon itself puts into pods; best by digest."""

    wrapper: Annotated[ImageRef, Field(description="Any with a static busybox as its sh.")] = (
        "busybox:1.37.0-musl"
    )
    buildkit: Annotated[
        ImageRef | None, Field(description="Default: the builder's own of that version.")
    ] = None
    rclone: ImageRef = "rclone/rclone:1.76.0"
    sbom: Annotated[
        str | None,
        Field(
            pattern=r"^[^\s,\"]+$",
            max_length=512,
            description="Writes SBOMs in builds. Default: BuildKit's own, "
            "docker/buildkit-syft-scanner:stable-1.",
        ),
    ] = None


class KubernetesSection(Section):
    """The cluster.

    ``namespace`` and ``instance`` count on every engine: names are made of them.
    """

    context: Annotated[
        str | None, Field(description="Of the kubeconfig. Default: in a pod its own cluster.")
    ] = None
    namespace: Name = "default"
    namespaces: Annotated[
        list[Name],
        Field(
            default_factory=list,
            description="Namespaces searched for Jobs. Default: everywhere; needs a ClusterRole.",
        ),
    ]
    instance: Name = "default"
    builder: Annotated[
        Literal["buildkit", "buildkit-privileged"],
        Field(description="buildkit is rootless; privileged is for nodes that cannot do that."),
    ] = "buildkit"
    templates: TemplatesSection = Field(default_factory=TemplatesSection.of_defaults)
    profiles: Annotated[
        dict[Name, PodTemplate],
        Field(default_factory=dict, description="Pod templates that manifests name."),
    ]
    gpus: Annotated[
        dict[Annotated[str, Field(pattern=GPU_TYPE, max_length=63)], GpuTypeSection],
        Field(
            default_factory=dict,
            description="GPU types that manifests name; any is for those that name none.",
        ),
    ]
    images: ImagesSection = Field(default_factory=ImagesSection.of_defaults)
    lease: Seconds = 15.0


class AttestationsSection(Section):
    """Attestations of built images, which BuildKit puts beside them in the registry."""

    provenance: Annotated[
        Literal["min", "max"] | None,
        Field(
            description="max has the Dockerfile and the values of build arguments too. "
            "Default: none."
        ),
    ] = None
    sbom: Annotated[
        bool, Field(description="A list of the packages in the image, by kubernetes.images.sbom.")
    ] = False


class RegistrySection(Section):
    """The registry that built images go to, as ``<url>/<namespace>:<key>``.

    ``secret`` is a Secret of type kubernetes.io/dockerconfigjson in every namespace with runs:
    builds push with it, nodes pull with it.
    """

    url: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*$",
            max_length=128,
            description="Host, and a path if there is one, without https://.",
        ),
    ]
    insecure: Annotated[
        bool, Field(description="Plain HTTP, or a certificate that no known authority signed.")
    ] = False
    secret: Subdomain | None = None
    credentials_file: Annotated[
        SecretPath | None,
        Field(
            description="A config.json of Docker for the daemon itself, which reads and deletes "
            "images in a collection. Default: without credentials."
        ),
    ] = None
    cache: Annotated[
        bool,
        Field(
            description="Layers of builds, those of stages too, are kept in the registry, as "
            "`<url>/<namespace>:cache-<hash>` for each URL and path of a source, and used again."
        ),
    ] = True
    attestations: AttestationsSection = Field(default_factory=AttestationsSection.of_defaults)


class BucketConfig(Section):
    """A bucket, or a folder of one, and its mount.

    The local engine needs the URL alone, and beside it takes ``verify``.
    """

    url: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://\S+$", max_length=2048)]
    driver: Annotated[
        DriverName | None,
        Field(description="Default: by scheme (gs, s3, az, pvc, file); rclone takes any."),
    ] = None
    writes: Annotated[
        Literal["direct", "staged"] | None,
        Field(description="staged: on local disk while the command runs. Default: the driver's."),
    ] = None
    sync: Annotated[
        Seconds,
        Field(
            description="Interval at which files that have settled are copied to a staged bucket."
        ),
    ] = 600.0
    inventory: Annotated[
        bool,
        Field(
            description="Let a Job list the completed artifacts after the status branch was lost."
        ),
    ] = True
    verify: Annotated[
        Literal["sizes", "digests", "signature"] | None,
        Field(
            description="What a run compares of an artifact that it mounts, before its command "
            "starts: the sizes of its files; their SHA-256 too; or a signature over these, by a "
            "key of signing. Default: sizes on the local engine; on a cluster the marker alone."
        ),
    ] = None
    mount_options: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=1024)]],
        Field(default_factory=list, description="For the driver, after its own."),
    ]
    attributes: Annotated[
        dict[str, str],
        Field(default_factory=dict, description="Volume attributes of a CSI driver."),
    ]
    secret: Annotated[
        Subdomain | None,
        Field(description="A Secret with credentials in every namespace with runs."),
    ] = None
    remote: Annotated[
        str | None,
        Field(
            pattern=r"^([A-Za-z0-9_][A-Za-z0-9_. -]*|:[a-z0-9]+(,[^\s]*)?)$",
            max_length=1024,
            description="rclone: a remote of the Secret's rclone.conf, or a connection string "
            "such as :s3,env_auth=true. Default: the URL's scheme.",
        ),
    ] = None


class BucketsSection(Section):
    """Buckets for artifacts, and under any other name read-only buckets.

    On the local engine: a folder under its root unless given.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, BucketConfig]

    default: BucketConfig | None = None
    datasets: BucketConfig | None = None

    @property
    def named(self) -> dict[str, BucketConfig]:
        """Every configured bucket, by name."""
        known = {"default": self.default, "datasets": self.datasets}
        return {name: b for name, b in known.items() if b is not None} | self.__pydantic_extra__
