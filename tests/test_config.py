"""The configuration: one file, the environment over it, and every mistake with its place."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.config import (
    ConfigError,
    ForgeSite,
    RequestsSection,
    Setup,
    admission,
    config_schema,
    load_setup,
    misspelt_variables,
)
from reconciler.types import Kind, ObjectRef, SourceField, Verify

ROOT = Path(__file__).resolve().parents[1]


def load(tmp_path: Path, text: str, **environment: str) -> Setup:
    file = tmp_path / "reconciler.yaml"
    file.write_text(text)
    return load_setup(file, environment)


def wrong(tmp_path: Path, text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **environment)
    return str(caught.value).replace(str(tmp_path), "")


def git_takes(branch: str) -> bool:
    command = ["git", "check-ref-format", "--branch", branch]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_only_the_repository_is_required(tmp_path: Path) -> None:
    setup = load(tmp_path, "repository: {url: ../models.git}")
    assert setup.repository_url == (tmp_path.parent / "models.git").as_uri()
    assert setup.root == tmp_path / "state"
    assert setup.status_branch == "reconciler/status/local"
    assert setup.buckets[Kind.MODEL] == (tmp_path / "state/buckets/default").as_uri()
    assert "repository" in wrong(tmp_path, "cluster: a")
    assert "url" in wrong(tmp_path, "repository: {}")


def test_a_file_that_had_something_to_say_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    environment = {"RECONCILER_REPOSITORY__URL": "https://example.com/m"}
    file = tmp_path / "reconciler.yaml"
    for text in (None, "", "# being written"):
        if text is not None:
            file.write_text(text)
        assert load_setup(file, environment).repository_url == "https://example.com/m"
        with pytest.raises(ConfigError):
            load_setup(file, environment, required=True)


def test_a_bucket_that_demands_signatures_needs_a_key(tmp_path: Path) -> None:
    bucket = {"url": "file:///b", "verify": "signature"}
    config: dict[str, Any] = {"repository": {"url": "./m"}, "buckets": {"default": bucket}}
    told = wrong(tmp_path, json.dumps(config))
    assert "buckets.default.verify is signature: set signing.keyFile" in told
    config["signing"] = {"publicKeyFiles": ["key.pub"]}
    setup = load(tmp_path, json.dumps(config))
    assert setup.signing.trusted == (str(tmp_path / "key.pub"),)
    assert setup.verified("file:///b/x") is Verify.SIGNATURE
    assert setup.verified("file:///bx") is Verify.SIZES
    with pytest.raises(ConfigError, match=r"signing: .*key.pub: cannot be read"):
        setup.check_signing()


@pytest.mark.parametrize(
    "url",
    ["https://example.com/m", "ssh://git@example.com/m", "git@example.com:m", "file:///srv/m.git"],
)
def test_a_url_is_taken_as_it_is(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, json.dumps({"repository": {"url": url}})).repository_url == url


@pytest.mark.parametrize(
    ("forge", "url", "api", "name"),
    [
        ("github", "https://github.com/team/models.git", "https://api.github.com", "team/models"),
        ("github", "git@github.com:team/models", "https://api.github.com", "team/models"),
        ("github", "https://git.corp:8443/a/b", "https://git.corp:8443/api/v3", "a/b"),
        ("gitea", "ssh://git@git.corp:2222/a/b.git", "https://git.corp/api/v1", "a/b"),
        ("gitlab", "https://gitlab.com/a/b/c.git", "https://gitlab.com/api/v4", "a/b/c"),
        ("forgejo", "https://git.corp/a/b/", "https://git.corp/api/v1", "a/b"),
    ],
)
def test_where_a_forge_is_follows_from_the_repository(
    tmp_path: Path, forge: str, url: str, api: str, name: str
) -> None:
    review = {"forge": forge, "tokenFile": "token"}
    setup = load(tmp_path, json.dumps({"repository": {"url": url}, "review": review}))
    assert setup.forge == ForgeSite(api, name)


def test_a_forge_that_is_nowhere_or_hears_the_token_in_the_clear_is_an_error(
    tmp_path: Path,
) -> None:
    for url in ("./models.git", "https://git.corp/deep/er/name"):
        config = {"repository": {"url": url}, "review": {"forge": "gitea", "tokenFile": "t"}}
        assert "review needs api and repository" in wrong(tmp_path, json.dumps(config))
    for api, right in (("http://git.corp/api/v1", False), ("http://127.0.0.1:3000/api/v1", True)):
        review = {"forge": "gitea", "tokenFile": "t", "api": api}
        text = json.dumps({"repository": {"url": "https://git.corp/a/b"}, "review": review})
        assert right or "is plain HTTP" in wrong(tmp_path, text)
        if right:
            load(tmp_path, text)


def test_a_template_that_makes_no_json_is_an_error_with_its_place(tmp_path: Path) -> None:
    text = "repository: {url: .}\nnotifications:\n  urlFile: u\n  template: '{{ cluster }}'\n"
    told = wrong(tmp_path, text)
    assert "reconciler.yaml:4:" in told
    assert "notifications.template" in told
    assert "makes no JSON" in told


def test_a_file_that_is_not_there_needs_a_repository_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    with pytest.raises(ConfigError, match="reconciler init"):
        load_setup(file, {})
    setup = load_setup(file, {"RECONCILER_REPOSITORY__URL": "https://example.com/m"})
    assert setup.repository_url == "https://example.com/m"


@pytest.mark.parametrize("text", ["", "# repository: {url: .}\n", "---\n", "repository:\n"])
def test_a_file_that_says_nothing_leaves_it_to_the_environment(tmp_path: Path, text: str) -> None:
    config = load(tmp_path, text, RECONCILER_REPOSITORY__URL="https://example.com/m").config
    assert config.repository.url == "https://example.com/m"


def test_the_environment_goes_over_the_file_and_is_read_as_yaml(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "repository: {url: .}\nprune: {maxShare: 0.1}\n",
        RECONCILER_PRUNE__MAXSHARE="0.25",
        RECONCILER_PRUNE__ENABLED="false",
        RECONCILER_SOURCES__ALLOW="['https://a/*']",
        RECONCILER_STATUS__AUTHOR__NAME="bot",
        RECONCILER_REPOSITORY__INTERVAL="2m",
    ).config
    assert config.prune.max_share == 0.25
    assert config.prune.enabled is False
    assert config.sources.allow == ["https://a/*"]
    assert config.status.author.name == "bot"
    assert config.repository.interval == 120


@pytest.mark.parametrize(
    ("text", "value"),
    [("2026-11-27", "2026-11-27"), ("on", "on"), ("'1.0'", "1.0"), ("v1_000", "v1_000")],
)
def test_a_variable_is_read_by_the_same_rules_as_the_file(
    tmp_path: Path, text: str, value: str
) -> None:
    text_of_file = f"repository: {{url: ., branch: {text}}}"
    assert load(tmp_path, text_of_file).config.repository.branch == value
    read = load(tmp_path, "repository: {url: .}", RECONCILER_REPOSITORY__BRANCH=text)
    assert read.config.repository.branch == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[::1]:8080", "[::1]:8080"),
        ("'127.0.0.1:1'", "127.0.0.1:1"),
        (":8080", ":8080"),
        ("", ""),
        ('""', ""),
    ],
)
def test_an_address_in_a_variable_needs_no_quotes(tmp_path: Path, text: str, value: str) -> None:
    read = load(tmp_path, "repository: {url: .}", RECONCILER_SERVER__ADDRESS=text)
    assert read.config.server.address == value


@pytest.mark.parametrize("text", ["1.10", "007", "1e3", "true", "0x1F", "2026", "#1", "@next", "-"])
def test_a_string_that_yaml_reads_as_something_else_is_the_string(
    tmp_path: Path, text: str
) -> None:
    read = load(
        tmp_path,
        "repository: {url: .}",
        RECONCILER_STATUS__AUTHOR__NAME=text,
        RECONCILER_KUBERNETES__IMAGES__WRAPPER=text,
        RECONCILER_REPOSITORY__CREDENTIALS__USERNAME=text,
    ).config
    assert read.status.author.name == text
    assert read.kubernetes.images.wrapper == text
    assert read.repository.credentials.username == text


@pytest.mark.parametrize("text", ["", "null", "~"])
def test_a_key_that_may_be_nothing_is_unset_by_a_variable(tmp_path: Path, text: str) -> None:
    file = "repository: {url: ., credentials: {username: bot}}"
    read = load(tmp_path, file, RECONCILER_REPOSITORY__CREDENTIALS__USERNAME=text)
    assert read.config.repository.credentials.username is None


def test_numbers_and_switches_in_variables_stay_what_they_are(tmp_path: Path) -> None:
    told = wrong(tmp_path, "repository: {url: .}", RECONCILER_GUARD__TASKS="'3'")
    assert "guard.tasks: expected a whole number" in told


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RECONCILER_REPOSITORY_URL", "RECONCILER_REPOSITORY__URL"),
        ("RECONCILER_REPOSITRY__URL", "RECONCILER_REPOSITORY__URL"),
        ("RECONCILER_PRUNE_MAX_SHARE", "RECONCILER_PRUNE__MAXSHARE"),
        ("RECONCILER_CONFG", "RECONCILER_CONFIG"),
        ("RECONCILER_BUCKET__ARCHIVE__URL", "RECONCILER_BUCKETS__ARCHIVE__URL"),
        ("RECONCILER_GAURD__TASKS", "RECONCILER_GUARD__TASKS"),
    ],
)
def test_a_variable_that_looks_like_a_key_s_is_told(name: str, meant: str) -> None:
    assert misspelt_variables({name: "x", "PATH": "/bin"}) == {name: meant}


@pytest.mark.parametrize(
    "name",
    [
        "SERVICE_HOST",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_80_TCP_ADDR",
        "STATUS_SERVICE_HOST",
        "STATUS_PORT_80_TCP",
        "HOME",
        "VERSION",
        "CONFIG",
        "CLUSTER",
        "GUARD__TASKS",
    ],
)
def test_other_variables_are_not(name: str) -> None:
    assert misspelt_variables({f"RECONCILER_{name}": "x"}) == {}


def test_a_variable_may_be_a_mapping_with_a_url(tmp_path: Path) -> None:
    """libyaml alone would not read it."""
    read = load(tmp_path, "{}", RECONCILER_REPOSITORY="{url: https://example.com/m}")
    assert read.config.repository.url == "https://example.com/m"


def test_what_people_have_named_has_variables_too(tmp_path: Path) -> None:
    read = load(
        tmp_path,
        "repository: {url: .}\nclusters: {us-east: {buckets: ['s3://a']}}\n"
        "kubernetes: {gpus: {A100: {resource: x/y}}}\n",
        RECONCILER_CLUSTERS__US_EAST__BRANCH="status",
        RECONCILER_CLUSTERS__WEST__BRANCH="west",
        RECONCILER_BUCKETS__ARCHIVE__URL="s3://archive",
        RECONCILER_KUBERNETES__GPUS__A100__RESOURCE="nvidia.com/gpu",
        RECONCILER_KUBERNETES__PROFILES__SPOT="{spec: {hostname: a}}",
    ).config
    assert read.clusters["us-east"].buckets == ["s3://a"]
    assert {n: c.branch for n, c in read.clusters.items()} == {"us-east": "status", "west": "west"}
    assert read.buckets.named["archive"].url == "s3://archive"
    assert {n: g.resource for n, g in read.kubernetes.gpus.items()} == {"A100": "nvidia.com/gpu"}
    assert read.kubernetes.profiles == {"spot": {"spec": {"hostname": "a"}}}


@pytest.mark.parametrize(
    "name",
    ["a b", "-x", "/x", "x/", "a//b", "a..b", "a.lock", "a.lock/b", ".x", "a/.x", "x.", "a@{b"]
    + [f"a{character}b" for character in "~^:?*[\\\t"],
)
def test_what_git_refuses_is_no_name_of_a_branch(tmp_path: Path, name: str) -> None:
    assert not git_takes(name)
    for section in ("repository", "status"):
        config: dict[str, dict[str, str]] = {"repository": {"url": "."}}
        config.setdefault(section, {})["branch"] = name
        told = wrong(tmp_path, json.dumps(config))
        assert f"{section}.branch: " in told
        assert "is no name that a branch or tag can have in Git" in told


def test_other_names_are_names_of_branches(tmp_path: Path) -> None:
    name = "Fix/#1_a-b.c,d{e}@f%é"
    assert git_takes(name)
    read = load(tmp_path, json.dumps({"repository": {"url": ".", "branch": name}}))
    assert read.config.repository.branch == name


def test_variables_that_are_not_meant_for_us_are_left_alone(tmp_path: Path) -> None:
    load(
        tmp_path,
        "repository: {url: .}",
        RECONCILER_PORT_8080_TCP="tcp://10.0.0.1:8080",
        RECONCILER_SERVICE_HOST="10.0.0.1",
        RECONCILER_CONFIG="elsewhere.yaml",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "repository: {url: .}\nclustr: a\n",
            "/reconciler.yaml:2:1: clustr: unknown field",
        ),
        ("repository:\n  url: .\n  intervall: 3\n", "/reconciler.yaml:3:3: repository.intervall: "),
        ("repository: {url: .}\nguard: {tasks: -1}\n", "/reconciler.yaml:2:9: guard.tasks: "),
        (
            "repository: {url: .}\nserver: {address: '0.0.0.0:65536'}\n",
            "/reconciler.yaml:2:10: server.address: expected a port of at most 65535, found 65536",
        ),
        ("repository: {url: .}\nengine: docker\n", "/reconciler.yaml:2:1: engine: "),
        ("repository: {url: .}\ncluster: Prod\n", "/reconciler.yaml:2:1: cluster: "),
        ("repository: {url: .}\nrepository: {url: .}\n", "/reconciler.yaml:2:1: "),
        ("repository: {url: .\n", "/reconciler.yaml:"),
        ("- a\n", "expected one mapping, found a list"),
        ("a: 1\n---\nb: 2\n", "expected one mapping, found 2 documents"),
        ("", "repository: is required"),
    ],
)
def test_a_mistake_has_file_line_column_and_field(tmp_path: Path, text: str, message: str) -> None:
    assert message in wrong(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "RECONCILER_GUARD__TASK",
            "1",
            "$RECONCILER_GUARD__TASK: guard.task: there is no key task",
        ),
        ("RECONCILER_GUARD__TASKS", "many", "$RECONCILER_GUARD__TASKS: guard.tasks: expected"),
        (
            "RECONCILER_CLUSTERS__PROD__BRANHC",
            "x",
            "$RECONCILER_CLUSTERS__PROD__BRANHC: clusters.prod.branhc: there is no key branhc",
        ),
        (
            "RECONCILER_CLUSTERS__PROD__BRANCH",
            "[a b",
            '$RECONCILER_CLUSTERS__PROD__BRANCH: clusters.prod.branch: "[a b" is no name',
        ),
        ("RECONCILER_ALLOW__IMAGES", "[3]", "$RECONCILER_ALLOW__IMAGES: allow.images[0]: expected"),
        ("RECONCILER_LOG__LEVEL", "{", "$RECONCILER_LOG__LEVEL: log.level: expected"),
        ("RECONCILER_GUARD", "{", "$RECONCILER_GUARD: guard: not valid YAML"),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    assert message in wrong(tmp_path, "repository: {url: .}", **{name: value})


CLUSTER = """
repository: {url: "https://example.com/m"}
engine: kubernetes
registry: {url: registry.example.com/models}
buckets:
  default: {url: "gs://models"}
  old: {url: "s3://old", driver: rclone, remote: ":s3,env_auth=true", secret: old, sync: 5m}
