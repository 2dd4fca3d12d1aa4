"""``logs -f`` through a failed attempt, to the end."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.site import Site, environment, until

BODY = """\
echo "attempt $ATTEMPT begins"
while ! test -e "$GATE-$ATTEMPT"; do sleep 0.1; done
test "$ATTEMPT" != 1 || exit 9
echo "attempt $ATTEMPT ends"
"""


def test_the_output_is_followed_through_every_task_and_attempt(tmp_path: Path) -> None:
    site = Site(tmp_path)
    gate = tmp_path / "gate"
    site.script("src/m/train.sh", BODY.replace("$GATE", str(gate)))
    site.scratch("m", more="    retries: 1\n")
    site.push()
    said = tmp_path / "said"
    with site.running():
        until(lambda: "m" in site.statuses(), what="the first status")
        with said.open("wb") as out:
            follower = subprocess.Popen(
                site.command("logs", "-f", "m", "--tail", "0"),
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
        for attempt in (1, 2):
            begins = f"attempt {attempt} begins".encode()
            until(lambda: begins in said.read_bytes(), what=f"attempt {attempt}")  # noqa: B023
            gate.with_name(f"gate-{attempt}").touch()
        assert follower.wait(90) == 0, said.read_text()
    text = said.read_text()
    train = text[text.index("attempt 1 begins") :]
    lines = [line for line in train.splitlines() if line.startswith("attempt")]
    assert lines == ["attempt 1 begins", "attempt 2 begins", "attempt 2 ends"]
    assert "==> Model default/m, train: Succeeded" in text
