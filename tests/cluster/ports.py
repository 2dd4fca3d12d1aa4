"""Ports that nobody else on this machine will have taken by the time they are used."""

from __future__ import annotations

import random
import socket

#: Below what Linux (32768) and macOS (49152) hand to outgoing connections, so that none of those
#: takes a port between the look here and the program's bind.
_FROM, _TO = 20_000, 32_000


def free(count: int) -> list[int]:
    """This many different ports that can be bound now, on whatever address.

    Chosen at random: two clusters that start at once do not look in the same order.
    """
    ports: list[int] = []
    # Not the seeded generator of the tests: each worker would choose the same ports.
    for port in random.SystemRandom().sample(range(_FROM, _TO), _TO - _FROM):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"no {count} free ports")
