"""``reconciler schema``."""

from __future__ import annotations

import json

import click

from reconciler.cli.options import config_option
from reconciler.manifests import kind_schema
from reconciler.types import Kind


@click.command()
@click.argument("what", type=click.Choice(["model", "dataset", "config"]))
@config_option
def schema(what: str, config_file: object) -> None:
    """Print a JSON Schema, with which an editor completes and checks files.

    \b
    reconciler schema model > model.schema.json
    """  # noqa: D301 - click's \b is the character
    if what == "config":
        from reconciler.config import config_schema  # noqa: PLC0415 -- as long as the manifests'

        document = config_schema()
    else:
        document = kind_schema(Kind.MODEL if what == "model" else Kind.DATASET)
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
