"""A soak of the Kubernetes engine on a control plane: Jobs, pods and the API server as well."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from tests.cluster.api import ApiError
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import Site, git
from tests.git.remotes import HttpRemote
from tests.soak.accounts import MARKER, uptime
from tests.soak.arena import BUCKETS, ONCE, Arena, Disturbance, named_buckets
from tests.soak.kubelet import Kubelet, folder
from tests.soak.machine import StatusBranch, fresh_site, mount
from tests.soak.repository import Manifest, Repository, cluster_manifests


class SoakedClusterSite(ClusterSite):
    """One whose artifacts are seen here, and whose copies are on a small disk."""

    def __init__(self, root: Path, namespace: Namespace) -> None:
        self.forge = HttpRemote(root)  # a pod could not read this disk
        super().__init__(root, namespace)
        git(self.remote, "config", "http.receivepack", "true")

    def configure(self, **sections: Any) -> None:
        default: dict[str, Any] = {
            "repository": {"url": self.forge.url("manifests.git")},
            "buckets": named_buckets(self.root / BUCKETS[0]),
            # What was made in one of them is read while the other is configured.
            "allow": {"buckets": [f"{self.root.as_uri()}/*"]},
            "local": {"root": str(self.root / "disk/state")},
            "sources": {"allow": ["http://*"], "interval": "10m"},
        }
        for name, section in sections.items():
            default[name] = {**default.get(name, {}), **section}
        super().configure(**default)


class ClusterArena(Arena):
    """A namespace of a control plane that this soak alone uses."""

    #: The certificates of the control plane have been valid for a day.
    clocks = (0, 0, 5, -5, 3600, -3600, 86400, 86400 * 7)

    def __init__(self, root: Path, say: Callable[[str], None], namespace: Namespace) -> None:
        super().__init__(root, say)
        self.namespace = namespace
        self.api = namespace.cluster.api
        self.disk = root / "disk"
        self.disk.mkdir()
        self.bounded = mount(self.disk, say)
        self.make_buckets(root)
        self.site: SoakedClusterSite = SoakedClusterSite(root, namespace)
        self.repository = Repository.of(cluster_manifests(), str(self.site.ledger))
        self.push_files("Begin")
        self.kubelet = Kubelet(namespace, self.site.instance, self.finished)
        self._serving = threading.Thread(target=self.kubelet.run)
        self._serving.start()

    def environment(self) -> dict[str, str]:
        clock = self.clock.environment if self.clock is not None else {}
        return {**self.site.environment(), **clock, "POD_NAME": "one"}

    def close(self) -> None:
        super().close()
        self.kubelet.stop()
        self._serving.join()
        self.site.forge.close()
        self.unmount()

    # -- disturbances ------------------------------------------------------------------------

    def disturbances(self) -> list[tuple[int, Disturbance]]:
        return [
            (24, self.push),
            (4, self.push_source),
            (8, self.kill),
            (4, self.ask_to_stop),
            (4, self.once),
            (2, self.pause),
            (6, self.damage),
            (8, self.delete_job),
            (4, self.delete_pod),
            (3, self.kill_server),
            (2, self.freeze_server),
            (2, self.stop_controllers),
            (1, self.delete_namespace),
            (6, self.set_clock),
            (6, self.swap_configuration),
            (3, self.fill_disk),
            (3, self.take_away),
            (1, self.forget),
        ]

    def once(self, chance: Random) -> str:
        # One whose Job nobody has seen waits for 15 minutes, as it says.
        self.give_back("no controllers")
        return super().once(chance)

    def damage(self, chance: Random) -> str:
        draw = chance.random()
        found = self.artifacts()
        if not found:
            return "no artifact to damage"
        chosen = found[int(draw * len(found))]
        self.finished.damage(chosen, uptime())
        shutil.rmtree(chosen)
        self.figures["artifacts deleted"] += 1
        return f"delete {'/'.join(chosen.parts[-3:])}"

    def _delete(self, chance: Random, path: str, what: str) -> str:
        draw = chance.random()
        try:
            found = sorted(item["metadata"]["name"] for item in self.api.items(path))
            if not found:
                return f"no {what} to delete"
            chosen = found[int(draw * len(found))]
            way = {"propagationPolicy": "Background"}
            self.api.request("DELETE", f"{path}/{chosen}", way)
        except (ApiError, OSError) as error:
            return f"no {what} deleted: {error}"
        self.figures[f"{what}s deleted"] += 1
        return f"delete the {what} {chosen}"

    def delete_job(self, chance: Random) -> str:
        return self._delete(chance, self.namespace.jobs, "Job")

    def delete_pod(self, chance: Random) -> str:
        return self._delete(chance, self.namespace.pods, "pod")

    def kill_server(self, chance: Random) -> str:
        steps = chance.choice((0, 1, 2))
        if "no server" in self.open:
            return "no API server to kill"
        self.namespace.cluster.kill("apiserver")
        self.during("no server", steps, self._start_server)
        self.figures["API servers killed"] += 1
        return f"kill the API server, away for {steps} steps"

    def _start_server(self) -> None:
        self.namespace.cluster.stop("apiserver")
        self.namespace.cluster.start("apiserver")

    def freeze_server(self, chance: Random) -> str:
        steps = chance.choice((1, 2))
        if "no server" in self.open:
            return "no API server to freeze"
        self.namespace.cluster.freeze("apiserver")
        self.during("no server", steps, lambda: self.namespace.cluster.thaw("apiserver"))
        self.figures["API servers frozen"] += 1
        return f"freeze the API server for {steps} steps"

    def stop_controllers(self, chance: Random) -> str:
        steps = chance.choice((1, 2, 3))
        name = "controllers"
        if "no controllers" in self.open:
            return "no controllers to stop"
        self.namespace.cluster.freeze(name)
        self.during("no controllers", steps, lambda: self.namespace.cluster.thaw(name))
        self.figures["controllers frozen"] += 1
        return f"freeze the controllers for {steps} steps"

    def delete_namespace(self, chance: Random) -> str:
        steps = chance.choice((1, 2))
        if self.open.keys() & {"no server", "no namespace", "no controllers"}:
            return "no namespace to delete"
        path = f"/api/v1/namespaces/{self.namespace.name}"
        try:
            self.api.delete(path)
        except (ApiError, OSError) as error:  # it comes back from being killed
            return f"no namespace deleted: {error}"
        self.during("no namespace", steps, self._make_namespace)
        self.figures["namespaces deleted"] += 1
        return f"delete the namespace for {steps} steps"

    def _make_namespace(self) -> None:
        from tests.cluster.api import eventually

        path = f"/api/v1/namespaces/{self.namespace.name}"
        self.give_back("no server", "no controllers")

        def gone() -> bool | None:
            try:
                return self.api.find(path) is None or None
            except (ApiError, OSError):
                return None

        eventually(gone, "the namespace to be gone", seconds=90)
        self.api.create("/api/v1/namespaces", {"metadata": {"name": self.namespace.name}})

    # -- what must hold ----------------------------------------------------------------------

    def ask_for_everything(self, token: str) -> None:
        """A new consumer of each artifact too: it finds out what the daemon cannot look at."""
        super().ask_for_everything(token)
        objects = self.repository.objects
        for name in [name for name in objects if name.startswith("probe-")]:
            del objects[name]
        for name, each in list(objects.items()):
            if each.present and name != "bad":
                epochs = self.calms
                probe = Manifest(f"probe-{name}", {}, ("training",), base=each.title, epochs=epochs)
                if each.kind == "Dataset":
                    source = {"image": each.source["image"]}
                    probe = replace(probe, base="", source=source, dataset=name)
                objects[probe.name] = probe

    def expected(self) -> dict[str, str]:
        return {
            each.title: "Failed" if name == "bad" else "Ready"
            for name, each in self.repository.objects.items()
            if each.present
        }

    def check_artifacts(self, statuses: Mapping[str, Any]) -> None:
        for name, status in statuses.items():
            if status["phase"] == "Ready":
                self._check_artifact(name, status["artifact"])
        for start in self.kubelet.started:
            if self.finished.again(start):
                self.violation(f"{start.name} ran for the finished {start.folder}")
        self.kubelet.started.clear()

    def _check_artifact(self, name: str, artifact: Mapping[str, Any]) -> None:
        file = folder(artifact["url"]) / MARKER
        if not file.exists():
            self.violation(f"{name} is Ready without a marker: {file}")
            return
        marker = json.loads(file.read_text())
        if marker["key"] != file.parent.name:
            self.violation(f"{name} is Ready as {artifact['key']}, its marker is {marker['key']}")
        base = marker.get("base")
        if base and not base["url"].rstrip("/").endswith(base["key"]):
            self.violation(f"{name} was made from another base: {base}")

    def fresh_statuses(self) -> Mapping[str, Any]:
        place = self.root / f"fresh-{int(uptime())}"
        self.clone_remotes(place)
        config = json.loads((self.root / "reconciler.yaml").read_text())
        config["kubernetes"]["instance"] = f"f{int(uptime())}"
        config["buckets"]["default"]["url"] = (place / "bucket").as_uri()
        config["local"]["root"] = str(place / "state")
        git(place / "manifests.git", "config", "http.receivepack", "true")
        with (
            closing(HttpRemote(place)) as forge,
            (self.root / "fresh.log").open("a") as log,
        ):
            config["repository"]["url"] = forge.url("manifests.git")
            subprocess.run(
                [*fresh_site(place, config), "--patience", "3s"],
                stdout=log, stderr=log, timeout=ONCE, check=False, env=self.environment(),
            )  # fmt: skip
        instance = f"labelSelector=substratus.ai/instance={config['kubernetes']['instance']}"
        way = {"propagationPolicy": "Background"}
        self.api.request("DELETE", f"{self.namespace.jobs}?{instance}", way)
        return Site.statuses(StatusBranch(place / "manifests.git", self.site.branch))  # type: ignore[arg-type]
