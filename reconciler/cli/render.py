"""``reconciler render``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconciler.cli.clone_planning import Planning
from reconciler.cli.exit_codes import ExitCode
from reconciler.cli.options import clone, config_option, load
from reconciler.cli.select import name_argument, only_key, unknown_name
from reconciler.cli.terminal import tell
from reconciler.config import Setup
from reconciler.engines.kubernetes import ClusterSettings, RenderError, dump, image_tag
from reconciler.engines.kubernetes import render as objects_of
from reconciler.errors import UsageFault
from reconciler.planner import PlanInput, Preview, preview
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import ObjectRef, TaskKey, TaskKind


@click.command()
@name_argument(required=True)
@click.option(
    "-n", "--namespace", help="The namespace.  [default: kubernetes.namespace of the configuration]"
)
@click.option(
    "--task",
    type=click.Choice([kind.value for kind in TaskKind]),
    help="One task alone.  [default: all tasks]",
)
@click.option(
    "--head",
    default="HEAD",
    show_default=True,
    metavar="REV",
    help="The commit whose manifests are rendered.",
)
@click.option(
    "--repo",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    show_default=True,
    help="A clone of the manifest repository.",
)
@config_option
def render(
    name: str, namespace: str | None, task: str | None, head: str, folder: Path, config_file: Path
) -> None:
    """Print the Kubernetes manifests (Jobs and their volumes) of NAME's tasks.

    NAME is a Model or Dataset, or a key (its first 6 or more digits are enough) for one task. The
    YAML is what a sync of the commit would create, also of tasks that are complete already. An
    image that is not built yet is named by its tag; the sync names it by its digest. No cluster is
    needed, only registry.url and buckets.default in the configuration file; its engine may be
    local. Exits with 1 if a task cannot be rendered, and prints the cause.
    """
    setup = load(config_file)
    _check_keys(setup, config_file)
    settings = ClusterSettings.from_setup(setup)
    planning = Planning(setup, clone(folder, setup))
    plan = planning.plan(planning.read(head))
    inputs = plan.inputs
    texts: list[str] = []
    failed = False
    refs, key = _find(inputs, name, namespace, settings.namespace)
    for ref in refs:
        previews = preview(
            inputs, ref, image_tag=lambda space, key: image_tag(space, key, settings)
        )
        blocked = inputs.desired[ref].blocked
        failed |= blocked is not None
        if not previews:
            why = blocked or Reason.of(ReasonCode.NOTHING_RUNS)
            tell(f"error: {ref}: {message(why)}", err=True)
        for item in previews:
            if task not in (None, item.task.value):
                continue
            if key is not None and (item.spec is None or item.spec.key != key):
                continue
            try:
                texts.append(_text(ref, item, settings))
            except RenderError as error:
                failed = True
                tell(f"error: {ref} ({item.label}): {error}", err=True)
    click.echo("---\n".join(texts), nl=False)
    sys.exit(ExitCode.FAILURE if failed else ExitCode.FINE)


def _check_keys(setup: Setup, config_file: Path) -> None:
    """Raise UsageFault without the keys that ``engine: local`` does not need."""
    config = setup.config
    sections = {
        "registry: {url: …}, where images go": config.registry,
        "buckets: {default: {url: …}}, where artifacts go": config.buckets.default,
    }
    missing = [key for key, section in sections.items() if section is None]
    if missing:
        raise UsageFault(
            "to print Kubernetes objects, `reconciler render` needs in "
            f"{config_file}: {'; and '.join(missing)} (engine: {config.engine} may stay)"
        )


def _find(
    inputs: PlanInput, name: str, namespace: str | None, default: str
) -> tuple[list[ObjectRef], TaskKey | None]:
    """Find the objects of a name, or one of a key.

    Of a key, or its beginning, the first object that has it is returned with the key.

    Raises ClickException if there is none, or more than one key.
    """
    desired = inputs.desired
    found = [ref for ref in sorted(desired) if ref.name == name]
    here = [ref for ref in found if ref.namespace == (namespace or default)]
    if here:
        return here, None
    if found:
        elsewhere = ", ".join(sorted({ref.namespace for ref in found}))
        where = namespace or default
        raise click.ClickException(
            f"no object at head is called {name} in {where}; there is one in {elsewhere}"
        )
    keys = (task.key for item in desired.values() for task in item.tasks if task.key is not None)
    key = only_key(name, keys)
    having = (ref for ref in sorted(desired) if namespace in (None, ref.namespace))
    one = next((ref for ref in having if key in {task.key for task in desired[ref].tasks}), None)
    if key is None or one is None:
        raise unknown_name(name, desired)
    return [one], key


def _text(ref: ObjectRef, item: Preview, settings: ClusterSettings) -> str:
    if item.spec is None:
        raise RenderError(item.reason or Reason.of(ReasonCode.KEY_UNKNOWN))
    text = dump(objects_of(item.spec, settings))
    note = f"# {ref}: {item.label}\n"
    if item.unbuilt:
        note += (
            f"# {item.spec.image} is not built yet; a sync waits for it, and pins it by digest.\n"
        )
    return note + text
