"""What is asked about objects: ``why``, ``logs``, ``artifacts``, and ``status`` narrowed down."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest

from reconciler.cli.artifact_sizes import sizes
from reconciler.cli.artifact_use import used_text
from reconciler.cli.select import find_key
from reconciler.engines.local import MARKER
from reconciler.planner import ObjectStatus, Phase
from reconciler.types import Kind, ObjectRef, TaskKey, TaskKind
from tests.cli.conftest import Cli
from tests.cli.example import Example
from tests.cli.images import REQUIREMENTS, image_record


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """All trained, then a base that fails when it is changed; one training is under way."""
    root = tmp_path_factory.mktemp("example")
    example = Example(root / "clone", bucket=(root / "bucket").as_uri())
    example.sync()
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.edit("models/load.yaml", "epochs: 15", "epochs: 16")
    example.commit("Longer")
    example.sync(failing=("digits-base",), running=("tilted-cold",))
    for record in example.records.values():
        for entry in record.history:
            if entry.artifact is not None:
                folder = Path(urlsplit(entry.artifact).path)
                folder.mkdir(parents=True)
                (folder / "weights").write_bytes(b"w" * 1000)
        for task in record.tasks:
            if task.log is not None:
                file = Path(urlsplit(task.log).path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("".join(f"epoch {n}\n" for n in range(500)))
    return example


@pytest.fixture
def example(synced: Example, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Example:
    monkeypatch.chdir(synced.root)
    return synced


# -- why -------------------------------------------------------------------------------------


def test_why_leads_to_the_failure_and_what_would_release_it(example: Example, cli: Cli) -> None:
    said = cli("why", "tilted-full", code=0)
    lines = said.out.splitlines()
    assert lines[:6] == [
        (
            "Model default/tilted-full is Waiting as of the last sync: waiting for Model "
            "default/digits-base (train): train.sh exited with 1: out of memory"
        ),
        "  train: waits for Model default/digits-base",
        (
            "    train of Model default/digits-base: failed, and is not run again: "
            "train.sh exited with 1: out of memory"
        ),
        "      What to do: Read the log; mend the code or the params and push.",
        "      `reconciler logs digits-base` prints its log.",
        (
            "      It runs again when its inputs or settings change, or by `reconciler retry "
            "digits-base`."
        ),
    ]
    assert "was made on 2026-03-02 from commit" in lines[6]
    assert lines[7] == (
        "  Since then: because Model default/digits-base changes (training.params.epochs: 20 → 30)."
    )


def test_why_of_what_is_there_or_running_or_suspended(example: Example, cli: Cli) -> None:
    assert cli("why", "digits").out.splitlines()[1:] == ["  build: complete", "  load: complete"]
    sweep = cli("why", "sweep-hidden").out.splitlines()
    assert sweep[1].startswith("  The best variant by accuracy (maximize) is ")
    assert sweep[2:] == [
        "  build: complete",
        *(f"  train (hidden={units}): complete" for units in (8, 16, 32, 64)),
    ]
    assert "  train: running\n" in cli("why", "tilted-cold").out
    assert cli("why", "from-image").out.splitlines() == [
        (
            "Model default/from-image is Suspended as of the last sync: "
            "spec.suspend is true, so nothing new starts"
        ),
        "  train: spec.suspend is true, so nothing new starts",
        "    What to do: Set `spec.suspend: false` in its manifest, and commit that.",
    ]
    assert "it takes over the artifact of Model default/tilted-full" in (
        cli("why", "digits-production").out
    )


def test_why_of_a_manifest_that_is_wrong(example: Example, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(example.root, tmp_path / "clone")
    file = tmp_path / "clone" / "models" / "base.yaml"
    file.write_text(file.read_text().replace("timeout:", "timeuot:"))
    example.git("-C", str(tmp_path / "clone"), "commit", "--quiet", "--all", "--message", "Wrong")
    out = cli("why", "digits-base", "--repo", str(tmp_path / "clone")).out
    assert "Its manifest is wrong: models/base.yaml:13:5: spec.training.timeuot" in out


def test_an_unknown_name_is_a_failure_with_a_hint(example: Example, cli: Cli) -> None:
    for command in ("why", "logs", "retry"):
        said = cli(command, "digits-bas", code=1)
        assert 'no object is called digits-bas; did you mean "digits-base"' in said.err


# -- logs ------------------------------------------------------------------------------------


def test_logs_are_the_last_lines_of_the_last_attempt(example: Example, cli: Cli) -> None:
    said = cli("logs", "digits-base", "--tail", "2", code=0)
    assert said.out == "epoch 498\nepoch 499\n"
    assert said.err.startswith("==> Model default/digits-base, train: /")
    assert len(cli("logs", "digits-base").out.splitlines()) == 200
    assert len(cli("logs", "digits-base", "--tail", "0").out.splitlines()) == 500


def test_logs_of_a_task_and_of_an_attempt(example: Example, cli: Cli) -> None:
    assert "build: /" in cli("logs", "digits-base", "--task", "build").err
    missing = cli("logs", "digits-base", "--attempt", "7", code=1)
    assert "there is no attempt-7.log in " in missing.err
    assert "there is attempt-1.log" in missing.err


def test_logs_that_are_not_there_say_why(example: Example, cli: Cli) -> None:
    said = cli("logs", "from-image", code=1)
    assert "has no log yet: train is Waiting. `reconciler why from-image` says more" in said.err
    assert "has no build; it has train" in cli("logs", "from-image", "--task", "build").err


def test_a_log_in_a_store_that_cannot_be_read_is_told_by_its_url(cli: Cli, tmp_path: Path) -> None:
    example = Example(tmp_path / "clone", bucket="swift://bucket")
    example.sync()
    elsewhere = cli("logs", "digits", "--attempt", "2", "--config", _config(example), code=1)
    assert elsewhere.err.startswith("error: swift://bucket/clusters/local/")
    assert elsewhere.err.endswith(
        "/logs/attempt-2.log cannot be read from here: only s3:// and gs:// and az:// can\n"
    )


# -- artifacts -------------------------------------------------------------------------------


def test_an_artifact_of_an_object_and_a_promotion_names_both() -> None:
    own, other = (ObjectRef(Kind.MODEL, "default", name) for name in ("full", "prod"))
    uses = (("current of", own), ("current of", other), ("source of", other))
    assert used_text(uses, own, removed=False) == "current; current of prod; source of prod"


def test_artifacts_have_a_size_and_who_refers_to_them(example: Example, cli: Cli) -> None:
    found = {(a["name"], a["key"]): a for a in json.loads(cli("artifacts", "--format", "json").out)}
    record = example.records[ObjectRef(Kind.MODEL, "default", "digits-base")]
    assert record.artifact is not None
    base = found["digits-base", record.artifact.key]
    assert base["size"] >= 1000
    assert base["usedBy"] == [
        "current of Model default/digits-base",
        "base of Model default/tilted-full",
        "base of Model default/tilted-gentle",
        "base of Model default/tilted-head",
    ]
    assert base["url"] == record.artifact.url


def test_unused_artifacts_are_those_that_only_a_revert_needs(cli: Cli, tmp_path: Path) -> None:
    example = Example(tmp_path / "clone")
    example.sync()
    assert "0 artifacts" in cli("artifacts", "--unused", "--config", _config(example)).out
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Longer")
    example.sync()
    said = cli("artifacts", "--unused", "--config", _config(example), code=0)
    rows = [line.split()[:2] for line in said.out.splitlines()[2:-1]]
    names = [name for _, name in sorted(rows)]
    evaluated = ("digits-base", "digits-base", "tilted-full", "tilted-gentle", "tilted-head")
    assert names == [f"default/{name}" for name in evaluated]
    assert "history alone" in said.out
    assert said.out.splitlines()[-1] == (
        "5 artifacts, 0 B, and 5 whose size cannot be read from here"
    )


def test_artifacts_are_in_the_order_of_objects_the_newest_first(cli: Cli, tmp_path: Path) -> None:
    example = Example(tmp_path / "clone")
    example.sync()
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    (example.root / "models/load.yaml").unlink()
    example.commit("Longer, and without a cold one")
    example.sync()
    listed = json.loads(cli("artifacts", "--format", "json", "--config", _config(example)).out)
    assert any(each["removed"] for each in listed[:-1])
    refs = [(each["kind"], each["namespace"], each["name"]) for each in listed]
    assert refs == sorted(refs)
    made = [each["finished"] for each in listed if each["name"] == "digits-base"]
    assert len(made) == 4  # two artifacts, and the evaluation of each
    assert made == sorted(made, reverse=True)


def test_environments_have_a_size_and_who_uses_them(cli: Cli, tmp_path: Path) -> None:
    example = Example(tmp_path / "clone")
    example.sync()
    config = _config(example)
    record = example.records[ObjectRef(Kind.MODEL, "default", "digits-base")]
    (build,) = [task.key for task in record.tasks if task.task is TaskKind.BUILD]
    root = tmp_path / "state"
    for name in ("used", "spare", "fresh", "unfinished"):
        _write(root / "envs" / name / "lib" / "torch.so", "x" * 1000)
    for name in ("used", "spare", "fresh"):
        _write(root / "envs" / f"{name}.json", json.dumps(REQUIREMENTS))
    os.utime(root / "envs/spare.json", (0, 0))
    for key, env in ((build, "used"), ("f" * 40, "spare")):
        _write(root / f"images/{key}/image.json", json.dumps(image_record(str(key), env)))
        os.utime(root / f"images/{key}/image.json", (0, 0))
    # A package that an installer's cache has too.
    (tmp_path / "cache").hardlink_to(root / "envs/spare/lib/torch.so")
    _write(root / "envs/spare/lib/cuda.so", "x" * 500)

    listed = json.loads(cli("artifacts", "--format", "json", "--config", config).out)
    found = {each["name"]: each for each in listed if each["kind"] == "Environment"}
    sizes = {name: (each["size"], each["frees"]) for name, each in found.items()}
    assert sizes == {"used": (1000, 1000), "spare": (1500, 500), "fresh": (1000, 1000)}
    assert "environment of Model default/digits-base" in found["used"]["usedBy"]
    assert found["spare"]["usedBy"] == []
    assert found["used"]["collectedFrom"] is None
    assert found["spare"]["collectedFrom"] == "1970-01-08T00:00:00Z"
    [image] = [each for each in listed if each["kind"] == "Image" and each["usedBy"]]
    assert "image of Model default/digits-base" in image["usedBy"]

    said = cli("artifacts", "--config", config).out.splitlines()
    assert said[-1].startswith("3 environments and 2 images, 3.8 KiB; the next collection frees ")
    assert said[-1].endswith("; later ones free 1000 B")
    assert sum("  next  " in line for line in said) == 2
    unused = cli("artifacts", "--unused", "--config", config).out
    assert "2 environments and 1 image, 2.6 KiB" in unused
    assert (root / "envs" / "spare").as_uri() in unused
    narrow = cli("artifacts", "digits-base", "--config", config).out
    assert "1 environment and 1 image" in narrow


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _config(example: Example) -> str:
    file = example.root.parent / "reconciler.yaml"
    file.write_text(json.dumps({"repository": {"url": str(example.root)}}))
    return str(file)


# -- status ----------------------------------------------------------------------------------


def names(out: str) -> list[str]:
    return [line.split()[1] for line in out.splitlines()[2:]]


def test_status_is_narrowed_by_phase_kind_and_namespace(example: Example, cli: Cli) -> None:
    assert names(cli("status", "--phase", "failed").out) == ["digits-base"]
    both = names(cli("status", "--phase", "Failed", "--phase", "Suspended").out)
    assert both == ["digits-base", "from-image"]
    assert names(cli("status", "--kind", "dataset").out) == ["digits", "digits-tilted"]
    assert names(cli("status", "-n", "elsewhere").out) == []
    cli("status", "--phase", "happy", code=64)


def entries(out: str) -> list[str]:
    """Return the lines of the history, without what promotions served."""
    return out.partition("\n\n")[0].splitlines()[2:]


def test_a_history_is_sorted_by_a_metric_or_by_time(example: Example, cli: Cli) -> None:
    out = entries(cli("status", "--history", "--sort", "metrics.accuracy").out)
    has = ["accuracy" in line for line in out]
    assert has == sorted(has, reverse=True)
    by_time = entries(cli("status", "--history", "--sort", "finished").out)
    times = [line.split()[1:3] for line in by_time]
    assert times == sorted(times, reverse=True)
    for wrong in (["--sort", "finished"], ["--history", "--sort", "accuracy"]):
        cli("status", *wrong, code=64)


def test_a_history_is_sorted_either_way(example: Example, cli: Cli) -> None:
    def finished(sort: str) -> list[str]:
        out = entries(cli("status", "--history", "--sort", sort, code=0).out)
        return re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", "\n".join(out))

    newest = finished("finished")
    assert newest == sorted(newest, reverse=True)
    assert finished("-finished") == newest[::-1] != newest


def test_a_history_is_by_default_the_newest_first_as_the_help_says(
    example: Example, cli: Cli
) -> None:
    newest = cli("status", "--history", "--sort", "finished", code=0).out
    assert cli("status", "--history", code=0).out == newest
    told = " ".join(cli("status", "--help", code=0).out.split())
    assert "[default: finished]" in told


def test_the_failure_of_a_run_stands_in_a_column_of_its_own(example: Example, cli: Cli) -> None:
    head, _, *lines = cli("status", "--history", "digits-base", code=0).out.splitlines()
    assert head.split()[-3:] == ["METRICS", "PARAMS", "MESSAGE"]
    (failed,) = [line for line in lines if " Failed " in line]
    assert failed[head.index("METRICS") : head.index("PARAMS")].strip() == ""
    assert failed[head.index("MESSAGE") :] == "train.sh exited with 1: out of memory"
    head, *_ = cli("status", "--history", "digits", code=0).out.splitlines()
    assert "MESSAGE" not in head


def test_a_history_is_not_sorted_by_a_metric_that_no_entry_has(example: Example, cli: Cli) -> None:
    said = cli("status", "--history", "--sort", "metrics.acuracy", code=64)
    assert 'no entry has a metric acuracy; did you mean "accuracy"?' in said.err


def test_an_unknown_name_suggests_up_to_three_others(example: Example, cli: Cli) -> None:
    for command in ("status", "why", "logs", "retry", "artifacts", "verify"):
        said = cli(command, "tilted", code=1)
        assert said.err.endswith('did you mean "tilted-head", "tilted-full" or "tilted-cold"?\n')


def test_a_name_with_its_kind_or_namespace_is_told_how_to_give_these(
    example: Example, cli: Cli
) -> None:
    for command in ("status", "why", "logs", "retry", "artifacts"):
        for name in ("model/digits-base", "default/digits-base"):
            assert cli(command, name, code=1).err == (
                f"error: no object is called {name}: give its name alone, digits-base, and where "
                "several have it --kind or --namespace as well\n"
            )


def test_a_name_that_is_not_synced_yet_is_told_so(example: Example, cli: Cli) -> None:
    for command in ("status", "logs", "artifacts", "verify"):
        said = cli(command, "unheard-of", code=1)
        assert said.err == (
            "error: no object is called unheard-of; what was committed since the last sync is not "
            "known yet\n"
        )


def test_a_name_of_another_namespace_is_told_with_its_object(example: Example, cli: Cli) -> None:
    for command in ("why", "logs", "retry"):
        said = cli(command, "digits-base", "-n", "elsewhere", code=1)
        assert said.err.endswith("matches the options; there is Model default/digits-base\n")
    said = cli("status", "digits-base", "-n", "elsewhere", code=1)
    assert "digits-base does not match the options" in said.err


def test_status_and_artifacts_of_an_unknown_name_suggest_another(
    example: Example, cli: Cli
) -> None:
    for command in ("status", "artifacts", "verify"):
        said = cli(command, "tilted-ful", code=1)
        assert 'no object is called tilted-ful; did you mean "tilted-full"' in said.err


# -- keys ------------------------------------------------------------------------------------


def trained(example: Example, name: str) -> str:
    """The key of the present training of a Model, as tables show it."""
    tasks = example.records[ObjectRef(Kind.MODEL, "default", name)].tasks
    return next(task.key for task in tasks if task.task is TaskKind.TRAIN and task.key)[:12]


def test_a_key_stands_for_its_object_by_its_beginning(example: Example, cli: Cli) -> None:
    key = trained(example, "digits-base")
    assert cli("why", key, code=0).out == cli("why", "digits-base", code=0).out
    assert cli("logs", key, code=0).out == cli("logs", "digits-base", code=0).out
    assert cli("retry", key, code=0).out == cli("retry", "digits-base", code=0).out
    assert "digits-base" in cli("status", key, code=0).out


def test_the_key_of_a_promoted_artifact_is_that_of_the_object_that_made_it(
    example: Example, cli: Cli
) -> None:
    promoted = example.records[ObjectRef(Kind.MODEL, "default", "digits-production")].artifact
    assert promoted is not None
    maker = cli("why", "tilted-full", code=0).out
    assert cli("why", promoted.key[:12], code=0).out == maker
    said = cli("logs", "digits-production", code=1)
    assert "nothing runs for Model default/digits-production, so it has no log" in said.err
    assert "`reconciler why digits-production`" in said.err


def test_one_artifact_is_found_by_the_beginning_of_its_key(example: Example, cli: Cli) -> None:
    every = json.loads(cli("artifacts", "tilted-full", "--format", "json", code=0).out)
    (one,) = json.loads(cli("artifacts", every[0]["key"][:12], "--format", "json", code=0).out)
    assert one == every[0]


def test_the_beginning_of_several_keys_names_none(example: Example, cli: Cli) -> None:
    with pytest.raises(click.UsageError, match="is the beginning of 2 keys"):
        find_key("abcdef", dict(zip(example.records, _alike(), strict=False)))


def _alike() -> Iterator[ObjectStatus]:
    for last in "01":
        ref = ObjectRef(Kind.MODEL, "default", f"m{last}")
        yield ObjectStatus(ref=ref, phase=Phase.READY, desired=TaskKey("abcdef" * 6 + f"abc{last}"))


def test_logs_of_a_key_that_is_history_are_those_of_its_last_attempt(
    example: Example, cli: Cli
) -> None:
    record = example.records[ObjectRef(Kind.MODEL, "default", "digits-base")]
    assert record.artifact is not None
    logs = Path(urlsplit(record.artifact.url).path) / "logs"
    key = record.artifact.key[:12]
    shutil.rmtree(logs, ignore_errors=True)
    said = cli("logs", key, code=1)
    assert f"Model default/digits-base left no log in {record.artifact.url}logs/" in said.err
    for attempt in (1, 9, 10):
        _write(logs / f"attempt-{attempt}.log", f"attempt {attempt}\n")
    said = cli("logs", key, code=0)
    assert said.out == "attempt 10\n"
    assert said.err == f"==> Model default/digits-base, train: {logs}/attempt-10.log\n"
    assert cli("logs", key, "--attempt", "9", code=0).out == "attempt 9\n"


_BASE = ObjectRef(Kind.MODEL, "default", "digits-base")


@pytest.mark.parametrize("size", ["1e999", "NaN", "-1", "1" * 400, '"3"', "[" * 100_000, "9"])
def test_a_marker_with_impossible_sizes_counts_as_none(size: str, tmp_path: Path) -> None:
    key = TaskKey("a" * 40)
    folder = tmp_path / f"clusters/main/namespaces/default/models/a/{key}"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"12345")
    url = folder.as_uri()
    marker = (
        f'{{"version": 1, "key": "{key}", "attempt": 1, "durationSeconds": 1.0, "gpuSeconds": 0, '
        '"started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z", "metrics": {}, '
        f'"files": [{{"path": "weights", "size": {size}}}]}}'
    )
    (folder / MARKER).write_text(marker)
    measured = 5 + len(marker)
    assert sizes([(url, key)]) == {url: 9 if size == "9" else measured}
