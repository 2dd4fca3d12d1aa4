"""The command lines of Docker and Podman, and what is said without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import CommandPaths, EngineError, Ranks, ReportServer
from reconciler.engines.local import Containers, LocalEngine
from reconciler.engines.local.container_program import ContainerProgram, ImageInfo
from reconciler.engines.local.container_runtime import ContainerWorkplace
from reconciler.engines.local.container_terms import ContainerTerms, Program
from reconciler.engines.local.control import Control
from reconciler.engines.local.failures import CommandError, SecretError
from reconciler.engines.local.launch import RankCommand
from reconciler.engines.local.layout import RootLayout
from reconciler.engines.local.process_runtime import ProcessRuntime
from reconciler.engines.local.run_context import RunContext
from reconciler.engines.local.runtime import RankOrder
from reconciler.engines.local.spec import Allocation
from reconciler.engines.local.state import RunState
from reconciler.reasons import ReasonCode, message
from reconciler.types import Resources
from tests.engines.local.bench import export, script
from tests.specs import train

IMAGE = ImageInfo(id="sha256:1234", folder="/app", env={"LANG": "de_DE.UTF-8"})
TERMS = ContainerTerms(program="docker", network="host", user="0:0", cpus=8, rootless=False)


def command(
    folder: Path,
    terms: ContainerTerms = TERMS,
    *,
    gpus: tuple[str, ...] = (),
    secrets: dict[str, str] | None = None,
    **changes: Any,
) -> RankCommand:
    """The command of a training's first rank, with its program found already."""
    layout = RootLayout(folder / "root")
    spec = train(command=("train.sh", "--fast", "a b"), secret_env={}, **changes)
    path = folder / "bin"
    path.mkdir()
    for name in ("docker", "podman"):
        (path / name).write_text(script("exit 1"))
        (path / name).chmod(0o755)
    environ = {"PATH": str(path), "HTTPS_PROXY": "http://proxy:1", "SSL_CERT_FILE": "/etc/ca.pem"}
    run = RunContext(
        spec,
        Allocation(grace=1.0, retry_delay=1.0, containers=terms),
        layout,
        layout.run(spec.name),
        Control(layout.run(spec.name)),
        RunState(),
        lost=False,
        runtime=ProcessRuntime(),
    )
    program = ContainerProgram(terms.program, environ)
    place = ContainerWorkplace(run, terms, program, IMAGE, environ)
    place._entrypoint = "/app/train.sh"
    order = RankOrder(
        ranks=Ranks(nodes=1, address="127.0.0.1", port=1234, rank=0),
        attempt=2,
        folder=folder / "0",
        paths=CommandPaths(
            output="/bucket/a, b/out",
            params="/params.json",
            progress=str(folder / "0" / "progress.json"),
            scratch=str(folder / "0" / "work"),
            base="/bucket/base",
            dataset="/bucket/data",
        ),
        reports=ReportServer(url="http://127.0.0.1:5/progress/x", token="/token"),
        secrets=secrets or {},
        gpus=gpus,
    )
    return place.command(order)


def options(found: RankCommand, name: str) -> list[str]:
    """The values of an option."""
    return [word.partition("=")[2] for word in found.argv if word.startswith(f"--{name}=")]


def test_a_container_runs_the_images_id_by_the_program_that_was_found(tmp_path: Path) -> None:
    found = command(tmp_path)
    assert found.argv[:2] == (str(tmp_path / "bin" / "docker"), "run")
    assert found.argv[-3:] == ("sha256:1234", "--fast", "a b")
    assert options(found, "entrypoint") == ["/app/train.sh"]
    assert found.words == ("train.sh", "--fast", "a b")
    [name] = options(found, "name")
    assert name.startswith("r-falcon-t-0123456789ab-")
    assert {word for word in found.argv if word.startswith("--label=substratus.ai/")} >= {
        f"--label=substratus.ai/root={tmp_path / 'root'}",
        "--label=substratus.ai/run=r-falcon-t-0123456789ab-abcdef",
    }


def test_mounts_are_those_of_the_contract(tmp_path: Path) -> None:
    assert options(command(tmp_path), "mount") == [
        f"type=bind,source={tmp_path}/0,target=/.reconciler",
        "type=bind,source=/token,target=/.reconciler-reports/token,readonly",
        "type=bind,source=/params.json,target=/params/params.json,readonly",
        f"type=bind,source={tmp_path}/0/work,target=/scratch",
        "type=bind,source=/bucket/base,target=/base-model/saved,readonly",
        "type=bind,source=/bucket/data,target=/data,readonly",
        'type=bind,"source=/bucket/a, b/out",target=/model/saved',
    ]


def test_secrets_are_in_no_argument(tmp_path: Path) -> None:
    found = command(tmp_path, secrets={"TOKEN": "hush\nhush"}, env={"MODE": "x"})
    assert not any("hush" in word for word in found.argv)
    assert {"TOKEN", "MODE=x"} <= set(options(found, "env"))
    assert found.env["TOKEN"] == "hush\nhush"
    assert "MODE" not in found.env