"""


def test_a_variable_that_is_no_text_is_shown_by_its_bytes(tmp_path: Path) -> None:
    """As the environment has it: Python makes halves of surrogate pairs of such bytes."""
    told = wrong(
        tmp_path,
        "repository: {url: .}\n",
        **{"RECONCILER_CLUSTER": "\udcff", "RECONCILER_LIMITS__\udcffRUNS": "3"},
    )
    assert told.encode().decode() == (
        "$RECONCILER_CLUSTER: cluster: it is not UTF-8 text\n"
        r"$RECONCILER_LIMITS__\xffRUNS: limits.\xffruns: there is no key \xffruns in limits"
    )
    assert misspelt_variables({"RECONCILER_REPOSITOR\udcffY__URL": ""}) == {
        r"RECONCILER_REPOSITOR\xffY__URL": "RECONCILER_REPOSITORY__URL"
    }


def test_a_cluster_needs_a_registry_and_a_bucket(tmp_path: Path) -> None:
    told = wrong(tmp_path, "repository: {url: 'https://e/m'}\nengine: kubernetes\n")
    assert "engine: kubernetes needs registry.url" in told
    assert "buckets.default.url" in told
    setup = load(tmp_path, CLUSTER)
    assert setup.buckets[Kind.MODEL] == "gs://models"


def test_the_daemons_namespace_is_not_served_unless_runs_are_there_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "reconciler")
    models, own = (f"kubernetes: {{namespace: {name}}}" for name in ("models", "reconciler"))
    assert admission(load(tmp_path, CLUSTER + models)).own_namespace == "reconciler"
    assert admission(load(tmp_path, CLUSTER + own)).own_namespace is None
    monkeypatch.delenv("POD_NAMESPACE")
    assert admission(load(tmp_path, CLUSTER + models)).own_namespace is None


def test_buckets_that_are_only_read_have_any_name(tmp_path: Path) -> None:
    buckets = load(tmp_path, CLUSTER).config.buckets.named
    assert list(buckets) == ["default", "old"]
    assert buckets["old"].sync == 300
    assert "buckets.old.drver: unknown field" in wrong(
        tmp_path, CLUSTER.replace("driver:", "drver:")
    )


def test_sources_on_the_daemons_disk_are_for_the_local_engine(tmp_path: Path) -> None:
    assert "file://*" not in load(tmp_path, CLUSTER).sources_allow
    assert "file://*" in load(tmp_path, "repository: {url: .}").sources_allow


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    told = wrong(tmp_path, "repository: {url: .}\na: 1\nb: 2\nguard: {tasks: x}\n")
    assert len(told.splitlines()) == 3


def test_the_checked_in_schema_is_current_and_a_schema() -> None:
    schema = config_schema()
    Draft202012Validator.check_schema(schema)
    published = json.loads((ROOT / "config" / "config.schema.json").read_text())
    assert published == schema, "write it anew with `make schemas`"


def test_the_schema_judges_as_the_reader_does(tmp_path: Path) -> None:
    validator = Draft202012Validator(config_schema())
    values: list[dict[str, Any]] = [
        {"repository": {"url": "."}},
        {"repository": {"url": ".", "interval": 30}},
        {"repository": {"url": ".", "interval": "soon"}},
        {"repository": {"url": "."}, "prune": {"maxShare": 1}},
        {"repository": {"url": "."}, "prune": {"maxShare": 2}},
        {"repository": {"url": "."}, "engine": "docker"},
        {"repository": {"url": "."}, "buckets": {"default": {"url": "no-scheme"}}},
        {"repository": {"url": "."}, "buckets": {"old": {"url": "s3://a", "sync": "5m"}}},
        {"repository": {"url": "."}, "buckets": {"old": {"driver": "rclone"}}},
        {"repository": {"url": "."}, "registry": {"url": "https://r.example.com"}},
        {"repository": {"url": "."}, "kubernetes": {"profiles": {"spot": {"spec": {}}}}},
        {"repository": {"url": "."}, "kubernetes": {"builder": "kaniko"}},
        {"repository": {}},
        {},
    ]
    for value in values:
        try:
            load(tmp_path, json.dumps(value))
            accepted = True
        except ConfigError:
            accepted = False
        assert validator.is_valid(value) == accepted, value


# -- requests --------------------------------------------------------------------------------

SECRETS = """
repository:
  url: https://a/b
  credentials: {passwordFile: s/1, sshKeyFile: s/2, knownHostsFile: p}
