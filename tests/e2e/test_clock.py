"""The machine's clock is set while the daemon and a training go on, as by NTP or a resumed VM."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.site import Site, stop, until

#: The wall clock, off by the number of seconds in a file; other clocks are as they are.
SHIM = r"""
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


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that sets the clock of the daemon and of its runs."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to make a clock that can be set")
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(SHIM)
    command = ["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    file = tmp_path / "clock"
    file.write_text("0")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_FILE", str(file))
    return file


def trained(site: Site) -> str | None:
    """The newest artifact of the object, once it is Ready."""
    status = site.statuses().get("a", {})
    return status["artifact"]["key"] if status.get("phase") == "Ready" else None


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_is_set_leaves_the_daemon_and_its_durations_right(
    seconds: int, site: Site, clock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    begun, gate = site.root / "begun", site.root / "gate"
    site.script(
        "src/a/train.sh",
        f'touch {begun}; while ! test -e {gate}; do sleep 0.1; done\necho w > "$MODEL_DIR/w"\n',
    )
    site.scratch("a", more="    resources: {gpu: {count: 1}}\n")
    site.push()
    daemon = site.start()
    try:
        until(begun.exists, what="the command to start")
        clock.write_text(str(seconds))
        gate.touch()
        until(lambda: trained(site), what="the training")
        first = trained(site)
        [marker] = (json.loads(m.read_text()) for m in site.root.glob("state/**/completed.json"))
        assert 0 < marker["durationSeconds"] < 1800
        assert 0 < marker["gpuSeconds"] < 1800
        assert marker["started"] < marker["finished"]
        site.edit("a.yaml", "params: {}", "params: {epochs: 2}")
        site.push()
        until(lambda: trained(site) not in (None, first), what="a training by the same daemon")
    finally:
        code = stop(daemon)
    assert code == 0
    assert not re.search("Traceback|metrics could not be updated", site.log())
