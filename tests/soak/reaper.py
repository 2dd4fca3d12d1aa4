"""The first process of a PID namespace: it runs a command, and reaps what others leave."""

from __future__ import annotations

import os
import subprocess
import sys


def main() -> None:
    command = subprocess.Popen(sys.argv[1:])
    while True:
        pid, status = os.wait()
        if pid == command.pid:
            command.returncode = os.waitstatus_to_exitcode(status)
            sys.exit(command.returncode)


if __name__ == "__main__":
    main()
