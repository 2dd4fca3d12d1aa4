"""Images that nothing refers to are deleted from a real registry, and no others."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from reconciler.daemon.pull_request_planner import DaemonState
from reconciler.daemon.retention import Retention
from reconciler.daemon.retention_heads import Found
from reconciler.daemon.retention_sources import RetentionSources
from reconciler.daemon.status_store import StatusStore
from reconciler.engine import Capacity, FailureClass, RunPhase
from reconciler.engines.local import ArtifactPlaces
from reconciler.image_registry import ImageRegistry, RegistryError
from reconciler.metrics import Metrics
from reconciler.planner import OwnCluster, Plan, Reference, Referrer, RetentionPolicy, Role
from reconciler.status import CollectionReport, CollectionStep
from reconciler.types import TaskKey, TaskKind
from reconciler.workspace import PlanState
from tests.cluster.build import programs
from tests.cluster.images import Image
from tests.cluster.ports import free
from tests.e2e.site import git, until
from tests.git.copies import status_branch_at
from tests.planner.world import World, model, scratch
from tests.servers import Handler, Serving

pytestmark = [pytest.mark.cluster, pytest.mark.node]
DAY = timedelta(days=1)
BARE = RetentionPolicy(enabled=True, keep=0, days=0, grace=timedelta(0), max_share=1.0)
CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: {deletes}}}}}
http: {{addr: "{host}"}}
"""


