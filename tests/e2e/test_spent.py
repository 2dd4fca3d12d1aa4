"""The cost of a run that is ended is on the status branch before the run ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.site import Site, until

#: As the first push with an interruption has arrived, it notes what runs, and ends the daemon.
_HOOK = """\
#!/bin/sh
test -e "{root}/daemon" || exit 0
while read -r old new ref; do
  git grep --quiet "reason: Superseded" "$new" || continue
  kill -0 "$(cat "{root}/command")" && touch "{root}/alive"
  kill -KILL "$(cat "{root}/daemon")"
  rm "{root}/daemon"
done
"""


def test_a_daemon_that_is_killed_as_it_ends_a_run_forgets_no_cost(tmp_path: Path) -> None:
    site = Site(tmp_path)
    # One core for a second costs one.
    site.configure(prices={"cpu": 3600}, local={"slots": 4, "isolation": "none"})
    body = f'echo $$ > {tmp_path}/command\nuntil test "$PARAM_LR" = 2; do sleep 0.2; done\n'
    cores = "    resources: {cpu: 1}\n"
    site.trained("m", body, params={"lr": 1}, more=cores)
    site.push()
    hook = site.remote / "hooks" / "post-receive"
    hook.write_text(_HOOK.format(root=tmp_path))
    hook.chmod(0o755)
    with site.running() as daemon:
        until(lambda: site.phases().get("m") == "Training", what="the training")
        (tmp_path / "daemon").write_text(str(daemon.pid))
        site.edit("m.yaml", '"lr": 1', '"lr": 2')
        site.push()
        until(lambda: daemon.poll() is not None, what="the kill")
    assert (tmp_path / "alive").exists(), "the run was not ended yet"
    (before,) = _interrupted(site)
    with site.running():
        until(lambda: site.phases()["m"] == "Ready", what="the training")
    (after,) = _interrupted(site)
    assert after["started"] == before["started"]
    assert after["cost"] >= before["cost"] > 0
    status = site.statuses()["m"]
    assert sum(status["spent"].values()) == pytest.approx(
        sum(entry.get("cost", 0) for entry in status["history"])
    )


def _interrupted(site: Site) -> list[dict[str, float]]:
    return [e for e in site.statuses()["m"]["history"] if e["phase"] == "Interrupted"]
