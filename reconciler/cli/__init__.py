"""The command line.

A command's module is imported when the command is called: ``validate`` in an editor's save hook
should not wait for an HTTP server to be imported.
"""

from __future__ import annotations

import codecs
import difflib
import gc
import io
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import click

from reconciler import __version__
from reconciler.cli.exit_codes import ExitCode
from reconciler.cli.terminal import tell
from reconciler.errors import ReconcilerError, UsageFault

#: In the order in which a newcomer meets them.
COMMANDS = {
    "init": "Create a manifest repository with examples.",
    "run": "Run the daemon, or with --once sync and exit.",
    "status": "Show the phase, metrics and history of Models and Datasets.",
    "why": "Explain why a task waits, failed or runs again, and what to do.",
    "logs": "Print the output of a task's command.",
    "retry": "Run failed tasks once more, by a patch or commit.",
    "suspend": "Start nothing new of a Model or Dataset, by a commit.",
    "resume": "Run a suspended Model or Dataset again, by a commit.",
    "cancel": "End what runs of an object and suspend it, by a commit.",
    "accept": "Accept a rejected artifact, by a commit.",
    "compare": "Compare artifacts by params, metrics, code and cost.",
    "artifacts": "List artifacts, images and environments, with sizes and uses.",
    "get": "Copy an artifact to a folder, checked against its marker.",
    "verify": "Compare the files of an artifact with what was recorded of them.",
    "plan": "Show what a commit would run, cancel and remove.",
    "render": "Print the Kubernetes manifests of a Model's or Dataset's Jobs.",
    "validate": "Check manifests, and print each error with file and line.",
    "schema": "Print the JSON Schema of a manifest or of the configuration.",
    "completion": "Print a shell's completion script for these commands.",
}


class _Commands(click.Group):
    """The commands, by name, each from the module of that name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        gc.disable()  # modules stay to the end: looking through them for garbage took 40 ms
        try:
            command = getattr(import_module(f"reconciler.cli.{cmd_name}"), cmd_name)
        finally:
            gc.freeze()
            gc.enable()
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name[:80], COMMANDS)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"No such command '{name}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="reconciler")
def cli() -> None:
    """GitOps for machine-learning models.

    Push Model and Dataset manifests to Git; the reconciler builds, loads and trains what is
    missing, and commits the status to a branch of its own.

    \b
    reconciler init demo && cd demo
    reconciler run --once

    \b
    Exit codes (which command has which: docs/operations.md#exit-codes):
      0  fine           1  a failure     2  findings, of plan and validate
      3  run --once: something waits    64  bad usage or configuration
    """  # noqa: D301 - click's \b is the character


def program() -> NoReturn:
    """Run the command line of this process, and end the process.

    Without other threads it ends at once: to free all objects one by one took 80 ms.
    """
    try:
        main()
    except SystemExit as ended:
        if threading.active_count() > 1 or not isinstance(ended.code, int):
            raise
        with suppress(OSError):
            if sys.stderr is not None:
                sys.stderr.flush()
        os._exit(ended.code)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit. All output is written by then."""
    _print_anything()
    # Objects of a commit live to the end of a plan: with the default of 700 new objects, looking
    # for cycles among them took a fifth of the time of a plan of 10,000 manifests.
    gc.set_threshold(50_000)
    try:
        code = cli.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="reconciler",
            standalone_mode=False,
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    except click.ClickException as error:
        _tell_error(error.format_message(), error)
        bad_usage = isinstance(error, click.UsageError)
        code = ExitCode.BAD_USAGE if bad_usage else ExitCode.FAILURE
    except UsageFault as error:
        _tell_error(str(error))
        code = ExitCode.BAD_USAGE
    except ReconcilerError as error:
        _tell_error(str(error))
        code = ExitCode.FAILURE
    except BrokenPipeError:
        code = ExitCode.FAILURE  # the reader has seen enough, as `head` does
    except OSError as error:
        # A disk that is full, a folder that may not be written: not for a traceback to tell.
        where = f"{error.filename}: " if error.filename is not None else ""
        _tell_error(f"{where}{error.strerror or error}")
        code = ExitCode.FAILURE
    _drop_unwritten()
    sys.exit(code if isinstance(code, int) else 0)


def _tell_error(text: str, error: click.ClickException | None = None) -> None:
    """Print an error, of a wrong usage with the usage before it.

    Every command begins it alike: with ``error:``, as kubectl and Git do.
    """
    if isinstance(error, click.UsageError) and error.ctx is not None:
        usage, path = error.ctx.get_usage(), error.ctx.command_path
        tell(f"{usage}\nTry '{path} --help' for help.\n", err=True)
    tell(f"error: {text}", err=True)


def _print_anything() -> None:
    """Escape characters that the terminal's encoding lacks, and lone surrogates."""
    codecs.register_error("reconciler", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="reconciler")


def _drop_unwritten() -> None:
    """Drop output that cannot be written.

    The interpreter would try once more at its end, and complain.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Write characters as JSON does, so that printed JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end
