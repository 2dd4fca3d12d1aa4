"""What worlds begin with, and what befalls them in more tests than one."""

from __future__ import annotations

from reconciler.planner.ledger import Ledger
from reconciler.types import TaskKind
from tests.planner.world import World, scratch


def settled(**files: str) -> World:
    """A world in which these objects, by name, are done; nothing of that counts as made."""
    world = World({f"{name}.yaml": text for name, text in files.items()})
    world.settle()
    world.made()
    return world


def changed(name: str, epochs: int = 5) -> str:
    """A Model from Scratch with another param."""
    return scratch(name).replace("epochs: 3", f"epochs: {epochs}")


def annotated(manifest: str, annotation: str) -> str:
    """A manifest with an annotation of ours."""
    return manifest.replace("}", f", annotations: {{substratus.ai/{annotation}}}}}", 1)


def restart(world: World) -> None:
    """Another daemon: it has the records, and the engine's runs."""
    world.ledger = Ledger()
    for record in world.records.values():
        world.ledger.learn_record(record)


def training(world: World, name: str) -> str:
    """The run of the training of an object that was built just now."""
    world.sync()
    world.succeed(world.run_of(name, TaskKind.BUILD))
    world.sync()
    return world.run_of(name, TaskKind.TRAIN)
