"""The first process of a node: ``python -m tests.cluster.node_init`` in namespaces of its own.

It hides from the kubelet what belongs to this machine, sets up the node's end of the network, and
then only reaps. When it ends the kernel kills every container and drops every mount, so there is
no state to take apart: killing this one process is what unplugging a real node is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: What the kubelet wants and would set for the whole machine: it finds them set already, in files
#: that only look like the kernel's.
_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
#: Where containerd, runc, CNI and the kubelet write, whatever they are told. Folders that are empty
#: to begin with, and one of which the node keeps a copy on write: it makes new ones there.
_EMPTY = ("/run", "/var/log")
_COPIED = "/var/lib"
#: The node's folder, as the node sees it.
HERE = Path("/run/node")


def main(spec: dict[str, Any]) -> None:
    sys.stdin.readline()  # the other end of the network is there
    _isolate(Path(spec["folder"]))
    _network(spec)
    containerd = _start(spec["containerd"], spec["logs"], "containerd")
    deadline = time.monotonic() + 60
    while not Path(spec["socket"]).exists():
        if containerd.poll() is not None or time.monotonic() > deadline:
            sys.exit("containerd does not answer")
        time.sleep(0.02)
    started = {"containerd": containerd}
    for name in ("kubelet", "device plugin", "csi driver", "network policies"):
        if spec[name]:
            started[name] = _start(spec[name], spec["logs"], name.replace(" ", "-"))
    while True:
        pid, status = os.wait()
        for name, program in started.items():
            if pid == program.pid:
                sys.exit(f"{name} ended: {status}")


def _isolate(folder: Path) -> None:
    # Mounts that a pod makes for another (a bucket) have to travel between their namespaces.
    _run("mount", "--make-rshared", "/")
    for place in _EMPTY:
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "node", place)
    layers = [Path("/run/copied", part) for part in ("upper", "work")]
    for layer in layers:
        layer.mkdir(parents=True)
    options = f"lowerdir={_COPIED},upperdir={layers[0]},workdir={layers[1]}"
    _run("mount", "-t", "overlay", "-o", options, "node", _COPIED)
    # A socket's path may have 107 characters, which a test's folder and a pod's name can exceed.
    HERE.mkdir()
    _run("mount", "--bind", str(folder), str(HERE))
    fakes = Path("/run/sysctls")
    fakes.mkdir()
    for name, value in _SYSCTLS.items():
        real = Path("/proc/sys", name)
        if real.exists():
            fake = fakes / name.replace("/", ".")
            fake.write_text(f"{value}\n")
            _run("mount", "--bind", str(fake), str(real))


def _network(spec: dict[str, Any]) -> None:
    host = spec["host"]
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{spec['address']}/32", "dev", "eth0")
    _run("ip", "link", "set", "eth0", "up")
    _run("ip", "route", "add", f"{host}/32", "dev", "eth0", "scope", "link")
    _run("ip", "route", "add", "default", "via", host, "dev", "eth0", "onlink")
    # In place of kube-proxy: the one Service that every in-cluster client asks for.
    for chain in ("PREROUTING", "OUTPUT"):
        # fmt: off
        _run("iptables", "-t", "nat", "-A", chain, "-p", "tcp", "-d", spec["service"],
             "--dport", "443", "-j", "DNAT", "--to-destination", f"{host}:{spec['port']}")
        # fmt: on


def _start(command: Sequence[str], logs: str, name: str) -> subprocess.Popen[bytes]:
    with Path(logs, f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
