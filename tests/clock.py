"""A wall clock that can be set while a process goes on, by a library that is loaded into it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: The wall clock, off by the number of seconds in a file; other clocks are as they are.
_SHIM = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long offset(void) {
  char text[32] = "";
  int file = open(getenv("CLOCK_FILE"), O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
  close(file);
  return atol(text);
}
int clock_gettime(clockid_t clock, struct timespec *at) {
  int code = syscall(SYS_clock_gettime, clock, at);
  if (code == 0 && clock == CLOCK_REALTIME) at->tv_sec += offset();
  return code;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""


@dataclass(frozen=True)
class WallClock:
    """The clock of every process that has its environment."""

    file: Path
    library: Path

    @classmethod
    def make(cls, folder: Path) -> WallClock | None:
        """A clock that is right; None without a C compiler."""
        if shutil.which("cc") is None:
            return None
        source, library = folder / "clock.c", folder / "clock.so"
        source.write_text(_SHIM)
        command = ["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", str(library), str(source)]
        subprocess.run(command, check=True)
        clock = cls(folder / "clock", library)
        clock.set(0)
        return clock

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "CLOCK_FILE": str(self.file)}

    def set(self, seconds: int) -> None:
        """Set it to so many seconds from the machine's."""
        new = self.file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.file)
