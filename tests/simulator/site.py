"""The site of a world: its repositories and branches, and the configuration of its daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CLUSTER = "local"
HOST = "https://git.example/"
MANIFESTS, SOURCE = "manifests.git", "source.git"
MAIN, STATUS = "refs/heads/main", "refs/heads/reconciler/status/local"
#: The status branch of another cluster.
OTHER = "refs/heads/reconciler/status/other"
NAMESPACE = "ml"
#: The namespace, the folder and the name of a tenant; the other one has everything else.
LAB = "lab"
INSTANCE = "sim"
#: Runs at once.
LIMIT = 6
LIMIT_GPUS = 4
LIMIT_OF_LAB = 1
#: Artifacts that one sync makes again, and seconds of runs that it ends, without a release.
GUARD_TASKS, GUARD_SECONDS = 6, 30
#: A second of a GPU costs one.
BUDGET = 40
BUDGET_OF_LAB = 4
#: Of an object the newest artifacts, those of so many days, and the seconds of the grace time.
KEEP, DAYS, GRACE = 1, 0.001, 240

#: The bucket: one that the daemon reaches, or one that pods alone reach.
BUCKET, MOUNTED = "gs://models", "pvc://models"

_CONFIG: dict[str, Any] = {
    "repository": {"url": f"{HOST}{MANIFESTS}", "interval": "10s"},
    "status": {"interval": "5s"},
    "server": {"address": ""},
    "engine": "kubernetes",
    "kubernetes": {
        "namespace": NAMESPACE,
        "instance": INSTANCE,
        "lease": "15s",
    },
    "tenants": [
        {
            "name": LAB,
            "paths": [f"{LAB}/**"],
            "namespaces": [LAB],
            "images": ["*"],
            "gpus": ["any"],
            "limits": {"runs": LIMIT_OF_LAB},
            "budget": {"month": BUDGET_OF_LAB},
        },
        {
            "name": "all",
            "paths": ["**"],
            "namespaces": ["*"],
            "images": ["*"],
            "sources": ["*"],
            "gpus": ["any"],
        },
    ],
    "registry": {"url": "registry.test/models"},
    "sources": {"allow": ["https://*"], "interval": "60s"},
    "limits": {"runs": LIMIT, "gpus": LIMIT_GPUS},
    "prices": {"gpus": {"any": 3600}},
    "budget": {"month": BUDGET},
    "guard": {"tasks": GUARD_TASKS, "running": {"time": f"{GUARD_SECONDS}s"}},
    "prune": {"floor": 100_000},
    "retention": {
        "enabled": True,
        "keep": KEEP,
        "days": DAYS,
        "grace": f"{GRACE}s",
        "maxShare": 0.5,
        "branches": ["release/*"],
    },
}


@dataclass(frozen=True)
class Variant:
    """What differs between the sites of seeds.

    ``mounted``: pods alone reach the bucket, so that Jobs collect. ``guard_gpus`` are the GPUs that
    one push may ask for without a release.
    """

    mounted: bool = False
    guard_gpus: int = 4

    @classmethod
    def of(cls, seed: int) -> Variant:
        """One seed of five has a mounted bucket, and one of ten a guard of fewer GPUs."""
        return cls(mounted=seed % 5 == 2, guard_gpus=2 if seed % 10 == 4 else 4)

    def configuration(self) -> dict[str, Any]:
        """The configuration of the daemon, but for its folder."""
        bucket = {"url": MOUNTED if self.mounted else BUCKET, "inventory": False}
        guard = {**_CONFIG["guard"], "gpus": self.guard_gpus}
        return {**_CONFIG, "buckets": {"default": bucket}, "guard": guard}
