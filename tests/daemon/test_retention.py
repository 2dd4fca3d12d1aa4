"""Artifacts that nothing refers to are hidden and removed; what is needed again is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.status import CollectionReport, CollectionStep, read_collection
from reconciler.types import TaskKey
from tests.e2e.saved_site import SavedSite
from tests.e2e.site import Site, git

#: A grace time that is over by the next run.
SOON = "0.001s"
HIDDEN = ".reconciler-collected.json"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SavedSite:
    """A Model that was trained three times, with epochs 1, 2 and 3."""
    site = Site(tmp_path_factory.mktemp("site"))
    retention(site)
    site.script("src/a/train.sh", 'echo x > "$MODEL_DIR/weights"\n')
    for epochs in (1, 2, 3):
        site.scratch("a", params={"epochs": epochs})
        assert site.sync().returncode == 0
    assert site.ran() == {"a": 3}
    return SavedSite.of(site)


@pytest.fixture
def site(trained: SavedSite) -> Site:
    return trained.restored()


def retention(site: Site, **policy: Any) -> None:
    given = {"enabled": False, "keep": 1, "days": 0, "grace": "7d", "maxShare": 1.0}
    site.configure(retention=given | policy)


def artifacts(site: Site) -> list[Path]:
    """The artifacts of a, the oldest first."""
    entries = [e for e in site.statuses()["a"]["history"] if "artifact" in e]
    return [Path(entry["artifact"].removeprefix("file://")) for entry in entries]


def states(site: Site) -> list[str]:
    """What marks each artifact of a, the oldest first."""
    found = []
    for path in dict.fromkeys(artifacts(site)):
        names = [n for n in ("completed.json", HIDDEN) if (path / n).exists()]
        found.append(names[0] if names else "nothing" if not path.exists() else "?")
    return found


def report(site: Site) -> CollectionReport:
    names = git(site.remote, "ls-tree", "--name-only", site.branch).split()
    if "collection.json" not in names:
        return CollectionReport()
    found = read_collection(site.show("collection.json").encode())
    assert found is not None
    return found


def collect(site: Site, **policy: Any) -> str:
    """Sync with a policy; return what is printed."""
    retention(site, enabled=True, **policy)
    done = site.run_once()
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_by_default_it_is_only_told_what_would_go(site: Site) -> None:
    assert site.run_once().returncode == 0
    assert states(site) == ["completed.json"] * 3
    steps = [(entry.step, bool(entry.used_by)) for entry in report(site).artifacts]
    assert steps == [(CollectionStep.HIDE, False)] * 2 + [(CollectionStep.KEEP, True)]
    assert not report(site).enabled
    assert all(entry.size == 2 for entry in report(site).artifacts)


def test_what_is_not_referred_to_is_hidden_and_after_the_grace_time_removed(site: Site) -> None:
    assert "\nCollected: 2 artifacts hidden; " in collect(site)
    assert states(site) == [HIDDEN, HIDDEN, "completed.json"]
    assert [entry.step for entry in report(site).collected] == [CollectionStep.REMOVE] * 2
    assert all("hidden" in e for e in site.statuses()["a"]["history"][1:3])
    assert "Collected: " not in collect(site)
    assert states(site) == [HIDDEN, HIDDEN, "completed.json"]
    assert "\nCollected: 2 artifacts removed.\n" in collect(site, grace=SOON)
    assert states(site) == ["nothing", "nothing", "completed.json"]
    assert report(site).collected == ()
    assert site.phases() == {"a": "Ready"}
    assert site.ran() == {}


def test_a_revert_within_the_grace_time_takes_back_and_runs_nothing(site: Site) -> None:
    collect(site)
    site.scratch("a", params={"epochs": 1})
    done = site.sync()
    assert done.returncode == 0, done.stderr
    assert site.ran() == {}
    assert site.phases() == {"a": "Ready"}
    assert states(site) == ["completed.json", HIDDEN, "completed.json"]
    assert site.statuses()["a"]["artifact"]["url"].rstrip("/") == str(
        artifacts(site)[0].as_uri()
    ).rstrip("/")


def test_a_revert_to_what_was_removed_makes_it_anew(site: Site) -> None:
    collect(site)
    collect(site, grace=SOON)
    site.scratch("a", params={"epochs": 1})
    assert site.sync().returncode == 0
    assert site.ran() == {"a": 1}
    assert site.phases() == {"a": "Ready"}
    assert states(site)[0] == "completed.json"
    # It is another one: neither its record nor its marker is of the one that was removed.
    assert site.run_once().returncode == 0
    assert states(site)[0] == "completed.json"


def test_a_marker_moved_back_by_hand_is_an_undo_that_lasts(site: Site) -> None:
    collect(site)
    old = artifacts(site)[0]
    (old / HIDDEN).rename(old / "completed.json")
    collect(site, days=1)
    assert states(site) == ["completed.json", "completed.json", "completed.json"]
    assert "restored" in site.statuses()["a"]["history"][1]


def test_an_undo_counts_in_the_collection_that_learns_of_it(site: Site) -> None:
    collect(site)
    old = artifacts(site)[0]
    (old / HIDDEN).rename(old / "completed.json")
    collect(site, keep=1, days=0)
    assert states(site) == ["completed.json", HIDDEN, "completed.json"], "it is the newest now"


def test_a_kill_before_a_step_was_recorded_loses_nothing(site: Site) -> None:
    """The marker is hidden, and no record says so: a revert takes it back all the same."""
    retention(site, enabled=True)
    old = artifacts(site)[0]
    old.chmod(0o755)
    (old / "completed.json").rename(old / HIDDEN)
    site.scratch("a", params={"epochs": 1})
    assert site.sync().returncode == 0
    assert site.ran() == {}
    assert states(site)[0] == "completed.json"


def test_the_base_of_what_stays_stays_too(site: Site) -> None:
    site.finetune("b", "a")
    assert site.sync().returncode == 0
    site.scratch("a", params={"epochs": 4})
    site.edit("b.yaml", "spec:", "spec:\n  suspend: true")
    assert site.sync().returncode == 0
    collect(site)
    assert states(site) == [HIDDEN, HIDDEN, "completed.json", "completed.json"]
    key = TaskKey(artifacts(site)[2].name)
    (base,) = (entry for entry in report(site).artifacts if entry.key == key)
    assert any(text.startswith("input of") for text in base.used_by)


def test_artifacts_of_a_removed_object_go_in_the_end(site: Site) -> None:
    paths = artifacts(site)
    site.remove("a.yaml")
    site.script("src/b/train.sh", 'echo b > "$MODEL_DIR/weights"\n')
    site.scratch("b")
    assert site.sync().returncode == 0
    retention(site, enabled=True, keep=0)
    assert site.run_once().returncode == 0
    assert all((path / HIDDEN).exists() for path in paths)
    retention(site, enabled=True, keep=0, grace=SOON)
    assert site.run_once().returncode == 0
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("bad.yaml", "kind: Model\nmetadata: {name: x}\nspec: {sorce: 1}\n", "manifest of Model"),
        ("bad.yaml", "kind: Model\nmetadata: {name: [}\n", "manifest"),
        (
            "bad.yaml",
            "kind: Model\nmetadata: {name: x}\nspec: {source: {git: {url: 'file:///nowhere'}}}\n",
            "what Model default/x asks for is not known",
        ),
    ],
)
def test_nothing_is_collected_on_a_doubtful_read(
    site: Site, file: str, text: str, told: str
) -> None:
    site.write(file, text)
    retention(site, enabled=True)
    site.sync()
    assert states(site) == ["completed.json"] * 3
    (withheld,) = report(site).withheld
    assert told in withheld.message
    assert [e.step for e in report(site).collected] == [CollectionStep.WITHHOLD] * 2


def test_an_unreadable_marker_is_a_doubt(site: Site) -> None:
    middle = artifacts(site)[1]
    middle.chmod(0o755)
    (middle / "completed.json").write_text("{")
    collect(site)
    assert states(site) == ["completed.json"] * 3
    assert report(site).withheld[0].reason == "CollectionUnreadable"


def test_what_takes_more_than_the_share_waits_for_its_release(site: Site) -> None:
    collect(site, maxShare=0.5)
    assert states(site) == ["completed.json"] * 3
    (held,) = report(site).withheld
    assert held.reason == "CollectionTooLarge"
    assert held.hold is not None
    site.write(".reconciler/release", f"{held.hold}\n")
    site.push()
    collect(site, maxShare=0.5)
    assert states(site) == [HIDDEN, HIDDEN, "completed.json"]


def test_what_a_killed_collection_has_hidden_is_taken_back_with_retention_disabled(
    site: Site,
) -> None:
    oldest = artifacts(site)[0]
    (oldest / "completed.json").rename(oldest / HIDDEN)  # and no status was pushed
    site.scratch("a", params={"epochs": 1})
    assert site.sync().returncode == 0
    assert not site.ran()
    assert states(site)[0] == "completed.json"


def test_other_heads_are_looked_up_only_where_they_can_matter(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.trained("a")
    assert site.sync().returncode == 0
    folder = site.root / "state" / "git"
    assert (folder / "manifests.git").exists()
    assert not (folder / "retention.git").exists()
    retention(site, enabled=True)
    site.run_once()
    assert (folder / "retention.git").exists()
