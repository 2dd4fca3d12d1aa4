"""Attempts of a hostile tenant to use or change what is another's, each by its manifests.

Every one is Invalid at the line that names what is not the tenant's, and changes nothing of the
others' objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.tenants.site import DIGEST, FILES, KEY, collected


@dataclass(frozen=True)
class Attempt:
    """A file, the field that is refused in it, and a text of that field's line."""

    field: str
    line: str
    text: str
    path: str = "mallory/attack.yaml"


def model(spec: str, metadata: str = "name: x, namespace: mallory") -> str:
    return f"kind: Model\nmetadata: {{{metadata}}}\nspec:\n{spec}"


def dataset(spec: str, metadata: str = "name: x, namespace: mallory") -> str:
    return f"kind: Dataset\nmetadata: {{{metadata}}}\nspec:\n{spec}"


GIT = "  source: {git: {url: https://git.test/mallory/code}}\n"
ORDINARY = model(GIT)


def base(reference: str, more: str = "") -> Attempt:
    where = "namespace" if "namespace" in reference else "name"
    text = model(f"  source:\n    model:\n      {reference}\n{more}")
    return Attempt(f"spec.source.model.{where}", reference.splitlines()[-1].strip(), text)


def data(reference: str) -> Attempt:
    where = "namespace" if "namespace" in reference else "name"
    text = model(f"{GIT}  training:\n    dataset:\n      {reference}\n")
    return Attempt(f"spec.training.dataset.{where}", reference.splitlines()[-1].strip(), text)


def bucket(url: str) -> Attempt:
    text = dataset(f'  source:\n    bucket:\n      url: "{url}"\n')
    return Attempt("spec.source.bucket.url", f'url: "{url}"', text)


def weights(url: str) -> Attempt:
    text = model(f'{GIT}  load:\n    from:\n      url: "{url}"\n')
    return Attempt("spec.load.from.url", f'url: "{url}"', text)


def image(ref: str) -> Attempt:
    text = model(f'  source:\n    image:\n      ref: "{ref}@{DIGEST}"\n')
    return Attempt("spec.source.image.ref", ref, text)


def source(field: str, line: str, *, url: str = "https://git.test/mallory/code") -> Attempt:
    others = "" if line.startswith("url:") else f'      url: "{url}"\n'
    text = model(f"  source:\n    git:\n{others}      {line}\n")
    return Attempt(f"spec.source.git.{field}", line, text)


def evaluated_by(field: str, line: str, *, url: str = "https://git.test/mallory/code") -> Attempt:
    """The source of an evaluation."""
    others = "" if line.startswith("url:") else f'        url: "{url}"\n'
    evaluation = f"    command: [test.sh]\n    source:\n      git:\n{others}        {line}\n"
    text = model(f"{GIT}  evaluation:\n{evaluation}")
    return Attempt(f"spec.evaluation.source.git.{field}", line, text)


def run(section: str, field: str, line: str) -> Attempt:
    text = model(f"{GIT}  {section}:\n    {line}\n")
    return Attempt(f"spec.{section}.{field}", line, text)


def claim(field: str, line: str, text: str, path: str = "mallory/attack.yaml") -> Attempt:
    return Attempt(field, line, text, path)


SECTIONS = ("build", "load", "training")
SECRET = "secretEnv: {TOKEN: {name: hf, key: token}}"
THEIRS = "name: detector, namespace: vision"