def sizes(registry: ImageRegistry, image: str) -> int | RegistryError | None:
    """Ask a registry beside the test's own loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(registry.sizes, [image]).result()[image]


def serve(folder: Path, *, deletes: bool = True) -> tuple[str, subprocess.Popen[bytes]]:
    (port,) = free(1)
    host, config = f"127.0.0.1:{port}", folder / f"{port}.yaml"
    deletion = "true" if deletes else "false"
    config.write_text(CONFIG.format(folder=folder / "registry", deletes=deletion, host=host))
    process = subprocess.Popen([programs("node")["registry"], "serve", config])
    registry = ImageRegistry(host=host, insecure=True)
    absent = f"{host}/none@sha256:{'0' * 64}"

    def answers() -> bool:
        found = sizes(registry, absent)
        return not (isinstance(found, RegistryError) and found.silent)

    until(answers, what="the registry")
    return host, process


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    host, process = serve(tmp_path_factory.mktemp("registry"))
    yield host
    process.terminate()
    process.wait()


@dataclass
class Site(World):
    """A world whose builds push to a registry, and the collection of them."""

    host: str = ""
    repository: str = ""
    policy: RetentionPolicy = BARE
    #: The content of the next images; that of one build is its key.
    content: str | None = None
    others: list[Reference] = field(default_factory=list)
    #: What happens while other heads are read.
    meanwhile: Callable[[], object] = lambda: None

    def succeed(self, name: str) -> None:
        super().succeed(name)
        spec = self.specs[name]
        if spec.build is not None:
            image = Image()
            image.text("/content", self.content or spec.key)
            pushed = image.push(self.host, f"{self.repository}/{spec.namespace}", spec.key)
            run = self.runs[name]
            assert run.result is not None
            self.runs[name] = replace(run, result=replace(run.result, image=pushed))

    def build(self, tree: str, name: str = "a") -> str:
        """Change the source and run what it asks for; return its image."""
        self.files[f"{name}.yaml"] = scratch(name)
        self.trees[f".//src/{name}"] = tree
        self.settle(lambda world, run: world.succeed(run))
        image = self.records[model(name)].image
        assert image is not None
        return image

    def retrain(self, tree: str) -> None:
        """Go back to a source, with other params, so that its image is needed."""
        self.trees[".//src/a"] = tree
        self.files["a.yaml"] = scratch("a").replace("epochs: 3", "epochs: 9")
        self.settle(lambda world, run: world.succeed(run))

    def retention(self, store: StatusStore, registry: ImageRegistry | None = None) -> Retention:
        return Retention(
            RetentionSources(
                policy=self.policy,
                own=OwnCluster(cluster="local", registry=f"{self.host}/{self.repository}"),
                places=ArtifactPlaces(),
                images=registry or ImageRegistry(host=self.host, insecure=True),
                heads=self.heads,
            ),
            store,
            Metrics(),
            plan=lambda: self.planned,
            state=self.state,
            replan=lambda: self.replans.append(True),
        )

    def heads(self, _: DaemonState) -> Found:
        self.meanwhile()
        return Found(references=self.others)

    planned: Plan | None = None
    replans: list[bool] = field(default_factory=list)

    def state(self) -> DaemonState:
        plan = PlanState(
            records=self.records,
            ledger=self.ledger,
            runs=self.runs,
            capacity=Capacity(containers=True),
            now=self.now,
        )
        return DaemonState(head=self.head, state=plan)

    async def collect_images(
        self, store: StatusStore, registry: ImageRegistry | None = None
    ) -> list[str]:
        """Collect as after a sync; return the keys that were removed."""
        self.planned = self.sync()
        store.records, store.ledger = self.records, self.ledger
        return [each.name for each in await self.retention(store, registry).collect()]

    def is_there(self, image: str) -> bool:
        found = sizes(ImageRegistry(host=self.host, insecure=True), image)
        assert not isinstance(found, RegistryError), found
        return found is not None

    def key_of(self, image: str) -> TaskKey:
        (key,) = {
            entry.key
            for record in self.records.values()
            for entry in record.history
            if entry.task.value == "build" and entry.image == image
        }
        return key


@pytest.fixture
def site(served: str, request: pytest.FixtureRequest) -> Site:
    return Site(host=served, repository=request.node.name.replace("[", "-").strip("]"))


@pytest.fixture
def store(tmp_path: Path) -> StatusStore:
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    branch = status_branch_at(tmp_path / "status.git", (tmp_path / "remote.git").as_uri())
    return StatusStore(branch, cluster="local", instance="default", path="")


def steps(store: StatusStore) -> list[tuple[CollectionStep, bool]]:
    report = store.collection or CollectionReport()
    return [(entry.step, entry.image) for entry in report.collected]


async def test_what_no_object_uses_is_noted_and_after_the_grace_time_deleted(
    site: Site, store: StatusStore
) -> None:
    site.policy = replace(BARE, grace=7 * DAY)
    old, new = site.build("one"), site.build("two")
    assert await site.collect_images(store) == []
    assert site.key_of(old) in store.ledger.hidden
    assert site.is_there(old)
    assert steps(store) == [(CollectionStep.REMOVE, True)]
    assert all(entry.size for entry in (store.collection or CollectionReport()).collected)
    assert await site.collect_images(store) == []
    assert site.is_there(old)
    key, site.policy = site.key_of(old), BARE
    assert await site.collect_images(store) == [key]
    assert (site.is_there(old), site.is_there(new)) == (False, True)
    (entry,) = (e for e in site.records[model("a")].history if e.key == key)
    assert entry.collected is not None
    assert steps(store) == []


async def test_a_revert_within_the_grace_time_builds_nothing(
    site: Site, store: StatusStore
) -> None:
    site.policy = replace(BARE, grace=7 * DAY)
    old, _ = site.build("one"), site.build("two")
    await site.collect_images(store)
    site.created.clear()
    site.trees[".//src/a"] = "one"
    assert not await site.retention(store).restore_desired(site.plan())
    assert not store.ledger.hidden
    site.settle(lambda world, run: world.succeed(run))
    assert ("build", "build") not in site.made()
    site.policy = BARE
    await site.collect_images(store)
    await site.collect_images(store)
    assert site.is_there(old)


class Counted(ImageRegistry):
    """A registry of which each request for sizes is counted."""

    requests: ClassVar[list[int]] = []

    def sizes(self, images: Iterable[str]) -> dict[str, int | RegistryError | None]:
        asked = [*images]
        self.requests.append(len(asked))
        return super().sizes(asked)


async def test_a_sync_asks_once_for_all_images_that_it_takes_back(
    site: Site, store: StatusStore
) -> None:
    site.policy = replace(BARE, grace=7 * DAY)
    for tree in ("one", "two"):
        for name in ("a", "b"):
            site.build(f"{tree} of {name}", name)
    await site.collect_images(store)
    assert len(store.ledger.hidden) == 2
    registry = Counted(host=site.host, insecure=True)
    Counted.requests.clear()
    for name in ("a", "b"):
        site.trees[f".//src/{name}"] = f"one of {name}"
    assert not await site.retention(store, registry).restore_desired(site.plan())
    assert not store.ledger.hidden
    assert Counted.requests == [2]


async def test_a_revert_to_what_was_deleted_builds_it_anew(site: Site, store: StatusStore) -> None:
    old, _ = site.build("one"), site.build("two")
    for _ in range(2):
        await site.collect_images(store)
    assert not site.is_there(old)
    site.created.clear()
    site.retrain("one")
    assert ("build", "build") in site.made()
    assert site.is_there(old)


async def test_a_daemon_that_was_killed_after_the_deletion_learns_of_it(
    site: Site, store: StatusStore
) -> None:
    old, _ = site.build("one"), site.build("two")
    await site.collect_images(store)
    registry = ImageRegistry(host=site.host, insecure=True)
    await asyncio.to_thread(registry.delete, old, ())  # and nothing was recorded
    key = site.key_of(old)
    site.trees[".//src/a"] = "one"
    store.records, store.ledger = site.records, site.ledger
    assert await site.retention(store).restore_desired(site.plan())
    assert key in store.ledger.collected
    site.retrain("one")
    assert site.is_there(old)


@pytest.mark.parametrize("by", ["digest", "build"])
async def test_what_another_head_names_stays(site: Site, store: StatusStore, by: str) -> None:
    old, _ = site.build("one"), site.build("two")
    name = TaskKey(old.rpartition("@")[2]) if by == "digest" else site.key_of(old)
    site.others = [(name, Referrer(Role.CLUSTER, "prod"))]
    for _ in range(2):
        assert await site.collect_images(store) == []
    assert site.is_there(old)


async def test_an_artifact_that_is_being_restored_keeps_its_own_image_alone(
    site: Site, store: StatusStore
) -> None:
    site.policy = replace(BARE, grace=7 * DAY)
    old = [site.build(f"one of {name}", name) for name in ("a", "b")]
    made = [site.records[model(name)].artifact for name in ("a", "b")]
    for name in ("a", "b"):
        site.build(f"two of {name}", name)
    assert made[0] is not None
    site.ledger.hidden[made[0].key] = site.now
    site.ledger.withdraw(made[0].key)
    await site.collect_images(store)
    assert [site.key_of(image) in store.ledger.hidden for image in old] == [False, True]


async def test_an_image_of_two_builds_stays_for_either(site: Site, store: StatusStore) -> None:
    site.content = "the same"
    old = site.build("one")
    assert site.build("two") == old
    for _ in range(2):
        assert await site.collect_images(store) == []
    assert site.is_there(old)
    site.content = None
    site.build("three")
    await site.collect_images(store)
    assert len(await site.collect_images(store)) == 1
    assert not site.is_there(old)


async def test_an_image_that_was_made_anew_during_a_collection_stays(
    site: Site, store: StatusStore
) -> None:
    site.content = "the same"
    old = site.build("one")
    site.content = None
    site.build("two")
    await site.collect_images(store)
    assert site.key_of(old) in store.ledger.hidden

    def build_the_same() -> None:
        site.content = "the same"
        assert site.build("three") == old
        site.planned = site.sync()
        store.records = site.records

    site.meanwhile = build_the_same
    assert await site.collect_images(store) == []
    assert site.is_there(old)


async def test_nothing_is_deleted_while_a_build_of_the_namespace_goes_on(
    site: Site, store: StatusStore
) -> None:
    old, _ = site.build("one"), site.build("two")
    await site.collect_images(store)
    site.trees[".//src/a"] = "three"
    assert await site.collect_images(store) == []
    (run,) = (run for run in site.runs.values() if run.live)
    site.runs[run.name] = replace(run, phase=RunPhase.RUNNING)
    assert await site.collect_images(store) == []
    assert site.is_there(old)


async def test_a_build_that_is_tried_again_soon_keeps_images(
    site: Site, store: StatusStore
) -> None:
    old, _ = site.build("one"), site.build("two")
    await site.collect_images(store)
    site.trees[".//src/a"] = "three"
    site.sync()
    (name,) = site.live()
    site.fail(name, FailureClass.UNAVAILABLE)
    assert await site.collect_images(store) == []
    assert not site.live()
    assert site.is_there(old)


@pytest.mark.parametrize("why", ["failed", "suspended"])
async def test_a_build_that_does_not_start_keeps_no_image(
    site: Site, store: StatusStore, why: str
) -> None:
    old, _ = site.build("one"), site.build("two")
    await site.collect_images(store)
    site.trees[".//src/a"] = "three"
    if why == "failed":
        site.sync()
        (name,) = site.live()
        site.fail(name)
    else:
        site.files["a.yaml"] = scratch("a").replace("spec:\n", "spec:\n  suspend: true\n", 1)
    (build,) = (d for d in site.plan().decisions if d.task.kind is TaskKind.BUILD)
    assert store.ledger.result(build.task.key) is None
    assert len(await site.collect_images(store)) == 1
    assert not site.is_there(old)


async def test_an_image_that_somebody_deleted_is_built_anew(site: Site, store: StatusStore) -> None:
    site.policy = replace(BARE, keep=3)
    image = site.build("one")
    key = site.key_of(image)
    registry = ImageRegistry(host=site.host, insecure=True)
    retention = site.retention(store)
    site.planned = site.sync()
    store.records, store.ledger = site.records, site.ledger
    await retention.collect()
    await asyncio.to_thread(registry.delete, image, ())
    for _ in range(50):  # the registry is asked again from time to time
        await retention.collect()
        if key in store.ledger.losses:
            break
    assert key in store.ledger.losses
    assert site.replans
    site.created.clear()
    site.retrain("one")
    assert ("build", "build") in site.made()
    assert site.is_there(image)
    (lost,) = (e for e in site.records[model("a")].history if e.lost is not None)
    assert lost.key == key


async def test_an_invented_entry_deletes_no_image_of_others(site: Site, store: StatusStore) -> None:
    old, _ = site.build("one"), site.build("two")
    await site.collect_images(store)
    image = Image()
    image.text("/content", "of another cluster")
    other = image.push(site.host, f"{site.repository}/default", "else")
    # The status branch says that this was the build's, and is hidden.
    ref, key = model("a"), site.key_of(old)
    record, complete = store.records[ref], store.ledger.completed[key]
    history = tuple(replace(e, image=other) if e.key == key else e for e in record.history)
    site.records[ref] = replace(record, history=history)
    result = replace(complete.result, image=other)
    store.ledger.completed[key] = replace(complete, result=result)
    assert await site.collect_images(store) == []
    assert site.is_there(other)
    assert store.collection is not None
    (withheld,) = store.collection.withheld
    assert "has another image than" in withheld.message


async def test_an_image_whose_tag_leads_elsewhere_is_kept_and_others_go(
    site: Site, store: StatusStore
) -> None:
    odd, plain, _ = site.build("one"), site.build("two"), site.build("three")
    await site.collect_images(store)
    moved = Image()
    moved.text("/content", "something else")
    moved.push(site.host, f"{site.repository}/default", site.key_of(odd))
    assert await site.collect_images(store) == [site.key_of(plain)]
    assert (site.is_there(odd), site.is_there(plain)) == (True, False)
    assert store.collection is not None
    (withheld,) = store.collection.withheld
    assert "has another image than" in withheld.message


async def test_a_registry_without_deletion_is_told_of_once(
    site: Site, store: StatusStore, tmp_path: Path
) -> None:
    site.host, process = serve(tmp_path, deletes=False)
    try:
        images = [site.build(tree) for tree in ("one", "two", "three", "four")]
        for _ in range(2):
            assert await site.collect_images(store) == []
        assert all(map(site.is_there, images))
        assert store.collection is not None
        (withheld,) = store.collection.withheld
        assert withheld.reason == "ImagesKept"
        assert "does not delete: status 405, UNSUPPORTED" in withheld.message
        assert not withheld.keeps_all
        assert steps(store) == [(CollectionStep.REMOVE, True)] * 3
    finally:
        process.terminate()
        process.wait()


async def test_a_registry_that_does_not_answer_keeps_its_images(
    site: Site, store: StatusStore
) -> None:
    site.build("one")
    site.build("two")
    (port,) = free(1)
    silent = ImageRegistry(host=f"127.0.0.1:{port}", insecure=True)
    assert await site.collect_images(store, silent) == []
    assert store.collection is not None
    (withheld,) = store.collection.withheld
    assert withheld.reason == "ImagesKept"
    assert not store.ledger.hidden


async def test_by_default_images_are_only_listed(site: Site, store: StatusStore) -> None:
    site.policy = replace(BARE, enabled=False)
    old, _ = site.build("one"), site.build("two")
    (port,) = free(1)  # not even asked
    await site.collect_images(store, ImageRegistry(host=f"127.0.0.1:{port}", insecure=True))
    assert steps(store) == [(CollectionStep.HIDE, True)]
    assert store.collection is not None
    assert not store.collection.withheld
    assert site.is_there(old)
    assert not store.ledger.hidden


async def test_images_elsewhere_are_none_of_ours(site: Site, store: StatusStore) -> None:
    old, _ = site.build("one"), site.build("two")
    site.repository += "-2"
    for _ in range(2):
        assert await site.collect_images(store) == []
    assert steps(store) == []
    site.repository = site.repository.removesuffix("-2")
    assert site.is_there(old)


# -- credentials ---------------------------------------------------------------------------------


class Guarded(Serving):
    """A registry that asks for a token, as most do."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.deletes = 202
        self.manifest = b'{"config": {"size": 2}, "layers": [{"size": 40}]}'
        self.challenge = 'Bearer realm="http://{host}/token",service="s"'
        asked, guarded = self.asked, self

        class Answers(Handler):
            def do_GET(self) -> None:  # noqa: N802
                told = self.headers.get("Authorization", "")
                asked.append((f"{self.command} {self.path}", told))
                if self.path.startswith("/token?"):
                    good = told == "Basic " + base64.b64encode(b"robot:pass:word").decode()
                    self.answer(200 if good else 401, (), b'{"token": "t"}')
                elif told != "Bearer t":
                    challenge = guarded.challenge.format(host=self.headers["Host"])
                    challenge += ',scope="repository:m:delete"'
                    self.answer(401, [("WWW-Authenticate", challenge)])
                else:
                    manifest = guarded.manifest
                    deletes = self.command == "DELETE"
                    status = guarded.deletes if deletes else 200
                    self.answer(status, (), b"" if deletes else manifest)

            do_DELETE = do_GET  # noqa: N815

        self.serve(ThreadingHTTPServer(("127.0.0.1", 0), Answers))


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    server = Guarded()
    yield server
    server.close()


