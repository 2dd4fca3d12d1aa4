"""The command line. Exit codes: 0 fine, 1 a failure, 2 findings, 64 bad usage or configuration."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from reconciler import __version__
from reconciler.cli.init import init
from reconciler.cli.plan import plan
from reconciler.cli.run import run
from reconciler.cli.schema import schema
from reconciler.cli.status import status
from reconciler.cli.validate import validate
from reconciler.config import ConfigError
from reconciler.daemon.reporter import WrongBranchError
from reconciler.engines.local.layout import LayoutError
from reconciler.git.errors import GitError
from reconciler.server import ListenError
from reconciler.status.document import StatusFormatError

BAD_USAGE = 64
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="reconciler")
def cli() -> None:
    r"""GitOps for machine-learning models.

    Push Model and Dataset manifests to Git; the reconciler builds, loads and trains what is
    missing, and commits the status back.

    \b
    reconciler init demo && cd demo
    reconciler run --once
    """


for _command in (run, plan, validate, status, schema, init):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        code = cli.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="reconciler",
            standalone_mode=False,
        )
    except click.Abort:
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = BAD_USAGE
    except ConfigError as error:
        click.echo(f"{error}", err=True)
        code = BAD_USAGE
    except (GitError, StatusFormatError, WrongBranchError, ListenError, LayoutError) as error:
        click.echo(f"reconciler: {error}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
