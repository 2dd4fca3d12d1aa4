"""The site of a world: its repositories and branches, and the configuration of its daemon."""

from __future__ import annotations

from typing import Any

HOST = "https://git.example/"
MANIFESTS, SOURCE = "manifests.git", "source.git"
MAIN, STATUS = "refs/heads/main", "refs/heads/reconciler/status/local"
NAMESPACE = "ml"
INSTANCE = "sim"
#: Runs at once.
LIMIT = 4

CONFIG: dict[str, Any] = {
    "repository": {"url": f"{HOST}{MANIFESTS}", "interval": "10s"},
    "status": {"interval": "5s"},
    "server": {"address": ""},
    "engine": "kubernetes",
    "kubernetes": {
        "namespace": NAMESPACE,
        "namespaces": [NAMESPACE],
        "instance": INSTANCE,
        "lease": "15s",
    },
    "registry": {"url": "registry.test/models"},
    "buckets": {"default": {"url": "file:///srv/models", "inventory": False}},
    "sources": {"allow": ["https://*"], "interval": "60s"},
    "limits": {"runs": LIMIT},
    # What is held waits for a user, of whom the end would tell.
    "guard": {"tasks": 100_000, "gpus": 100_000},
    "prune": {"floor": 100_000},
}