Written = Callable[[dict[str, str]], Path]


@pytest.fixture
def written(tmp_path: Path, guarded: Guarded) -> Written:
    def write(entry: dict[str, str]) -> Path:
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"auths": {f"127.0.0.1:{guarded.port}": entry}}))
        return file

    return write


@pytest.mark.parametrize(
    "entry",
    [
        {"auth": base64.b64encode(b"robot:pass:word").decode()},
        {"username": "robot", "password": "pass:word"},
    ],
)
def test_a_token_is_got_with_the_credentials_of_the_file(
    guarded: Guarded, written: Written, entry: dict[str, str]
) -> None:
    host = f"127.0.0.1:{guarded.port}"
    image = f"{host}/m@sha256:{'a' * 64}"
    registry = ImageRegistry(host=host, insecure=True, credentials=written(entry))
    assert registry.sizes([image]) == {image: 42}
    assert registry.delete(image, ())
    assert guarded.asked[-1] == (f"DELETE /v2/m/manifests/sha256:{'a' * 64}", "Bearer t")
    assert "scope=repository:m:delete" in guarded.asked[-2][0]


def test_wrong_credentials_are_an_error_that_does_not_quote_them(
    guarded: Guarded, written: Written
) -> None:
    host = f"127.0.0.1:{guarded.port}"
    image = f"{host}/m@sha256:{'a' * 64}"
    wrong = {"username": "robot", "password": "wrong"}
    registry = ImageRegistry(host=host, insecure=True, credentials=written(wrong))
    with pytest.raises(RegistryError, match="gives no token: status 401") as raised:
        registry.delete(image, ())
    assert "wrong" not in str(raised.value)


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer realm="http://[x",service="s"',
        'Bearer realm="http://x:99999/token",service="s"',
        'Bearer realm="http://{host}/token",service="\xff"',
    ],
)
def test_a_challenge_that_makes_no_sense_is_an_error(guarded: Guarded, challenge: str) -> None:
    guarded.challenge = challenge
    host = f"127.0.0.1:{guarded.port}"
    image = f"{host}/m@sha256:{'a' * 64}"
    registry = ImageRegistry(host=host, insecure=True)
    assert isinstance(registry.sizes([image])[image], RegistryError)
    with pytest.raises(RegistryError):
        registry.delete(image, ())


