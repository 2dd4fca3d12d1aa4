"""Large folders of the status branch are divided, and found again."""

from __future__ import annotations

import pytest

from reconciler.planner import is_removed_path, object_of_path, sharded_path
from reconciler.planner.names import removed_path, status_path
from reconciler.status import Shards
from reconciler.status.shards import MOST_FILES
from reconciler.types import Kind, ObjectRef

REF = ObjectRef(Kind.MODEL, "default", "falcon")
SHARDED = "default/models/a8/falcon.yaml"


def paths(count: int, folder: str = "default/models") -> list[str]:
    return [f"{folder}/m{number}.yaml" for number in range(count)]


def test_a_shard_is_named_by_the_hash_of_the_object_s_name() -> None:
    assert sharded_path(status_path(REF)) == SHARDED
    assert sharded_path(removed_path(REF)) == f"removed/{SHARDED}"


@pytest.mark.parametrize(
    "path", [status_path(REF), SHARDED, removed_path(REF), f"removed/{SHARDED}"]
)
def test_an_object_is_found_in_a_shard_and_without(path: str) -> None:
    assert object_of_path(path) == REF
    assert is_removed_path(path) == path.startswith("removed/")


@pytest.mark.parametrize(
    "path",
    ["default/models/bc/falcon.yaml", "default/models/a8/a8/falcon.yaml", "models/a8/falcon.yaml"],
)
def test_a_file_in_another_place_is_no_object_s(path: str) -> None:
    assert object_of_path(path) is None


def test_a_folder_is_divided_beyond_a_thousand_files_and_stays_so() -> None:
    shards = Shards()
    few, more = paths(MOST_FILES), paths(MOST_FILES + 1)
    assert not shards.divide(few)
    assert shards.place(few[0]) == few[0]
    other = paths(3, "default/datasets")
    assert shards.divide([*more, *other]) == frozenset(more)
    assert shards.place(more[0]) == sharded_path(more[0])
    assert shards.place(other[0]) == other[0]
    assert not shards.divide(more)
    assert not shards.divide(few)
    assert shards.place(few[0]) == sharded_path(few[0])


def test_a_divided_folder_is_known_by_its_files() -> None:
    shards = Shards()
    for path in ("sync.yaml", "default/datasets/bc.yaml", "default/datasets/01/falcon.yaml"):
        shards.learn(path)
    shards.learn(SHARDED)
    assert shards.place(status_path(REF)) == SHARDED
    assert shards.place("default/datasets/falcon.yaml") == "default/datasets/falcon.yaml"
    assert shards.place("sync.yaml") == "sync.yaml"


def test_what_lies_outside_of_the_shards_goes_with_its_next_change() -> None:
    shards = Shards()
    shards.learn(SHARDED)
    changes = {status_path(REF): b"new", removed_path(REF): None, "sync.yaml": b"sync"}
    assert shards.placed(changes) == {
        status_path(REF): None,
        SHARDED: b"new",
        removed_path(REF): None,
        "sync.yaml": b"sync",
    }
