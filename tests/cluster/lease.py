"""Starts a cluster, or joins the one that runs in a folder, for as long as one holds the lease."""

from __future__ import annotations

import fcntl
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tests.cluster.build import programs
from tests.cluster.cluster import Cluster, NodeCluster
from tests.cluster.errors import ClusterFailed, ClusterUnavailable
from tests.cluster.keeper import SOCKET
from tests.cluster.recipes import Level

_ROOT = Path(__file__).parents[2]
#: How long a cluster may take to come up, on a busy machine (seconds).
_PATIENCE = 180.0


class Connection:
    """To a keeper. Closing it gives the lease back; the last to do so waits until all is gone."""

    #: Set where this process started it.
    keeper: subprocess.Popen[bytes] | None = None

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE)
        try:
            self._socket.connect(str(folder / SOCKET))
        except BaseException:
            self._socket.close()
            raise
        self._file = self._socket.makefile("r", encoding="utf-8")

    def read(self) -> Mapping[str, Any] | None:
        """The next answer; None where the keeper ended."""
        line = self._file.readline()
        return json.loads(line) if line else None

    def ask(self, **order: str) -> Mapping[str, Any]:
        self._socket.sendall(json.dumps(order).encode() + b"\n")
        answer = self.read()
        if answer is None or "failed" in answer:
            raise ClusterFailed(f"{order}: {answer}")
        return answer

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while (answer := self.read()) is not None:
                if "ended" in answer and self.keeper is not None:
                    self.keeper.wait(_PATIENCE)
        except OSError:
            pass  # it was killed: then it holds nothing any more
        finally:
            self._file.close()
            self._socket.close()


@contextmanager
def control_plane(
    folder: Path,
    level: Literal["control-plane", "queue"] = "control-plane",
    *,
    audit: bool = False,
    late: bool = False,
) -> Iterator[Cluster]:
    """A control plane in ``folder``. With ``audit``, ``logs/audit.log`` names every request.

    With ``late``, a test starts the program ``kueue``, which installs it.
    """
    with _join(folder, level, audit=audit, late=late) as (connection, description):
        yield Cluster.of(folder, connection.ask, programs(level), description)


@contextmanager
def node(
    folder: Path,
    level: Literal["node", "queue-node", "gcs-node", "mountpoint-node", "policy-node"] = "node",
    *,
    audit: bool = False,
    gangs: bool = False,
) -> Iterator[NodeCluster]:
    """A control plane with a node, a registry and an S3 server in ``folder``.

    With ``gangs``, which Kubernetes has behind gates that are off.
    """
    with _join(folder, level, audit=audit, gangs=gangs) as (connection, description):
        yield NodeCluster.of(folder, connection.ask, programs(level), description)


@contextmanager
def _join(
    folder: Path, level: Level, *, audit: bool, gangs: bool = False, late: bool = False
) -> Iterator[tuple[Connection, Mapping[str, Any]]]:
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _PATIENCE
    options = {"level": level, "audit": audit, "gangs": gangs, "late": late}
    while True:
        connection = _connect(folder, options, deadline)
        try:
            answer = connection.read()
            if answer is not None and "failed" in answer:
                kind = ClusterUnavailable if answer["unavailable"] else ClusterFailed
                raise kind(answer["failed"])
            if answer is not None:
                yield connection, answer["cluster"]
                return
        finally:
            connection.close()
        # It was just ending for lack of users when we came: start another.
        if time.monotonic() > deadline:
            raise ClusterFailed(f"the keeper ends again and again: {folder / 'keeper.log'}")


def _connect(folder: Path, options: Mapping[str, Any], deadline: float) -> Connection:
    """To the keeper of this folder, started where there is none: one, whoever else asks."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return Connection(folder)
        except (FileNotFoundError, ConnectionRefusedError):
            (folder / SOCKET).unlink(missing_ok=True)
        with (folder / "keeper.log").open("ab") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.keeper", str(folder), json.dumps(options)],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while True:
            try:
                connection = Connection(folder)
            except (FileNotFoundError, ConnectionRefusedError):
                if keeper.poll() is not None or time.monotonic() > deadline:
                    text = (folder / "keeper.log").read_text()
                    raise ClusterFailed(f"the keeper does not answer:\n{text[-4000:]}") from None
                time.sleep(0.02)
            else:
                connection.keeper = keeper
                _STARTED.append(keeper)
                return connection


#: Those that others went on to use: kept, so that they are not reported as forgotten.
_STARTED: list[subprocess.Popen[bytes]] = []
