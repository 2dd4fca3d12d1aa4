"""Ports that nobody else on this machine will have taken by the time they are used."""

from __future__ import annotations

import fcntl
import os
import random
import socket
from pathlib import Path
from tempfile import gettempdir

#: Below what Linux (32768) and macOS (49152) hand to outgoing connections, so that none of those
#: takes a port between the look here and the program's bind.
_FROM, _TO = 20_000, 32_000
#: A file for each port that a test process was given, locked for as long as that process lives.
_CLAIMS = Path(gettempdir()) / f"model-reconciler-tests-{os.getuid()}" / "ports"


def free(count: int) -> list[int]:
    """This many different ports that can be bound now, on whatever address.

    No process is given one that another has been given here: what is to listen there may not have
    begun to.
    """
    ports: list[int] = []
    # Not the seeded generator of the tests: each worker would try the same ports.
    for port in random.SystemRandom().sample(range(_FROM, _TO), _TO - _FROM):
        if _claim(port) and _can_be_bound(port):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"no {count} free ports")


def _claim(port: int) -> bool:
    _CLAIMS.mkdir(parents=True, exist_ok=True)
    file = os.open(_CLAIMS / str(port), os.O_CREAT | os.O_WRONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    return True  # the file stays open


def _can_be_bound(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
