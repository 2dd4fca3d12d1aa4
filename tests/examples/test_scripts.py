"""The example sources do what the manifests ask of them, and resume where they were stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.config import load_setup
from reconciler.manifests.schema import ModelManifest
from tests.examples.conftest import SOURCES, Scripts
from tests.examples.manifests import EXAMPLES, collection, manifests
from tests.processes import run


def train_params(name: str) -> dict[str, object]:
    manifest = manifests()[name]
    assert isinstance(manifest, ModelManifest)
    assert manifest.spec.training is not None
    return manifest.spec.training.params


def metrics(directory: Path) -> dict[str, float]:
    found = json.loads((directory / "metrics.json").read_text())
    assert all(type(value) in (int, float) for value in found.values())
    return dict(found)


def test_datasets_are_split_as_the_status_says(datasets: Mapping[str, Path]) -> None:
    for directory in datasets.values():
        assert metrics(directory) == {"train": 1347, "test": 450}
        assert {file.name for file in directory.iterdir()} == {
            "train.npz",
            "test.npz",
            "dataset.json",
            "metrics.json",
        }


def test_the_chain_from_data_to_finetunes_reaches_the_accuracy_that_it_shows(
    scripts: Scripts, datasets: Mapping[str, Path]
) -> None:
    digits, tilted = datasets["digits"], datasets["digits-tilted"]
    base = scripts.folder / "base"
    train = "digits-mlp/train.sh"
    scripts.run(train, train_params("digits-base"), model_dir=base, data_dir=digits)
    assert metrics(base)["accuracy"] > 0.95

    for name in ["tilted-gentle", "tilted-head", "tilted-full"]:
        tuned = scripts.folder / name
        params = train_params(name)
        scripts.run(train, params, model_dir=tuned, data_dir=tilted, base_model_dir=base)
        found = metrics(tuned)
        assert found["accuracy_before"] > 0.6, "did not start from the weights of the base"
        assert found["accuracy"] > found["accuracy_before"] + 0.05


def test_loaded_weights_are_what_the_training_starts_from(
    scripts: Scripts, datasets: Mapping[str, Path]
) -> None:
    tilted = datasets["digits-tilted"]
    loaded, tuned = scripts.folder / "loaded", scripts.folder / "tuned"
    scripts.run("digits-mlp/load.sh", manifests()["tilted-cold"].spec.load.params, model_dir=loaded)
    output = scripts.run(
        "digits-mlp/train.sh",
        train_params("tilted-cold"),
        model_dir=tuned,
        data_dir=tilted,
        base_model_dir=loaded,
    )
    assert "base: 48 hidden units" in output
    assert metrics(tuned)["accuracy"] > 0.8


def test_the_sweep_shows_that_more_hidden_units_help(
    scripts: Scripts, datasets: Mapping[str, Path]
) -> None:
    digits, common = datasets["digits"], train_params("sweep-hidden")
    accuracy = {}
    for hidden in (8, 32):
        model = scripts.folder / f"hidden-{hidden}"
        params = {**common, "hidden": hidden}
        scripts.run("digits-mlp/train.sh", params, model_dir=model, data_dir=digits)
        accuracy[hidden] = metrics(model)["accuracy"]
    assert accuracy[32] > accuracy[8] > 0.7


def test_a_poisoned_dataset_fails_the_gate_of_the_base(
    scripts: Scripts, datasets: Mapping[str, Path]
) -> None:
    """The evaluation's lines let the base through, and not one of mostly wrong labels."""
    poisoned = scripts.folder / "poisoned"
    scripts.run("digits-data/load.sh", {"test_share": 0.25, "poison": 0.7}, data_dir=poisoned)
    passed = {}
    for name, data in {"clean": datasets["digits"], "poisoned": poisoned}.items():
        model, result = scripts.folder / f"base-{name}", scripts.folder / f"result-{name}"
        params = train_params("digits-base")
        scripts.run("digits-mlp/train.sh", params, model_dir=model, data_dir=data)
        scripts.run("digits-mlp/evaluate.sh", {}, model_dir=model, data_dir=data, result_dir=result)
        manifest = manifests()["digits-base"]
        assert isinstance(manifest, ModelManifest)
        assert manifest.spec.evaluation is not None
        line = manifest.spec.evaluation.lines[0]
        passed[name] = line.holds(metrics(result)[line.metric], line.number)
    assert passed == {"clean": True, "poisoned": False}


