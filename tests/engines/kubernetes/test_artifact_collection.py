"""Orders on artifacts in a bucket: the Job's program, killed anywhere, and what is read of it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine import EngineError, OrderKind, OrderOutcome, OrderResult, Wanted
from reconciler.engines.kubernetes.artifact_collection import (
    Orders,
    read_artifacts,
    read_outcomes,
    render_collection,
)
from reconciler.engines.kubernetes.inventory import Folder, folders
from reconciler.engines.kubernetes.wrapper import MOUNT
from reconciler.engines.local import ArtifactFacts, ArtifactState
from reconciler.engines.local.marker import write_marker
from reconciler.types import JSON, TaskKey, TaskKind
from tests.engines.kubernetes.container import BUSYBOX, as_the_kubelet, need_busybox, write_tree
from tests.engines.kubernetes.specs import check_schema, settings_of

KEYS = [TaskKey(digit * 40) for digit in "123456"]
ONE, TWO, THREE, FOUR, FIVE, _ = KEYS
URL = "file:///data/clusters/local/namespaces/team"
PLACES = {
    ONE: "models/a",
    TWO: "models/a",
    THREE: "datasets/b",
    FOUR: "models/a/evaluations",
    FIVE: "models/c",
}
LATER, PAST = 4_000_000_000, 1_000_000_000
COMPLETE, HIDDEN, REMOVING = ArtifactState
#: Runs a command without the privilege to open what other users keep for themselves.
BOUNDED = ["/usr/bin/setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
other_users = pytest.mark.skipif(
    os.geteuid() != 0, reason="another user's files need root to be written here"
)
FILES = {"weights": b"123", "checkpoints/1": b"45", "logs/attempt-1.log": b"x"}


def wanted(key: TaskKey) -> Wanted:
    task = TaskKind.EVALUATE if "evaluations" in PLACES[key] else TaskKind.TRAIN
    return Wanted(task, key, f"{URL}/{PLACES[key]}/{key}/")


def path_of(key: TaskKey) -> str:
    return f"{PLACES[key]}/{key}"


def part(*keys: TaskKey) -> Folder:
    (found,) = folders(map(wanted, keys or PLACES))
    return found


class Bucket:
    """A namespace's part of a bucket, and a pod for each Job on it."""

    def __init__(self, root: Path) -> None:
        need_busybox()
        self.root = root
        self.folder = root / "bucket"
        self.folder.mkdir()
        self.pods = itertools.count(1)

    def artifact(
        self, key: TaskKey, state: ArtifactState = COMPLETE, lineage: Mapping[str, JSON] = {}
    ) -> Path:
        artifact = self.path(key)
        write_tree(artifact, FILES)
        now = datetime.now(UTC)
        write_marker(
            artifact, key=key, lineage=lineage, metrics={"loss": 0.5}, warnings=(),
            started=now, finished=now, gpu_seconds=7.5, attempt=1,
        )  # fmt: skip
        (artifact / COMPLETE).rename(artifact / state)
        return artifact

    def path(self, key: TaskKey) -> Path:
        return self.folder / PLACES[key] / key

    def state(self, key: TaskKey) -> ArtifactState | None:
        return next((each for each in ArtifactState if (self.path(key) / each).exists()), None)

    def job(
        self, orders: Orders, *, expires: float = LATER, kill: str = "", bounded: bool = False
    ) -> bytes:
        """Run the program of a Job on the bucket, and return its log.

        ``kill`` is a line of shell in which the program kills itself. ``bounded``: what belongs to
        other users is as closed to it as to any user but root.
        """
        home = self.root / f"pod-{next(self.pods)}"
        home.mkdir()
        settings = settings_of(self.root, buckets={"default": {"url": "file:///data"}})
        pod = render_collection(part(), orders, settings, expires=expires)[0]["spec"]["template"]
        (install,), (main,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
        command = [as_the_kubelet(each) for each in install["command"]]
        command[3] = str(home)
        subprocess.run([BUSYBOX, *command], check=True, env={})
        script = home / "collection.sh"
        text = script.read_text()
        script.write_text(text.replace("set -u", f"{kill}\nset -u", 1))
        values = {each["name"]: as_the_kubelet(each["value"]) for each in main["env"]}
        place = values["RECONCILER_ARTIFACT"]
        assert place == "/bucket"
        done = subprocess.run(
            [
                *(BOUNDED if bounded else ()),
                *(each.replace(MOUNT, str(home)) for each in main["command"]),
            ],
            env={**values, "RECONCILER_ARTIFACT": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # as in the log of a pod
            check=False,
            start_new_session=True,
        )
        assert done.returncode in (0, 1, -signal.SIGKILL), done
        return done.stdout

    def order(
        self, kind: OrderKind, key: TaskKey, *, expires: float = LATER, kill: str = ""
    ) -> OrderResult | None:
        output = self.job({path_of(key): kind}, expires=expires, kill=kill)
        return read_outcomes(output, part(key))[key] if b"end" in output else None

    def tree(self) -> list[str]:
        return sorted(str(each.relative_to(self.folder)) for each in self.folder.rglob("*"))


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


SIZE = 5  # without what is reserved


def test_artifacts_are_listed_with_what_they_were_made_from(bucket: Bucket) -> None:
    base: JSON = {"key": THREE, "url": 'a "key": "4"', "name": {"key": FIVE}}
    bucket.artifact(ONE, lineage={"base": base, "dataset": {"key": TWO}, "params": {"key": "x"}})
    bucket.artifact(TWO, HIDDEN, {"base": None})
    bucket.artifact(FOUR, REMOVING, {"artifact": {"key": ONE}})
    bucket.artifact(THREE).joinpath(COMPLETE).write_text("{}")
    bucket.artifact(ONE).joinpath("evaluations/x").mkdir(parents=True)
    bucket.artifact(ONE, lineage={"base": base, "dataset": {"key": TWO}, "params": {"key": "x"}})
    before = bucket.tree()
    found = read_artifacts(bucket.job({}), part())
    unreadable = found.pop(THREE)
    assert isinstance(unreadable, EngineError)
    assert found == {
        ONE: ArtifactFacts(state=COMPLETE, size=SIZE, inputs=(THREE, TWO)),
        TWO: ArtifactFacts(state=HIDDEN, size=SIZE),
        FOUR: ArtifactFacts(state=REMOVING, size=SIZE, inputs=(ONE,), evaluated=ONE),
        FIVE: None,
    }
    assert bucket.tree() == before


#: Notes each program that is run.
COUNT = "\n".join(
    f'{name}() {{ echo >>"$work/calls"; "$home/busybox" {name} "$@"; }}'
    for name in ("awk", "cat", "grep", "sed", "sort", "stat", "tr")
)


def test_a_list_takes_no_more_programs_for_more_artifacts(bucket: Bucket) -> None:
    calls: list[bytes] = []
    for keys in ([ONE], KEYS[1:5]):
        for key in keys:
            bucket.artifact(key)
        assert all(read_artifacts(bucket.job({}, kill=COUNT), part(*keys)).values())
        calls.append(max(bucket.root.glob("pod-*/work/calls")).read_bytes())
    assert calls[0] == calls[1]


def test_of_two_markers_that_of_the_earlier_state_counts(bucket: Bucket) -> None:
    artifact = bucket.artifact(ONE)
    for state in (HIDDEN, REMOVING):
        (artifact / state).write_bytes((artifact / COMPLETE).read_bytes())
    found = []
    for state in ArtifactState:
        facts = read_artifacts(bucket.job({}), part(ONE))[ONE]
        assert isinstance(facts, ArtifactFacts)
        found.append(facts.state)
        (artifact / state).unlink()
    assert found == [*ArtifactState]


def test_an_empty_bucket_has_lost_nothing(bucket: Bucket) -> None:
    with pytest.raises(EngineError, match="mounted"):
        read_artifacts(bucket.job({}), part())
    assert bucket.order(OrderKind.REMOVE, ONE) == OrderResult(OrderOutcome.FAILED)
    bucket.artifact(TWO)
    assert bucket.order(OrderKind.REMOVE, ONE) == OrderResult(OrderOutcome.GONE)


def test_the_last_artifact_is_gone_once_it_was_removed(bucket: Bucket) -> None:
    bucket.artifact(ONE, HIDDEN)
    bucket.job({path_of(ONE): OrderKind.REMOVE})  # and nobody has read what has come of it
    assert read_artifacts(bucket.job({}), part(ONE)) == {ONE: None}
    assert bucket.order(OrderKind.RESTORE, ONE) == OrderResult(OrderOutcome.GONE)
    # In the folder over which a bucket is mounted there is no such file.
    (mark,) = bucket.folder.glob(".*")
    mark.rename(bucket.root / "elsewhere")
    mark.symlink_to(bucket.root / "elsewhere")
    with pytest.raises(EngineError, match="mounted"):
        read_artifacts(bucket.job({}), part(ONE))
    assert bucket.order(OrderKind.RESTORE, ONE) == OrderResult(OrderOutcome.FAILED)
    mark.unlink()
    assert bucket.order(OrderKind.RESTORE, ONE) == OrderResult(OrderOutcome.FAILED)
    assert not [*bucket.folder.glob(".*")], "nothing is left where no artifact is"


def test_a_folder_that_cannot_be_read_is_no_empty_one(bucket: Bucket) -> None:
    bucket.artifact(ONE)
    bucket.artifact(THREE)
    half = 'find() { "$home/busybox" find ./models; return 1; }'  # an error of the second folder
    with pytest.raises(EngineError, match="whole"):
        read_artifacts(bucket.job({}, kill=half), part())
    assert bucket.order(OrderKind.HIDE, ONE, kill=half) is None
    assert bucket.state(ONE) is COMPLETE


def test_an_artifact_is_hidden_restored_and_removed(bucket: Bucket) -> None:
    bucket.artifact(ONE)
    other = bucket.artifact(TWO)
    hidden = OrderResult(OrderOutcome.HIDDEN)
    for _ in range(2):
        assert bucket.order(OrderKind.HIDE, ONE) == hidden
        assert bucket.state(ONE) is HIDDEN
    for _ in range(2):
        assert bucket.order(OrderKind.RESTORE, ONE) == OrderResult(OrderOutcome.COMPLETE)
        assert bucket.state(ONE) is COMPLETE
    # What is not hidden any more is not removed.
    assert bucket.order(OrderKind.REMOVE, ONE) == OrderResult(OrderOutcome.COMPLETE)
    assert bucket.order(OrderKind.HIDE, ONE) == hidden
    removed = bucket.order(OrderKind.REMOVE, ONE)
    assert removed is not None
    assert removed.outcome is OrderOutcome.REMOVED
    assert removed.freed > SIZE, "the marker and the logs count, too"
    assert not bucket.path(ONE).exists()
    assert bucket.order(OrderKind.REMOVE, ONE) == OrderResult(OrderOutcome.GONE)
    assert bucket.order(OrderKind.RESTORE, ONE) == OrderResult(OrderOutcome.GONE)
    assert {each.name for each in other.iterdir()} == {COMPLETE, "weights", "checkpoints", "logs"}


def test_the_rest_of_a_removal_is_no_artifact(bucket: Bucket) -> None:
    bucket.artifact(TWO)
    bucket.artifact(ONE, REMOVING).joinpath("weights").unlink()
    result = bucket.order(OrderKind.RESTORE, ONE)
    assert result is not None
    assert result.outcome is OrderOutcome.REMOVED
    assert not bucket.path(ONE).exists()


def test_a_late_job_refuses_its_orders(bucket: Bucket) -> None:
    bucket.artifact(ONE)
    bucket.artifact(TWO, HIDDEN)
    before = bucket.tree()
    late = OrderResult(OrderOutcome.LATE)
    assert bucket.order(OrderKind.HIDE, ONE, expires=PAST) == late
    assert bucket.order(OrderKind.REMOVE, TWO, expires=PAST) == late
    assert bucket.order(OrderKind.RESTORE, TWO, expires=PAST) == late
    assert bucket.tree() == before


def test_links_lead_nowhere(bucket: Bucket) -> None:
    kept = bucket.root / "kept"
    write_tree(kept, {"file": b"1"})
    bucket.artifact(TWO)
    artifact = bucket.artifact(ONE, HIDDEN)
    (artifact / "link").symlink_to(kept)
    (artifact / "link.txt").symlink_to(kept / "file")
    bucket.order(OrderKind.REMOVE, ONE)
    assert not artifact.exists()
    assert (kept / "file").read_bytes() == b"1"
    # A marker that is a link, or a folder in the place of the next one, is none.
    (bucket.artifact(ONE) / COMPLETE).rename(kept / "marker")
    (bucket.path(ONE) / COMPLETE).symlink_to(kept / "marker")
    assert bucket.order(OrderKind.HIDE, ONE) == OrderResult(OrderOutcome.GONE)
    (bucket.artifact(THREE) / HIDDEN).mkdir()
    assert bucket.order(OrderKind.HIDE, THREE) == OrderResult(OrderOutcome.FAILED)
    assert bucket.state(THREE) is COMPLETE


#: Kills the program before its n-th change of the bucket.
KILL = """left() { cat "$work/left" 2>/dev/null || echo %d; }
change() {
    next=$(($(left) - 1))
    echo $next >"$work/left"
    [ $next != 0 ] || kill -KILL 0
}
mv() { change; "$home/busybox" mv "$@"; }
rm() { change; "$home/busybox" rm "$@"; }
xargs() {
    case "$*" in *rm*) ;; *) "$home/busybox" xargs "$@"; return ;; esac
    "$home/busybox" tr '\\0' '\\n' >"$work/names"
    while IFS= read -r name <&5; do rm -rf -- "$name"; done 5<"$work/names"
}
sync() { change; "$home/busybox" sync "$@"; }"""


@pytest.mark.parametrize("kind", OrderKind)
def test_killed_anywhere_nothing_half_removed_is_an_artifact(
    bucket: Bucket, kind: OrderKind
) -> None:
    bucket.artifact(TWO)
    before = COMPLETE if kind is OrderKind.HIDE else HIDDEN
    kills = 0
    for step in range(1, 40):
        artifact = bucket.artifact(ONE, before)
        result = bucket.order(kind, ONE, kill=KILL % step)
        if bucket.state(ONE) in (COMPLETE, HIDDEN):
            assert all((artifact / name).read_bytes() == data for name, data in FILES.items())
        again = bucket.order(kind, ONE)
        assert again is not None
        if kind is OrderKind.REMOVE:
            assert again.outcome in (OrderOutcome.REMOVED, OrderOutcome.GONE)
            assert not (artifact / "weights").exists()
            assert bucket.state(ONE) is None
        else:
            assert bucket.state(ONE) is (HIDDEN if kind is OrderKind.HIDE else COMPLETE)
        if result is not None:
            break
        kills += 1
        for left in ArtifactState:
            (artifact / left).unlink(missing_ok=True)
    assert result is not None, "it comes to an end"
    assert kills >= (5 if kind is OrderKind.REMOVE else 2)


@other_users
def test_what_other_users_keep_for_themselves_is_removed(bucket: Bucket) -> None:
    bucket.artifact(TWO)
    artifact = bucket.artifact(ONE, HIDDEN)
    for each in (artifact, *artifact.rglob("*")):
        os.chown(each, 1000, 1000)
    (artifact / "checkpoints").chmod(0o1700)
    artifact.chmod(0o500)
    result = bucket.order(OrderKind.REMOVE, ONE)
    assert result is not None
    assert result.outcome is OrderOutcome.REMOVED


@other_users
def test_what_cannot_be_removed_keeps_no_other_outcome(bucket: Bucket) -> None:
    bucket.artifact(ONE, HIDDEN)
    for each in (rest := bucket.artifact(THREE, REMOVING), *rest.rglob("*")):
        os.chown(each, 1000, 1000)
    log = bucket.job(dict.fromkeys(map(path_of, (THREE, ONE)), OrderKind.RESTORE), bounded=True)
    assert read_outcomes(log, part()) == {
        THREE: OrderResult(OrderOutcome.FAILED),
        ONE: OrderResult(OrderOutcome.COMPLETE),
    }
    assert bucket.state(ONE) is COMPLETE


@other_users
def test_a_marker_that_cannot_be_opened_voids_no_list(bucket: Bucket) -> None:
    bucket.artifact(ONE)
    marker = bucket.artifact(THREE) / COMPLETE
    os.chown(marker, 1000, 1000)
    marker.chmod(0o600)
    found = read_artifacts(bucket.job({}, bounded=True), part(ONE, THREE))
    assert isinstance(found[THREE], EngineError)
    assert found[ONE] == ArtifactFacts(state=COMPLETE, size=SIZE)


@other_users
@pytest.mark.parametrize("mode", [0o700, 0o711, 0o744])
def test_a_folder_that_its_user_keeps_closed_voids_no_other(bucket: Bucket, mode: int) -> None:
    for key in (ONE, THREE, FOUR, FIVE):
        bucket.artifact(key)
    (bucket.folder / "datasets/Not ours").mkdir()
    name = bucket.path(FIVE).parent  # of all artifacts of an object
    for closed in (bucket.path(THREE), name, bucket.folder / "datasets/Not ours"):
        os.chown(closed, 1000, 1000)
        closed.chmod(mode)
    found = read_artifacts(bucket.job({}, bounded=True), part())
    assert {found.pop(key) for key in (ONE, FOUR)} == {ArtifactFacts(state=COMPLETE, size=SIZE)}
    assert found.pop(TWO) is None
    assert {key: "may not open" in str(each) for key, each in found.items()} == {
        THREE: True,
        FIVE: True,
    }
    orders = dict.fromkeys(map(path_of, PLACES), OrderKind.REMOVE)
    outcomes = read_outcomes(bucket.job(orders, bounded=True), part())
    assert {key: outcomes[key].outcome for key in (TWO, THREE, FIVE)} == {
        TWO: OrderOutcome.GONE,
        THREE: OrderOutcome.FAILED,
        FIVE: OrderOutcome.FAILED,
    }
    # Where nothing but such a folder is, the bucket may not be mounted.
    for key in (ONE, FOUR):
        (bucket.path(key) / COMPLETE).unlink()
    (bucket.folder / ".reconciler-part").unlink()
    found = read_artifacts(bucket.job({}, bounded=True), part())
    assert all(isinstance(each, EngineError) for each in found.values())
    assert "mounted" in str(found[TWO])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"end\n",
        b"end 1\n",
        b"end 0\n",
        b"end 1 1\n",
        b"a b\n",
        b"a\nend 1 1\n",
        b"end 0 x\n",
        b"a b\nend " + b"1" * 5000 + b" 1\n",
        f"models/a/{ONE} complete 1 - - -\nend 2 2\n".encode(),
    ],
)
def test_a_list_with_a_missing_part_counts_for_nothing(text: bytes) -> None:
    with pytest.raises(EngineError, match=r"whole|no list"):
        read_artifacts(text, part())
    with pytest.raises(EngineError, match=r"whole|no list"):
        read_outcomes(text, part())


