"""A trial of a template, in a process with bounds.

`validate` reads configurations that people propose. A template's loops and operators can take any
time and memory, so it is compiled and rendered where both end.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import suppress

from reconciler.notify.delivery import Body, TemplateFault

#: Seconds of CPU, and bytes of address space, that a template may take for one body.
MOST_CPU, MOST_MEMORY = 5, 1 << 30
#: Seconds in all, on a machine with much else to do.
_DEADLINE = 60.0
_WRONG = 3
_LONGEST_REASON = 2000


def try_template(template: str) -> None:
    """Make a template's body of an example. Raises TemplateFault."""
    try:
        done = subprocess.run(
            # Nothing is imported from the current folder, which may be another author's.
            [sys.executable, "-P", "-m", __name__],
            input=template.encode("utf-8", "surrogatepass"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_DEADLINE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TemplateFault(_TOO_MUCH) from error
    if done.returncode == _WRONG:
        raise TemplateFault(done.stdout.decode("utf-8", "replace"))
    if done.returncode != 0:
        raise TemplateFault(_TOO_MUCH)


_TOO_MUCH = (
    f"the template takes more than {MOST_CPU} s or {MOST_MEMORY >> 30} GiB for the body of an "
    "example"
)


def _main() -> int:
    template = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
    with suppress(ValueError, OSError):  # a lower limit is in force, or the system has none
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU, MOST_CPU))
    try:
        Body(template)
    except TemplateFault as fault:
        sys.stdout.buffer.write(str(fault)[:_LONGEST_REASON].encode("utf-8", "replace"))
        return _WRONG
    return 0


if __name__ == "__main__":
    sys.exit(_main())