def test_a_realm_may_have_a_query_of_its_own(guarded: Guarded, written: Written) -> None:
    guarded.challenge = 'Bearer realm="http://{host}/token?account=a",service="s"'
    host = f"127.0.0.1:{guarded.port}"
    image = f"{host}/m@sha256:{'a' * 64}"
    entry = {"username": "robot", "password": "pass:word"}
    registry = ImageRegistry(host=host, insecure=True, credentials=written(entry))
    assert registry.sizes([image]) == {image: 42}
    assert guarded.asked[1][0].startswith("GET /token?account=a&service=s&scope=")


async def test_an_unreadable_file_of_authorities_ends_no_sync(
    site: Site, store: StatusStore, tmp_path: Path
) -> None:
    site.policy = replace(BARE, grace=7 * DAY)
    site.build("one")
    site.build("two")
    await site.collect_images(store)
    assert store.ledger.hidden
    broken = ImageRegistry(host=site.host, insecure=True, ca_file=tmp_path / "absent.pem")
    assert await site.collect_images(store, broken) == []
    assert store.collection is not None
    assert [each.reason for each in store.collection.withheld] == ["ImagesKept"]
    site.trees[".//src/a"] = "one"
    assert not await site.retention(store, broken).restore_desired(site.plan())
    assert not store.ledger.hidden


