"""Trainings on a bucket that a FUSE driver mounts, whichever driver and store it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import psutil

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.rclone_bucket import brisk_template

#: Renames files and folders, appends, and makes links, which only direct writes do in the bucket.
BASE = """\
import os
from pathlib import Path
model = Path(os.environ["MODEL_DIR"])
(model / "unfinished" / "deep").mkdir(parents=True)
(model / "unfinished" / "new").write_bytes(bytes(range(256)) * 20_000)
(model / "unfinished" / "new").rename(model / "unfinished" / "one")
(model / "unfinished" / "deep" / "two").write_text("2")
(model / "unfinished").rename(model / "parts")
for text in ("trained\\n", "twice\\n"):
    with (model / "notes").open("a") as notes:
        notes.write(text)
(model / "latest").symlink_to("notes")
(model / "newest").symlink_to("parts")
assert (model / "latest").read_text() == "trained\\ntwice\\n"
assert (model / "newest" / "deep" / "two").read_text() == "2"
assert not (model / "unfinished").exists()
"""
_TUNED = """\
import os
from pathlib import Path
base = Path(os.environ["BASE_MODEL_DIR"])
try:
    (base / "mine").write_text("x")
except OSError:
    size = (base / "parts" / "one").stat().st_size
    notes = (base / "latest").read_text().split()
    Path(os.environ["MODEL_DIR"], "weights").write_text(f"of {size} bytes, {notes}")
"""
#: Its first attempt goes on until it cannot write, or is told to end.
ENDLESS = """\
import os, time
from pathlib import Path
model = Path(os.environ.get("MODEL_DIR") or os.environ["DATA_DIR"])
attempt = os.environ["ATTEMPT"]
if attempt == "1":
    (model / "checkpoint").write_text("of attempt 1")
while attempt == "1" and not Path("/tmp/end").exists():
    (model / "step").write_text(str(time.time()))
    time.sleep(0.2)
(model / "weights").write_text(f"of attempt {attempt}")
"""


class FuseBucket(Protocol):
    """A bucket of a test's own, which is there once it is made."""

    @property
    def url(self) -> str: ...

    def make(self) -> None: ...

    def names(self) -> list[str]:
        """The names of its objects."""

    def text(self, url: str) -> str:
        """The content of an object."""


def fuse_site(
    root: Path, namespace: Namespace, cluster: NodeCluster, section: dict[str, Any]
) -> NodeSite:
    """A site whose bucket has this section of the configuration."""
    site = NodeSite(root, namespace, cluster, section)
    site.configure(kubernetes={"templates": {"train": brisk_template()}})
    return site


def train_and_finetune(site: NodeSite, bucket: FuseBucket) -> dict[str, Any]:
    """Train a base and finetune it, which cannot change its base; the base's marker."""
    bucket.make()
    program(site, "base", BASE)
    finetune(site, _TUNED)
    site.push()
    with daemon(site):
        base, last = site.ready("base"), site.ready("tuned")
    marker: dict[str, Any] = json.loads(bucket.text(f"{base['artifact']['url']}completed.json"))
    assert {file["path"]: file["size"] for file in marker["files"]} == {
        "latest": 14,
        "notes": 14,
        "parts/deep/two": 1,
        "parts/one": 5_120_000,
    }
    # Whoever reads the store without the mount sees no links.
    assert bucket.text(f"{base['artifact']['url']}latest") == "trained\ntwice\n"
    assert bucket.text(f"{last['artifact']['url']}weights") == (
        "of 5120000 bytes, ['trained', 'twice']"
    )
    return marker


def finetune(site: NodeSite, code: str = "") -> None:
    """Write ``tuned``, a Model that goes on from ``base`` by this Python."""
    tuned = {
        "source": {"model": {"name": "base"}},
        "training": {"mode": "Finetune", "command": ["python3", "-c", code]},
    }
    manifest = {"kind": "Model", "metadata": {"name": "tuned"}, "spec": tuned}
    site.write("tuned.yaml", json.dumps(manifest))


def lose_its_mount(
    site: NodeSite, bucket: FuseBucket, kill: Callable[[], bool], *, staged: bool
) -> None:
    """Kill the mount under a training: an attempt is lost, and nothing is called finished."""
    bucket.make()
    program(site, "m", ENDLESS)
    site.push()
    with daemon(site):
        until(lambda: saved(bucket, staged=staged), what="a checkpoint")
        assert kill()
        if staged:  # its command sees nothing of the bucket
            end_commands(site)
        until(lambda: failure(site) is not None, what="the end of the attempt")
        assert failure(site) == "Infrastructure"
        assert not any(name.endswith("completed.json") for name in bucket.names())
        status = site.ready("m")
    assert status["tasks"][0]["attempts"] == 2
    assert [entry.get("reason") for entry in status["history"]] == ["BucketFailed", None]
    assert bucket.text(f"{status['artifact']['url']}checkpoint") == "of attempt 1"
    assert bucket.text(f"{status['artifact']['url']}weights") == "of attempt 2"


def end_commands(site: NodeSite) -> None:
    """Tell the commands of the pods, of which none has ended, to end."""
    for pod in site.cluster.api.items(site.namespace.pods):
        name = pod["metadata"]["name"]
        site.namespace.kubectl("exec", name, "--container=main", "--", "touch", "/tmp/end")


def failure(site: NodeSite, name: str = "m") -> str | None:
    """The class of the last failed attempt of a Model, once it is over."""
    status = site.statuses().get(name, {"phase": "", "tasks": [{}]})
    assert status["phase"] not in ("Ready", "Failed"), status
    found: str | None = status["tasks"][0].get("failure")
    return found


def kill_all(chosen: Callable[[list[str]], bool]) -> bool:
    """Kill the processes whose command is chosen; whether there was one."""
    killed = False
    for process, command in _processes():
        if command and chosen(command):
            process.kill()
            killed = True
    return killed


def saved(bucket: FuseBucket, *, staged: bool) -> bool:
    """Whether the checkpoint is safe: staged, in the list of a copy that counts."""
    names = bucket.names()
    if not staged:
        return any(name.endswith("/checkpoint") for name in names)
    lists = [name for name in names if "/.reconciler-list-" in name]
    try:
        return any("checkpoint" in bucket.text(name) for name in lists)
    except OSError:  # it has made room for the list of a later copy
        return False


def _processes() -> Iterator[tuple[psutil.Process, list[str]]]:
    for process in psutil.process_iter():
        try:
            yield process, process.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
