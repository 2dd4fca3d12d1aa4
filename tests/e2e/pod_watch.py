"""Every pod of a namespace over the whole of a test, as one watch tells it."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.fixtures import Namespace

_KEY = "substratus.ai/key"


class PodWatch:
    """What has been seen so far; ``file`` is what the watch prints."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def events(self) -> list[tuple[str, Any]]:
        """The kind of each event and the pod as it was then, in order."""
        text, at, found = self._file.read_text(), 0, []
        decoder = json.JSONDecoder()
        while at < len(text):
            try:
                event, at = decoder.raw_decode(text, at)
            except ValueError:  # it is still being printed
                break
            at += len(text[at:]) - len(text[at:].lstrip())
            found.append((event["type"], event["object"]))
        return found

    def pods(self) -> dict[str, list[str]]:
        """The UIDs of every pod that there has been, by key, oldest first."""
        found: dict[str, list[str]] = defaultdict(list)
        for _, pod in self.events():
            uid, key = pod["metadata"]["uid"], pod["metadata"]["labels"][_KEY]
            if uid not in found[key]:
                found[key].append(uid)
        return found

    def never_two_of_a_key(self) -> None:
        """At no time was a pod there while another of its key might still have run."""
        live: dict[str, set[str]] = defaultdict(set)
        for kind, pod in self.events():
            of_key = live[pod["metadata"]["labels"][_KEY]]
            if kind == "DELETED" or pod["status"]["phase"] in ("Succeeded", "Failed"):
                of_key.discard(pod["metadata"]["uid"])
            else:
                of_key.add(pod["metadata"]["uid"])
            assert len(of_key) <= 1, f"two pods at once: {pod['metadata']['name']} is one"


@contextmanager
def watched(namespace: Namespace, file: Path) -> Iterator[PodWatch]:
    """Watch until the end of the block."""
    cluster = namespace.cluster
    command = [
        str(cluster.binaries["kubectl"]),
        f"--kubeconfig={cluster.kubeconfig}",
        f"--namespace={namespace.name}",
        "get", "pods", "--watch", "--output-watch-events", "--output=json",
        f"--selector={_KEY}",
    ]  # fmt: skip
    with file.open("w") as out, subprocess.Popen(command, stdout=out) as process:
        try:
            yield PodWatch(file)
            assert process.poll() is None, "the watch ended before the test"
        finally:
            process.terminate()
