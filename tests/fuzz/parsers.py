"""Readings of one input each, and what must hold of the result."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from reconciler import signing
from reconciler.config import ConfigError, admission, load_setup
from reconciler.engine import (
    MOST_POINTS,
    Curves,
    EngineError,
    Result,
    Wanted,
    metrics_of,
    read_curves,
    read_end_request,
    read_report,
    warnings_of,
)
from reconciler.engines.kubernetes.api_types import Pod
from reconciler.engines.kubernetes.artifact_collection import read_artifacts, read_outcomes
from reconciler.engines.kubernetes.copies import read_progress
from reconciler.engines.kubernetes.inventory import Folder, read_inventory
from reconciler.engines.kubernetes.observer import RunIdentity, _image
from reconciler.engines.kubernetes.termination import read_termination
from reconciler.engines.local import ArtifactFacts
from reconciler.engines.local.build import lfs_warning
from reconciler.engines.local.marker import read_marker
from reconciler.engines.local.metrics import read_metrics
from reconciler.engines.local.requirements import Form, Requirements, requirements_of
from reconciler.forge.github import GITEA, GITHUB, GitHub
from reconciler.forge.gitlab import GitLab
from reconciler.forge.interface import Forge, ForgeError
from reconciler.forge.rest import LONGEST_PAUSE
from reconciler.forge.webhook import LARGEST_KEPT, Deliveries, Delivery, DeliveryResult
from reconciler.http_client import Answer, Client
from reconciler.manifests import Ignore, collect, read_file
from reconciler.planner import OwnCluster, read_release
from reconciler.reasons import message
from reconciler.signing import BadSignatureError, TrustedKeys
from reconciler.status import (
    dump_record,
    dump_sync,
    load_record,
    read_cluster,
    read_own_file,
    read_own_sync,
    read_remote_object,
)
from reconciler.status.encoding import load_sync
from reconciler.types import Commit, ForeignRef, Kind, ObjectRef, Problem, TaskKey, TaskKind
from reconciler.urls.git import normal_url, redact_url
from reconciler.web.curves import charts_of
from tests.specs import EXECUTION_HASH, REQUEST_HASH

T = TypeVar("T")

#: libyaml counts the line breaks of YAML 1.1.
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_KEY = TaskKey("1" * 40)
_MODEL = ObjectRef(Kind.MODEL, "default", "falcon-7b")
_STATUS_PATH = "default/models/falcon-7b.yaml"
_OWN = OwnCluster(
    cluster="local",
    buckets=("gs://bucket",),
    registry="registry.example.com/models",
    allow_images=("registry.example.com/*",),
)


# -- files of the manifest repository -------------------------------------------------------------


def manifest(data: bytes, _: Path) -> None:
    for path in ("f.yaml", "f.json"):
        content = read_file(path, data)
        lines = len(_BREAK.findall(data.decode("utf-8", "replace"))) + 1
        for problem in content.problems:
            assert problem.location.file == path
            assert 0 <= problem.location.line <= lines
        _check_problems(content.problems)
        assert not content.broken or content.problems
        found = collect([content])
        assert not found.objects.keys() & found.invalid


def ignore(data: bytes, _: Path) -> None:
    ignore = Ignore.parse(data)
    for path in ("models/a.yaml", "a/b/c/d.json", "-]!^/ü.yaml"):
        ignore.matches(path)
    assert ignore.truncated == (ignore.problem is not None)


def release(data: bytes, _: Path) -> None:
    lines = data.decode("utf-8", "replace").splitlines()
    assert all(1 <= number <= len(lines) for number in read_release(data).values())


def url(data: bytes, _: Path) -> None:
    url = data.decode("utf-8", "replace")
    redact_url(url).encode()
    normal = normal_url(url)
    assert normal_url(normal) == normal


def _check_problems(problems: Sequence[Problem]) -> None:
    """Assert that problems have a message, and can be written."""
    for problem in problems:
        assert problem.message
        str(problem).encode()


# -- the configuration ----------------------------------------------------------------------------


def configuration(data: bytes, folder: Path) -> None:
    """The file, and after a line ``---environment`` variables by lines."""
    text, _, variables = data.partition(b"\n---environment\n")
    file = folder / "reconciler.yaml"
    file.write_bytes(text)
    pairs = (
        line.partition("=") for line in variables.decode("utf-8", "surrogateescape").split("\n")
    )
    environment = {f"RECONCILER_{name}": value for name, _, value in pairs if "\0" not in value}
    try:
        setup = load_setup(file, environment)
    except ConfigError as error:
        _check_problems(error.problems)
        raise
    assert setup.repository_url
    assert admission(setup).tenancy is not None
    assert setup.own_cluster.cluster == setup.settings.cluster
    assert setup.forge is None or setup.config.review is not None
    assert setup.cluster_branches.keys() == setup.config.clusters.keys()
    assert setup.status_branch


# -- the status branch, this cluster's and others' ------------------------------------------------


def own_status(data: bytes, _: Path) -> None:
    found = read_own_file(_STATUS_PATH, data, _OWN)
    assert found is not None
    _check_problems(found.faults)
    assert found.record is not None or found.faults
    if found.record is None:
        return
    written = dump_record(found.record)
    assert dump_record(load_record(_STATUS_PATH, written)) == written


def own_sync(data: bytes, _: Path) -> None:
    sync, faults = read_own_sync(data)
    _check_problems(faults)
    assert sync is not None or faults
    if sync is None:
        return
    written = dump_sync(sync)
    assert dump_sync(load_sync(written)) == written


def remote_status(data: bytes, _: Path) -> None:
    read_remote_object(ForeignRef("eu", _MODEL), _STATUS_PATH, data)
    read_cluster("sync.yaml", data)


# -- what runs leave ------------------------------------------------------------------------------


def _check_result(result: Result) -> None:
    """Assert that a result can stand in a status file."""
    assert math.isfinite(result.gpu_seconds)
    assert result.gpu_seconds >= 0
    assert metrics_of(dict(result.metrics)) == result.metrics
    assert warnings_of([each.to_json() for each in result.warnings]) == result.warnings


def marker(data: bytes, folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"123")
    (folder / "completed.json").write_bytes(data)
    marker = read_marker(folder, _KEY)
    if marker is not None:
        _check_result(marker.result("gs://bucket/a/"))


def signature(data: bytes, folder: Path) -> None:
    """Read a bundle, and what one that is trusted would have in it."""
    with suppress(BadSignatureError):
        TrustedKeys.load([]).verify(data)
    with suppress(BadSignatureError):
        files, _ = signing._statement(signing._object(signing._parsed(data), "the payload"))
        assert all(len(bytes.fromhex(digest)) == 32 for digest in files.values())


def metrics(data: bytes, folder: Path) -> None:
    (folder / "metrics.json").write_bytes(data)
    metrics, ignored = read_metrics(folder)
    assert metrics_of(dict(metrics)) == metrics
    (ignored or "").encode("utf-8", "surrogatepass")


def termination(data: bytes, _: Path) -> None:
    found = read_termination(data.decode("utf-8", "replace"))
    if found is None:
        return
    assert (found.message + found.input + found.last).isprintable()
    _check_result(
        Result(metrics=found.metrics, gpu_seconds=found.gpu_seconds, warnings=found.warnings)
    )


_BUILD = "registry.example.com/models/default"


def build_message(data: bytes, _: Path) -> None:
    ended = {"exitCode": 0, "message": data.decode("utf-8", "replace")}
    status = {"containerStatuses": [{"name": "main", "state": {"terminated": ended}}]}
    pod = msgspec.convert({"metadata": {}, "status": status}, type=Pod)
    owner = RunIdentity(
        run="r", task=TaskKind.BUILD, key=_KEY, execution_hash=EXECUTION_HASH,
        request_hash=REQUEST_HASH, object=None, output=f"{_BUILD}:{_KEY}",
        namespace="default", gpus=0,
    )  # fmt: skip
    result = _image(owner, pod)
    if result is not None:
        assert re.fullmatch(rf"{_BUILD}@sha256:[0-9a-f]{{64}}", result.image or "")


def report(data: bytes, _: Path) -> None:
    found, dropped = read_report(data)
    assert dropped >= 0
    assert metrics_of(dict(found.metrics)) == found.metrics
    assert found.percentage is None or 0 <= found.percentage <= 100
    assert found.remaining is None or found.remaining >= 0
    curves = Curves()
    curves.add(found, 1.5)
    again = read_curves(line.encode() for line in curves.lines())
    assert again is not None
    assert (again.metrics, again.percentage) == (curves.metrics, curves.percentage)


def curves(data: bytes, _: Path) -> None:
    found = read_curves(data.splitlines(keepends=True))
    if found is None:
        return
    for points in (found.percentage, *found.metrics.values()):
        assert len(points) <= MOST_POINTS
        assert all(a.seconds <= b.seconds for a, b in pairwise(points))
    assert charts_of(found).more >= 0


def progress(data: bytes, _: Path) -> None:
    reason = read_progress(data)
    if reason is not None:
        assert message(reason).isprintable()


def end_request(data: bytes, _: Path) -> None:
    request = read_end_request(data.decode("utf-8", "replace"))
    if request is not None:
        told = message(request.reason)
        assert told.isprintable()
        assert len(told) < 600
        assert read_end_request(request.dump()) is not None


def inventory(data: bytes, _: Path) -> None:
    path = f"models/falcon-7b/{_KEY}"
    wanted = {path: Wanted(TaskKind.TRAIN, _KEY, f"gs://bucket/{path}/")}
    for result in read_inventory(data, Folder("gs://bucket", "default", wanted)).values():
        _check_result(result)


def collection(data: bytes, _: Path) -> None:
    path = f"models/falcon-7b/{_KEY}"
    wanted = {path: Wanted(TaskKind.TRAIN, _KEY, f"pvc://bucket/{path}/")}
    folder = Folder("pvc://bucket", "default", wanted)
    with suppress(EngineError):
        for facts in read_artifacts(data, folder).values():
            if isinstance(facts, ArtifactFacts):
                assert facts.size >= 0
                assert all(len(key) == len(_KEY) for key in facts.inputs)
    with suppress(EngineError):
        assert all(result.freed >= 0 for result in read_outcomes(data, folder).values())


# -- sources --------------------------------------------------------------------------------------


def requirements(data: bytes, folder: Path) -> None:
    _installed(folder, "requirements.txt", data)


def pyproject(data: bytes, folder: Path) -> None:
    _installed(folder, "pyproject.toml", data)


def _installed(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    found = requirements_of(folder)
    if found is not None:
        assert found.environment("b") == found.environment("b")
        assert found.local or found.computed or found.environment("b") == found.environment("c")


def wheel(data: bytes, folder: Path) -> None:
    wheel = folder / "own-1-py3-none-any.whl"
    wheel.write_bytes(data)
    Requirements(None, local=False, form=Form.LINES, project=True).resolved(wheel)


def lfs(data: bytes, folder: Path) -> None:
    (folder / "weights.bin").write_bytes(data)
    warning = lfs_warning(folder)
    assert warning is None or data.startswith(b"version https://git-lfs")


# -- forges ---------------------------------------------------------------------------------------


class _Answers(Client):
    """A client whose calls get the answers of an input, the last one again and again.

    Answers are separated by lines ``===``. The first line of one has its status and headers.
    """

    def __init__(self, data: bytes) -> None:
        self._answers = [_answer(part) for part in data.split(b"\n===\n")]

    async def call(self, *_: object, **__: object) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def _answer(data: bytes) -> Answer:
    first, _, body = data.partition(b"\n")
    status, *headers = first.decode("utf-8", "replace").split(" ")
    pairs = (header.partition("=") for header in headers)
    number = int(status) if re.fullmatch("[1-5][0-9]{2}", status) else 200
    return Answer(number, {name: value for name, _, value in pairs}, body)


def github(data: bytes, _: Path) -> None:
    _calls(lambda caller: GitHub(caller, *_AT, context=_CONTEXT, dialect=GITHUB), data)


def gitea(data: bytes, _: Path) -> None:
    _calls(lambda caller: GitHub(caller, *_AT, context=_CONTEXT, dialect=GITEA), data)


def gitlab(data: bytes, _: Path) -> None:
    _calls(lambda caller: GitLab(caller, *_AT, context=_CONTEXT), data)


_AT = ("https://forge.example.com", "team/models", lambda: "token")
_CONTEXT = "reconciler/prod"


def _calls(connect: Callable[[Client], Forge], data: bytes) -> None:
    """Call everything that reads an answer, each with the answers from the first on."""
    calls: list[Callable[[Forge], Coroutine[Any, Any, object]]] = [
        lambda forge: forge.open_requests("main", 200),
        lambda forge: forge.status(Commit("a" * 40)),
        lambda forge: forge.own_comment(7, "<!-- ours -->"),
        lambda forge: forge.comment(7, "text"),
    ]
    for call in calls:
        try:
            _finished(call(connect(_Answers(data))))
        except ForgeError as error:
            _check_failure(error)


def _check_failure(error: ForgeError) -> None:
    assert 0 <= error.pause <= LONGEST_PAUSE
    assert str(error).isprintable()
    str(error).encode()


def _finished(call: Coroutine[Any, Any, T]) -> T:
    """Return the result of a call that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the call waits")


def webhook(data: bytes, __: Path) -> None:
    """Headers by lines, an empty line, and the body, which is signed rightly besides."""
    head, _, body = data.partition(b"\n\n")
    lines = head.decode("utf-8", "surrogateescape").split("\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    secret = b"a secret"
    deliveries = Deliveries(("main",), reviews=True)
    delivery = deliveries.begin(headers, secret)
    if delivery is not None:
        delivery.feed(body)
        deliveries.end(delivery)
    signed = Delivery(headers)
    signed.feed(body)
    assert len(signed.kept) <= LARGEST_KEPT
    assert deliveries.end(signed) is not DeliveryResult.REFUSED
