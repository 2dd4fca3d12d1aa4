"""Both engines list the same files for the same directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.engines.local.failures import ArtifactError
from reconciler.engines.local.marker import list_files
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import BUSYBOX

NAMES = st.one_of(
    st.sampled_from(
        [
            "a",
            "b",
            "logs",
            "completed.json",
            ".reconciler-x",
            ".reconcilerx",
            "-n",
            "a b",
            "\ufeffa",
            "a\nb",
            "a\rb",
        ]
    ),
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=8
    ).filter(lambda name: name not in (".", "..")),
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(
    PATHS,
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(["folder", "fifo"]),
        st.tuples(
            st.sampled_from(["link"]), st.one_of(PATHS, st.sampled_from(["..", ".", "/etc"]))
        ),
    ),
    max_size=8,
)


def grow(root: Path, tree: dict[str, object]) -> None:
    for name, what in tree.items():
        path = root / name
        if name == "logs":
            continue  # always a directory of the wrapper's
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(what, bytes):
                path.write_bytes(what)
            elif what == "folder":
                path.mkdir()
            elif what == "fifo":
                os.mkfifo(path)
            elif isinstance(what, tuple):
                path.symlink_to(what[1])
        except OSError:
            pass  # a name twice, as a file and as a folder


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=TREES)
def test_any_tree(pod: MakeContainer, tree: dict[str, object]) -> None:
    home = _home(pod)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "artifact"
        root.mkdir()
        grow(root, tree)
        try:
            expected: object = [{"path": path, "size": size} for path, size in list_files(root)]
        except ArtifactError as error:
            expected = str(error).partition('"')[0]
        assert _list(home, root) == expected


_HOMES: list[Path] = []


def _home(pod: Callable[[], object]) -> Path:
    """The wrapper's functions without what it does with them."""
    if not _HOMES or not _HOMES[0].exists():
        container = pod()
        home: Path = container.home  # type: ignore[attr-defined]
        (home / "work").mkdir()
        script = (home / "wrapper.sh").read_text()
        functions = script.partition("trap stop ")[0]
        (home / "list.sh").write_text(
            f'{functions}\nlist_files "$artifact" >"$work/files"; code=$?\n'
            '[ $code = 1 ] && cat "$work/why" && exit 1\n[ $code = 0 ] || exit $code\n'
            'printf "["; awk -v mode=files -v file="$work/files" -f "$home/wrapper.awk"; echo "]"\n'
        )
        _HOMES[:] = [home]
    return _HOMES[0]


def _list(home: Path, root: Path) -> object:
    done = subprocess.run(
        [BUSYBOX, "sh", home / "list.sh"],
        env={"RECONCILER_ARTIFACT": str(root)},
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1), done
    if done.returncode == 1:
        return done.stdout.decode().strip("\n").partition('"')[0]
    return json.loads(done.stdout)


def test_the_directory_may_be_reached_by_a_link(pod: MakeContainer, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/w").write_text("1")
    (tmp_path / "real/l").symlink_to("w")
    (tmp_path / "there").symlink_to("real")
    assert _list(_home(pod), tmp_path / "there") == [
        {"path": "l", "size": 1}, {"path": "w", "size": 1},
    ]  # fmt: skip
    shutil.rmtree(tmp_path / "real")