@pytest.mark.parametrize("name", ["PATH", "DOCKER_HOST", "LD_PRELOAD"])
def test_a_secret_cannot_be_a_variable_of_the_program_itself(tmp_path: Path, name: str) -> None:
    with pytest.raises(SecretError, match=name):
        command(tmp_path, secrets={name: "x"})


def test_the_images_variables_and_proxies_count_and_no_path_of_this_machine(
    tmp_path: Path,
) -> None:
    found = options(command(tmp_path), "env")
    assert "HTTPS_PROXY" in found  # by its name: it may have a password
    assert not any(word.startswith(("LANG=", "SSL_CERT_FILE=", "PATH=", "HOME=")) for word in found)
    assert "PYTHONUNBUFFERED=1" in found


def test_limits_are_those_of_a_rank(tmp_path: Path) -> None:
    found = command(tmp_path, resources=Resources(cpu=1.5, memory=1 << 30, shm=64 << 20))
    assert options(found, "cpus") == ["1.5"]
    assert options(found, "memory") == options(found, "memory-swap") == ["1073741824b"]
    assert options(found, "shm-size") == ["67108864b"]


def test_no_more_cores_are_asked_for_than_there_are(tmp_path: Path) -> None:
    assert options(command(tmp_path, resources=Resources(cpu=64)), "cpus") == []


@pytest.mark.parametrize(
    ("program", "flag"),
    [
        ("docker", ['--gpus="device=0,2"']),
        ("podman", ["--device=nvidia.com/gpu=0", "--device=nvidia.com/gpu=2"]),
    ],
)
def test_a_container_gets_the_gpus_that_were_allocated(
    tmp_path: Path, program: Program, flag: list[str]
) -> None:
    found = command(tmp_path, replace(TERMS, program=program), gpus=("0", "2"))
    assert [word for word in found.argv if "device" in word] == flag
    assert not any("VISIBLE_DEVICES" in word for word in found.argv)


def test_a_container_without_gpus_gets_none_whatever_it_asks_for(tmp_path: Path) -> None:
    found = command(tmp_path, env={"NVIDIA_VISIBLE_DEVICES": "all"})
    assert [word for word in options(found, "env") if "NVIDIA" in word] == [
        "NVIDIA_VISIBLE_DEVICES=void"
    ]


def test_another_user_than_root_has_a_home_and_a_rootless_one_gives_no_file_away(
    tmp_path: Path,
) -> None:
    found = command(tmp_path, replace(TERMS, user="1000:1000", rootless=True))
    assert options(found, "user") == ["1000:1000"]
    assert "HOME=/.reconciler/home" in options(found, "env")
    assert options(found, "cap-drop") == ["CHOWN"]
    assert "no-new-privileges" in options(found, "security-opt")


def test_reports_go_by_the_machines_network_alone(tmp_path: Path) -> None:
    for number, (network, there) in enumerate([("host", True), ("bridge", False)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = command(folder, replace(TERMS, network=network))
        assert options(found, "network") == [network]
        assert any("KUBEFLOW" in word for word in options(found, "env")) == there


def test_several_nodes_need_the_machines_network(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        command(tmp_path, replace(TERMS, network="none"), resources=Resources(nodes=2))
    assert caught.value.reason.code is ReasonCode.RUN_REFUSED


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "there is no program docker on PATH; install it, or use local.runtime: process"),
        ("echo no daemon here >&2; exit 1", "docker says: no daemon here; start it"),
        ('echo \'{"ServerErrors": ["no daemon"]}\'', "docker says: no daemon; start it"),
        ('echo \'{"SecurityOptions": ["name=userns"]}\'', "userns-remap"),
    ],
)
async def test_a_start_without_containers_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str | None, said: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if body is not None:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "docker").chmod(0o755)
    engine = LocalEngine(
        tmp_path / "root", slots=1, export=export, containers=Containers(program="docker")
    )
    with pytest.raises(EngineError) as caught:
        await engine.start(lambda: None)
    assert caught.value.permanent
    assert message(caught.value.reason).startswith("local.runtime: docker, but ")
    assert said in message(caught.value.reason)


@pytest.mark.parametrize(
    ("answer", "user", "rootless"),
    [
        ('{"NCPU": 3, "SecurityOptions": ["name=seccomp,profile=default"]}', None, False),
        ('{"NCPU": 3, "SecurityOptions": ["name=rootless"]}', "0:0", True),
        ('{"host": {"cpus": 3, "security": {"rootless": true}}}', "0:0", True),
    ],
)
def test_a_command_is_the_daemons_user_outside(
    tmp_path: Path, answer: str, user: str | None, rootless: bool
) -> None:
    (tmp_path / "docker").write_text(script(f"echo '{answer}'"))
    (tmp_path / "docker").chmod(0o755)
    terms = ContainerProgram("docker", {"PATH": str(tmp_path)}).terms("none")
    own = (tmp_path / "docker").stat()
    assert terms.user == (user or f"{own.st_uid}:{own.st_gid}")
    assert (terms.cpus, terms.rootless, terms.network) == (3, rootless, "none")