@pytest.mark.parametrize(
    "said",
    [
        "",
        "complete",
        "complete x - - -",
        "odd 1 - - -",
        "complete 1 - -",
        "complete 1 key - -",
        f"complete {'1' * 5000} - - -",
    ],
)
def test_a_line_that_no_job_prints_is_a_doubt(said: str) -> None:
    text = f"models/a/{ONE} {said}\nend 1 1\n".encode()
    assert isinstance(read_artifacts(text, part(ONE))[ONE], EngineError)


@pytest.mark.parametrize(
    "line", ["a odd 0", "a gone", "a gone x", f"a gone {'1' * 5000}", "a  gone 0", "a gone 0 1"]
)
def test_what_is_no_outcome_counts_for_nothing(line: str) -> None:
    with pytest.raises(EngineError, match="no outcome"):
        read_outcomes(f"{line}\nend 1 1\n".encode(), part())


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_a_log_may_hold_anything(text: bytes) -> None:
    for read in (read_artifacts, read_outcomes):
        try:
            found = read(text + b"\nend 1 1\n", part())
        except EngineError:
            continue
        assert found.keys() <= set(PLACES)


@pytest.mark.parametrize(
    ("bucket_", "added"),
    [
        ({"url": "pvc://models/prod"}, ["DAC_OVERRIDE", "FOWNER"]),
        ({"url": "file:///models/prod"}, ["DAC_OVERRIDE", "FOWNER"]),
        ({"url": "b2://models/prod", "driver": "rclone"}, None),
    ],
    ids=lambda each: each["url"] if isinstance(each, dict) else "",
)
def test_the_job_may_do_what_its_orders_need_and_no_more(
    tmp_path: Path, bucket_: dict[str, str], added: list[str] | None
) -> None:
    template = {"collect": {"spec": {"priorityClassName": "low"}}}
    settings = settings_of(
        tmp_path, buckets={"default": bucket_}, kubernetes={"templates": template}
    )
    url = f"{bucket_['url']}/clusters/local/namespaces/team/models/a/{ONE}/"
    (folder,) = folders([Wanted(TaskKind.TRAIN, ONE, url)])
    for orders in ({}, {f"models/a/{ONE}": OrderKind.HIDE}):
        objects = render_collection(folder, orders, settings, expires=LATER)
        check_schema(objects)
        job = objects[0]
        assert job["metadata"]["namespace"] == "team"
        assert job["metadata"]["labels"]["substratus.ai/task"] == "collect"
        pod = job["spec"]["template"]["spec"]
        assert pod["priorityClassName"] == "low"
        (main,) = pod["containers"]
        security = main["securityContext"]
        assert not security["allowPrivilegeEscalation"]
        assert security["readOnlyRootFilesystem"]
        capabilities = {"drop": ["ALL"]}
        if orders and added is not None:
            assert security["runAsUser"] == 0
            assert security["capabilities"] == {**capabilities, "add": added}
        else:
            assert security["runAsNonRoot"]
            assert security["capabilities"] == capabilities
        mounts = [m for m in main["volumeMounts"] if m["mountPath"].startswith("/bucket")]
        assert [mount.get("readOnly", False) for mount in mounts] == [
            not orders or bucket_.get("driver") == "rclone"
        ]