status: {signingKeyFile: s/3}
sources:
  credentials: [{prefix: "https://c/", passwordFile: s/4}, {prefix: "https://d/", sshKeyFile: s/5}]
local: {secrets: s/6, root: p}
server:
  webhookSecretFile: s/7
  proxySecretFile: s/8
  progress: {url: "http://a", keyFile: s/9, caFile: p}
notifications: {urlFile: s/10, secretFile: s/11}
review: {forge: gitea, api: "https://a/api/v1", repository: a/b, tokenFile: s/12}
signing: {keyFile: s/13, publicKeyFiles: [p]}
registry: {url: a.example.com/m, credentialsFile: s/14}
tls: {caFile: p}
"""


def test_each_secret_that_the_configuration_names_is_hidden_from_commands(tmp_path: Path) -> None:
    setup = load(tmp_path, SECRETS)
    assert set(setup.secret_paths) == {tmp_path / "s" / str(n) for n in range(1, 15)}
    # A new field for a file is in this test, or it is none of a secret.
    public = {"knownHostsFile", "caFile", "publicKeyFiles"}
    fields = {
        name
        for section in (config_schema(), *config_schema()["$defs"].values())  # type: ignore[union-attr]
        for name in section.get("properties", {})
        if name.endswith(("File", "Files"))
    }
    assert {name for name in fields - public if f"{name}: s/" not in SECRETS} == set()


REVIEW = {
    "forge": "gitea",
    "api": "https://git.example.com/api/v1",
    "repository": "team/models",
    "tokenFile": "token",
}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"requests": {}}, "requests needs review"),
        ({"requests": {"branch": "update/{name}"}, "review": REVIEW}, "needs {kind} and {namesp"),
        ({"requests": {"branch": "/{kind}/{namespace}/{name}"}, "review": REVIEW}, "no name of a"),
        ({"requests": {"limit": 0}, "review": REVIEW}, "limit"),
    ],
)
def test_requests_that_cannot_be_made_are_refused(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    config = {"repository": {"url": "https://git.example.com/team/models"}, **sections}
    assert message in wrong(tmp_path, json.dumps(config))


def test_the_branch_of_a_request_is_of_its_cluster() -> None:
    section = RequestsSection()
    falcon = ObjectRef(Kind.MODEL, "team-a", "falcon-7b")
    branch = section.branch_of(falcon, SourceField.OBJECT, "prod")
    assert branch == "reconciler/update/prod/model-team-a-falcon-7b"
    of_evaluation = section.branch_of(falcon, SourceField.EVALUATION, "prod")
    assert of_evaluation == "reconciler/update/prod/model-team-a-falcon-7b.evaluation"
    for own in (branch, of_evaluation):
        assert section.is_own(own, "prod")
        assert not section.is_own(own, "staging")
    assert not section.is_own(f"{branch}.other", "prod")
    assert not section.is_own("reconciler/update/prod/model-team-a-falcon-7b/more", "prod")