ATTEMPTS = {
    # -- read
    "a base of another tenant": base("name: detector\n      namespace: vision"),
    "a base that is not lent to this tenant": base("name: base\n      namespace: shared"),
    "a base of another tenant by a pinned key": base(
        f"key: {KEY}\n      name: detector\n      namespace: vision"
    ),
    "a base in a namespace that a glob gives to another": base(
        "name: later\n      namespace: vision-later"
    ),
    "a base in a namespace of no tenant": base("name: x\n      namespace: nobody"),
    "a base of another tenant on another cluster": base(
        "name: detector\n      cluster: staging\n      namespace: vision"
    ),
    "a base of no tenant on another cluster": base(
        "name: x\n      cluster: staging\n      namespace: nobody"
    ),
    "a base that is not there yet": base("name: next\n      namespace: vision"),
    "the promotion of another's model": base(
        "name: detector\n      namespace: vision", "  load: {command: []}\n"
    ),
    "a dataset of another tenant": data("name: photos\n      namespace: vision-data"),
    "a dataset of another tenant by a pinned key": data(
        f"key: {KEY}\n      name: photos\n      namespace: vision-data"
    ),
    "a dataset of another tenant on another cluster": data(
        "name: photos\n      cluster: staging\n      namespace: vision-data"
    ),
    "another's bucket": bucket("s3://vision-data/photos"),
    "the whole of another's bucket": bucket("s3://vision-data"),
    "another's bucket as weights": weights("s3://vision-data/photos"),
    "a bucket with a similar name": bucket("s3://mallory-data-vision/photos"),
    "a bucket in other case": bucket("s3://Mallory-Data/data"),
    "the same name on another store": bucket("gs://mallory-data/data"),
    "a bucket by an empty folder": bucket("s3://mallory-data//data"),
    "a bucket by a dot": bucket("s3://mallory-data/./data"),
    "a bucket by dots": bucket("s3://mallory-data/../vision-data/photos"),
    "a bucket by encoded dots": bucket("s3://mallory-data/%2e%2e/vision-data"),
    "a bucket by a backslash": bucket("s3://mallory-data/..\\\\vision-data"),
    "another's artifact by its URL": bucket(
        f"s3://artifacts/clusters/main/namespaces/vision/models/detector/{KEY}"
    ),
    "another's artifact by its URL as weights": weights(
        f"s3://artifacts/clusters/main/namespaces/vision/models/detector/{KEY}"
    ),
    "the artifacts of all": bucket("s3://artifacts"),
    "a folder of the node": bucket("file:///srv/vision"),
    "another's claim": bucket("pvc://vision-claim/photos"),
    "another's repository": source("url", 'url: "https://git.test/vision/detector"'),
    "another's repository by ssh": source("url", 'url: "ssh://git@git.test/vision/detector"'),
    "another's repository as scp has it": source("url", 'url: "git@git.test:vision/detector"'),
    "another's repository by a relative URL": source("url", 'url: "../../vision/detector"'),
    "another's repository in other case": source("url", 'url: "https://GIT.test/vision/x"'),
    "another's repository by a port": source("url", 'url: "https://git.test:8443/mallory/x"'),
    "another's repository by a long path": source("url", 'url: "https://git.test/x/mallory/y"'),
    "the repository of the manifests by its URL": source(
        "url", 'url: "https://git.test/team/models"'
    ),
    "a repository on the daemon's disk": source("url", 'url: "file:///srv/git/vision"'),
    "another's folder of this repository": source("path", "path: vision/src", url="."),
    "a folder of this repository that is nobody's": source("path", "path: src", url="."),
    "another's folder by a dot": source("path", "path: ./vision//src", url="."),
    "a folder with a similar name": source("path", "path: mallory2/src", url="."),
    "submodules": source("submodules", "submodules: true"),
    "another's repository as a test": evaluated_by(
        "url", 'url: "https://git.test/vision/detector"'
    ),
    "the repository of the manifests as a test": evaluated_by(
        "url", 'url: "https://git.test/team/models"'
    ),
    "another's folder of this repository as a test": evaluated_by(
        "path", "path: vision/src", url="."
    ),
    "submodules of a test": evaluated_by("submodules", "submodules: true"),
    # -- run
    "another's image": image("registry.test/vision/a"),
    "an image of Docker Hub": image("alpine"),
    "an image of a similar repository": image("registry.test/mallory-vision/a"),
    "an image of a similar host": image("registry.test.evil.test/mallory/a"),
    "an image by another port": image("registry.test:5000/mallory/a"),
    "another's Secret in a load": run("load", "secretEnv.TOKEN.name", SECRET),
    "another's Secret in a training": run("training", "secretEnv.TOKEN.name", SECRET),
    "another's Secret of a similar name": run(
        "load", "secretEnv.TOKEN.name", "secretEnv: {TOKEN: {name: mallory, key: token}}"
    ),
    **{
        f"another's service account in {section}": run(
            section, "serviceAccount", "serviceAccount: reader"
        )
        for section in SECTIONS
    },
    **{
        f"the default service account in {section}": run(
            section, "serviceAccount", "serviceAccount: default"
        )
        for section in SECTIONS
    },
    **{
        f"another's profile in {section}": run(section, "profile", "profile: gpu")
        for section in SECTIONS
    },
    # -- spend
    **{
        f"another's queue in {section}": run(section, "queue", "queue: vision")
        for section in SECTIONS
    },
    **{
        f"a higher priority in {section}": run(
            section, "priority", "priority: system-cluster-critical"
        )
        for section in SECTIONS
    },
    **{
        f"another's GPUs in {section}": run(
            section, "resources.gpu.type", "resources: {gpu: {type: nvidia-l4}}"
        )
        for section in SECTIONS
    },
    "GPUs of any type": run("training", "resources.gpu.type", "resources: {gpu: {count: 1}}"),
    # -- overwrite
    "another's object": claim("metadata.namespace", "detector", model(GIT, THEIRS)),
    "another's object in a list": claim(
        "metadata.namespace",
        "detector",
        "kind: List\nitems:\n- kind: Model\n"
        f"  metadata: {{{THEIRS}}}\n  spec: {{source: {{git: {{url: https://git.test/mallory/code}}}}}}\n",
    ),
    "another's object beside an own one": claim(
        "metadata.namespace", "detector", f"{ORDINARY}---\n{model(GIT, THEIRS)}"
    ),
    "another's object with a mistake": claim(
        "spec.training.epochs", "epochs", model(f"{GIT}  training: {{epochs: 3}}\n", THEIRS)
    ),
    "another's object as JSON": claim(
        "metadata.namespace",
        "detector",
        '{"kind": "Model", "metadata": {"name": "detector", "namespace": "vision"},\n'
        '"spec": {"source": {"git": {"url": "https://git.test/mallory/code"}}}}\n',
        path="mallory/attack.json",
    ),
    "a new object in another's namespace": claim(
        "metadata.namespace", "vision-new", model(GIT, "name: new, namespace: vision-new")
    ),
    "a new object in nobody's namespace": claim(
        "metadata.namespace", "default", model(GIT, "name: default")
    ),
    "a new object in a namespace of Kubernetes": claim(
        "metadata.namespace", "kube-system", model(GIT, "name: x, namespace: kube-system")
    ),
    "a path of no tenant": claim("metadata", "mallory", ORDINARY, path="attack.yaml"),
    "a path that begins like another's": claim(
        "metadata", "mallory", ORDINARY, path="vision2/attack.yaml"
    ),
    "a path in other case": claim("metadata", "mallory", ORDINARY, path="Mallory/attack.yaml"),
    "a path with another's inside": claim(
        "metadata", "detector", model(GIT, THEIRS), path="x/vision/attack.yaml"
    ),
    "a path deeper than its glob": claim(
        "metadata", "mallory", ORDINARY, path="teams/a/b/mallory/attack.yaml"
    ),
    "another's former name": claim(
        "metadata.annotations.substratus.ai/formerly",
        "formerly",
        model(
            GIT,
            "name: x, namespace: mallory, annotations: {substratus.ai/formerly: vision/detector}",
        ),
    ),
    "another's former name on another cluster": claim(
        "metadata.annotations.substratus.ai/formerly",
        "formerly",
        model(
            GIT,
            "name: x, namespace: mallory, "
            "annotations: {substratus.ai/formerly: staging/vision/detector}",
        ),
    ),
    # -- delete
    "a manifest of another's object that protects nothing": claim(
        "metadata.namespace",
        "detector",
        model(GIT, f'{THEIRS}, annotations: {{substratus.ai/prune: "false"}}'),
    ),
    "a suspended copy of another's object": claim(
        "metadata.namespace", "detector", model(f"{GIT}  suspend: true\n", THEIRS)
    ),
    "a copy of another's object under its file's name": claim(
        "metadata.namespace",
        "detector",
        FILES["vision/detector.yaml"],
        path="mallory/vision/detector.yaml",
    ),
}


def test_what_the_tenants_have_is_valid() -> None:
    assert collected(FILES).problems == ()


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_an_attempt_is_invalid_at_its_line_and_touches_nothing_of_others(attempt: Attempt) -> None:
    before = collected(FILES)
    after = collected({**FILES, attempt.path: attempt.text})
    found = [p for p in after.problems if p.location.file == attempt.path]
    fields = {problem.field: problem for problem in found}
    assert attempt.field in fields, [str(problem) for problem in after.problems]
    line = attempt.text.splitlines()[fields[attempt.field].location.line - 1]
    assert attempt.line in line
    assert len(found) == len(after.problems), "all of them are of the attempt's file"
    assert {**after.objects, **before.objects} == after.objects, "others' objects are as before"
    assert not after.invalid & before.objects.keys()
    assert after.unreadable == ()


def test_there_are_more_than_sixty_attempts() -> None:
    assert len(ATTEMPTS) > 60