@pytest.mark.parametrize(
    ("status", "of_one"), [(412, True), (500, True), (401, False), (403, False), (405, False)]
)
def test_some_refusals_are_of_one_image_alone(
    guarded: Guarded, written: Written, status: int, of_one: bool
) -> None:
    guarded.deletes = status
    host = f"127.0.0.1:{guarded.port}"
    entry = {"username": "robot", "password": "pass:word"}
    registry = ImageRegistry(host=host, insecure=True, credentials=written(entry))
    with pytest.raises(RegistryError, match=f"status {status}") as raised:
        registry.delete(f"{host}/m@sha256:{'a' * 64}", ())
    assert raised.value.of_one is of_one


@pytest.mark.parametrize("index", [False, True])
def test_of_an_index_nothing_is_freed(guarded: Guarded, written: Written, index: bool) -> None:
    guarded.manifest = b'{"manifests": []}' if index else b'{"layers": []}'
    host = f"127.0.0.1:{guarded.port}"
    digest = hashlib.sha256(guarded.manifest).hexdigest()
    entry = {"username": "robot", "password": "pass:word"}
    registry = ImageRegistry(host=host, insecure=True, credentials=written(entry))
    assert registry.delete(f"{host}/m@sha256:{digest}", ["tag"]) is not index
    assert guarded.asked[-1][0] == f"DELETE /v2/m/manifests/sha256:{digest}"
