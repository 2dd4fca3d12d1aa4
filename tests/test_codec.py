"""The first use of a format, by several threads at once."""

from __future__ import annotations

import subprocess
import sys

#: In a process of its own, as a crash would end the tests.
CHILD = """
import random, sys, threading
from reconciler.codec import Codec
from reconciler.engine import RunSpec
from tests.specs import train

sys.setswitchinterval(1e-6)
tree = Codec(RunSpec, omit="none").dump(train())
for number in range(100):
    codec, chance = Codec(RunSpec, omit="none"), random.Random(number)
    threads = [
        threading.Timer(chance.random() / 250, codec.load, args=(tree,)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_that_read_a_format_for_the_first_time_at_once_do_not_crash() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