def test_a_killed_training_goes_on_and_ends_at_the_same_weights(
    scripts: Scripts, datasets: Mapping[str, Path]
) -> None:
    digits = datasets["digits"]
    straight, broken = scripts.folder / "straight", scripts.folder / "broken"
    params: dict[str, object] = {"epochs": 60, "hidden": 8}
    train = "digits-mlp/train.sh"
    scripts.run(train, params, model_dir=straight, data_dir=digits)

    with scripts.start(train, params, model_dir=broken, data_dir=digits) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("epoch"):
                break
        first.kill()  # train.sh has become the training, so this is the training itself
    output = scripts.run(train, params, attempt=2, model_dir=broken, data_dir=digits)

    resumed = re.search(r"attempt 2 goes on after epoch (\d+)", output)
    assert resumed is not None
    assert int(resumed[1]) >= 1
    assert len(re.findall(r"^epoch", output, re.MULTILINE)) == 60 - int(resumed[1])
    assert (broken / "weights.npz").read_bytes() == (straight / "weights.npz").read_bytes()
    assert metrics(broken) == metrics(straight)


@pytest.mark.parametrize("script", ["digits-data/load.sh", "digits-mlp/train.sh"])
def test_a_param_that_the_script_does_not_know_is_an_error(scripts: Scripts, script: str) -> None:
    folder = scripts.folder / "out"
    with scripts.start(script, {"epoch": 3}, data_dir=folder, model_dir=folder) as process:
        output, _ = process.communicate()
    assert process.returncode == 1
    assert "'epoch'" in output
    assert not list(folder.iterdir())


def test_every_source_has_what_both_engines_need() -> None:
    contents = set()
    for source in SOURCES.iterdir():
        dockerfile = (source / "Dockerfile").read_text()
        assert "requirements.txt" in dockerfile
        assert "WORKDIR" in dockerfile
        contents.add((source / "requirements.txt").read_bytes())
    assert len(contents) == 1, "one environment should serve all sources"


def test_scripts_are_executable_in_git() -> None:
    listed = run(["git", "ls-files", "--stage", "--", "*.sh"], cwd=SOURCES)
    if listed.returncode:
        pytest.skip("not a Git checkout")
    modes = {line.split("\t")[1]: line.split()[0] for line in listed.stdout.splitlines()}
    assert set(modes.values()) == {"100755"}
    assert len(modes) == 4


def test_the_manifests_are_valid_as_they_stand() -> None:
    found = collection()
    assert found.problems == ()
    assert found.others == 2, "reconciler.yaml and pre-commit's file are the only other documents"
    suspended = [name for name, document in manifests().items() if document.spec.suspend]
    assert suspended == ["from-image"]


def test_the_sweep_is_over_the_hidden_units() -> None:
    manifest = manifests()["sweep-hidden"]
    assert isinstance(manifest, ModelManifest)
    assert manifest.spec.training is not None
    assert manifest.spec.training.matrix is not None
    found = manifest.spec.training.matrix.combinations()
    assert found == ({"hidden": 8}, {"hidden": 16}, {"hidden": 32}, {"hidden": 64})


def test_the_configuration_is_valid_and_is_for_this_folder() -> None:
    setup = load_setup(EXAMPLES / "reconciler.yaml", {})
    assert setup.repository_url == EXAMPLES.as_uri()
    assert setup.root == EXAMPLES / "state", "ignored by Git under this name"


def test_the_readme_names_every_manifest() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    for folder in ["datasets", "models"]:
        for file in (EXAMPLES / folder).iterdir():
            assert f"`{folder}/{file.name}`" in readme
