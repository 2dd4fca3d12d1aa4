"""A repository of three tenants, one of which is hostile.

``vision`` uses what ``shared`` lends it. ``mallory`` is hostile: its own manifests are fine, and a
test adds one more. Of ``staging`` another cluster's objects may be used.
"""

from __future__ import annotations

from reconciler.manifests import Admission, Collection, Tenancy, Tenant, Tenants, collect
from reconciler.planner.planner_config import PlannerConfig
from tests.manifests.reading import read

KEY = "a123456789012345678901234567890123456789"
DIGEST = f"sha256:{'0' * 64}"
REPOSITORY = "https://git.test/team/models"

VISION = Tenant(
    name="vision",
    paths=("vision/**",),
    namespaces=("vision", "vision-*"),
    uses=("shared",),
    secrets=("hf",),
    service_accounts=("reader",),
    queues=("vision",),
    priorities=("low",),
    profiles=("gpu",),
    images=("registry.test/vision/**",),
    buckets=("s3://vision-data/**",),
    sources=("https://git.test/vision/*",),
    gpus=("nvidia-l4",),
)
SHARED = Tenant(
    name="shared",
    paths=("shared/**", "common.yaml"),
    namespaces=("shared",),
    used_by=("vision",),
    sources=("https://git.test/shared/*",),
)
MALLORY = Tenant(
    name="mallory",
    paths=("mallory/**", "teams/*/mallory/*.yaml"),
    namespaces=("mallory", "mallory-*"),
    uses=("shared",),
    secrets=("mallory-*",),
    service_accounts=("mallory",),
    queues=("mallory",),
    priorities=("low",),
    profiles=("cpu",),
    images=("registry.test/mallory/**",),
    buckets=("s3://mallory-data/**",),
    sources=("https://git.test/mallory/*",),
    gpus=("nvidia-t4",),
)
TENANTS = Tenants((VISION, SHARED, MALLORY))
ADMISSION = Admission(
    cluster="main",
    namespaces=(),
    artifacts=("s3://artifacts",),
    buckets=("s3://artifacts", "s3://vision-data", "s3://mallory-data"),
    tenancy=Tenancy(tenants=TENANTS, repository_url=REPOSITORY),
)
SETTINGS = PlannerConfig(tenants=TENANTS)

#: What the tenants have; all of it is valid.
FILES = {
    "shared/base.yaml": """\
kind: Model
metadata: {name: base, namespace: shared}
spec: {source: {git: {url: https://git.test/shared/base}}}
""",
    "vision/detector.yaml": """\
kind: Model
metadata: {name: detector, namespace: vision}
spec:
  source: {model: {name: base, namespace: shared}}
  training:
    dataset: {name: photos, namespace: vision-data}
    queue: vision
    priority: low
    profile: gpu
    serviceAccount: reader
    resources: {gpu: {type: nvidia-l4}}
    secretEnv: {TOKEN: {name: hf, key: token}}
""",
    "vision/photos.yaml": """\
kind: Dataset
metadata: {name: photos, namespace: vision-data}
spec: {source: {bucket: {url: s3://vision-data/photos}}}
""",
    "vision/image.yaml": f"""\
kind: Model
metadata: {{name: image, namespace: vision}}
spec: {{source: {{image: {{ref: "registry.test/vision/a/b@{DIGEST}"}}}}}}
""",
    "mallory/own.yaml": """\
kind: Model
metadata: {name: own, namespace: mallory}
spec:
  source: {git: {url: ., path: mallory/src}}
  training:
    resources: {gpu: {type: nvidia-t4}}
    secretEnv: {TOKEN: {name: mallory-token, key: token}}
---
kind: Model
metadata: {name: code, namespace: mallory-2}
spec: {source: {git: {url: https://git.test/mallory/code}}}
""",
    "teams/a/mallory/data.yaml": """\
kind: Dataset
metadata: {name: data, namespace: mallory}
spec: {source: {bucket: {url: s3://mallory-data/data}}}
""",
}


def collected(files: dict[str, str], admission: Admission = ADMISSION) -> Collection:
    """Collect files with their tenants' rules."""
    contents = [read(text, path) for path, text in files.items()]
    return collect(contents, clusters=("staging",), admission=admission)
