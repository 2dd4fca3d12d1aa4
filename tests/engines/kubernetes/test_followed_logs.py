"""Logs of pods are followed over streams that break, and pods that are replaced.

The server answers as an API server does; a real one does not break a stream on demand.
tests/e2e/test_node_logs.py follows those of a real node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from reconciler.engine import EngineError, LogOf, OpenedLog
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.logs import FollowedPodLogs, Position, unread
from reconciler.types import GROUP, TaskKind
from tests.cluster.kubeconfig import write_kubeconfig
from tests.engines.kubernetes.orders import order
from tests.servers import Handler, Serving

SPEC = order("default")


@dataclass
class Node(Serving):
    """Pods with the lines that each has printed; ``breaks`` streams end in the middle."""

    pods: list[dict[str, Any]] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)
    breaks: int = 0
    asked: list[dict[str, list[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        node = self

        class Answer(Handler):
            def do_GET(self) -> None:  # noqa: N802 -- the name of http.server
                node.answer(self)

        self.serve(ThreadingHTTPServer(("127.0.0.1", 0), Answer))

    def pod(self, name: str, *lines: str, over: bool, rank: int = 0) -> None:
        """Add a pod, or replace what is known of it."""
        self.pods = [pod for pod in self.pods if pod["metadata"]["name"] != name]
        state: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        if over:
            ends = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:09Z"}
            state = {"terminated": {"exitCode": 1, **ends}}
        made = f"2026-01-01T00:00:0{name[-1]}Z"
        labels = {**SPEC.labels, "batch.kubernetes.io/job-completion-index": str(rank)}
        notes = {f"{GROUP}/execution-hash": "e", f"{GROUP}/request-hash": "r"}
        metadata = {"name": name, "namespace": "default", "creationTimestamp": made}
        self.pods.append(
            {
                "metadata": {**metadata, "labels": labels, "annotations": notes},
                "status": {"containerStatuses": [{"name": "main", "state": state}]},
            }
        )
        self.lines[name] = list(lines)

    def answer(self, request: Handler) -> None:
        url = urlsplit(request.path)
        if url.path.endswith("/pods"):
            request.answer(200, body=json.dumps({"items": self.pods}).encode())
            return
        query = parse_qs(url.query)
        self.asked.append(query)
        name = url.path.split("/")[-2]
        lines = [f"2026-01-01T00:00:{line}\n" for line in self.lines.get(name, [])]
        since = query.get("sinceTime", [""])[0].rstrip("Z")
        text = "".join(line for line in lines if line >= since).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        if self.breaks:
            self.breaks -= 1
            request.wfile.write(text[:-3])
            request.close_connection = True
            return
        request.wfile.write(text)


@pytest.fixture
def node() -> Iterator[Node]:
    serving = Node()
    yield serving
    serving.close()


@dataclass
class Followed:
    """The command's view: what it has printed so far."""

    logs: FollowedPodLogs
    log: LogOf
    said: list[str] = field(default_factory=list)

    async def poll(self) -> list[str]:
        self.said = []
        async for piece in self.logs.poll(self.log):
            opened = isinstance(piece, OpenedLog)
            self.said.append(f"[{piece.where}]" if opened else piece.decode())  # type: ignore[union-attr]
        return self.said


def followed(
    node: Node, tmp_path: Path, *, lines: int = 0, attempt: int | None = None, rank: int = 0
) -> Followed:
    there = {"server": f"http://127.0.0.1:{node.port}"}
    config = str(write_kubeconfig(tmp_path / "kubeconfig", there, {"token": "t"}))
    assert SPEC.object is not None
    log = LogOf(object=SPEC.object, task=TaskKind.TRAIN, run=SPEC.name, attempt=attempt, rank=rank)
    return Followed(FollowedPodLogs(lambda: Api.connect(kubeconfig=config), lines), log)


async def test_a_replaced_pod_is_read_to_its_end_and_then_the_next(
    node: Node, tmp_path: Path
) -> None:
    follow = followed(node, tmp_path)
    assert await follow.poll() == [], "no pod has started"
    node.pod("m-1", "01.1Z a", over=False)
    assert await follow.poll() == ["[pod default/m-1]", "a\n"]
    assert await follow.poll() == []
    node.pod("m-1", "01.1Z a", "02Z b", over=True)
    node.pod("m-2", "04Z c", over=False)
    assert await follow.poll() == ["b\n", "[pod default/m-2]", "c\n"]
    node.pods.clear()
    node.pod("m-3", "05Z d", over=True)
    assert await follow.poll() == ["[pod default/m-3]", "d\n"], "m-2 was deleted"
    assert await follow.poll() == []


async def test_a_stream_that_breaks_goes_on_after_the_last_whole_line(
    node: Node, tmp_path: Path
) -> None:
    follow = followed(node, tmp_path, lines=10)
    same = ("01.50Z a", "01.5Z b", "01.5Z c")
    node.pod("m-1", *same[:2], "01.5Z long", over=False)
    node.breaks = 1
    with pytest.raises(EngineError):
        await follow.poll()
    assert follow.said == ["[pod default/m-1]", "a\n", "b\n"]
    assert node.asked[-1]["tailLines"] == ["10"]
    node.pod("m-1", *same, "01.500000001Z d", over=False)
    assert await follow.poll() == ["c\n", "d\n"]
    assert node.asked[-1]["sinceTime"] == ["2026-01-01T00:00:01Z"]
    assert "tailLines" not in node.asked[-1]


async def test_only_the_pod_of_a_named_attempt_and_rank_is_followed(
    node: Node, tmp_path: Path
) -> None:
    node.pod("m-1", "01Z a", over=True)
    node.pod("m-2", "02Z other", over=True, rank=1)
    node.pod("m-3", "03Z b", over=False)
    first = followed(node, tmp_path, attempt=1)
    assert await first.poll() == ["[pod default/m-1]", "a\n"]
    assert first.logs.finished
    assert await followed(node, tmp_path, rank=1).poll() == ["[pod default/m-2]", "other\n"]


async def test_lines_that_are_longer_than_memory_come_in_parts() -> None:
    async def pieces(parts: Sequence[bytes]) -> Any:
        for part in parts:
            yield part

    stamp = b"2026-01-01T02:00:00.25+02:00 "
    position = Position()
    long = [stamp + b"x" * 70_000, b"y" * 70_000 + b"\n" + stamp, b"end"]
    got = [piece async for piece in unread(pieces(long), position)]
    assert b"".join(got) == b"x" * 70_000 + b"y" * 70_000 + b"\nend"
    assert position.since() == {"sinceTime": "2026-01-01T00:00:00Z"}
    again = [stamp + b"x" * 70_000, b"y" * 70_000 + b"\n" + stamp + b"end\n" + stamp + b"more\n"]
    assert [piece async for piece in unread(pieces(again), position)] == [b"more\n"]
