"""Options that several commands share.

Every command imports this module. So it imports the configuration, Git and manifests only where a
command uses them: each takes longer than the rest of a command such as ``completion``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconciler.cli.terminal import tell
from reconciler.config import CONFIG_VARIABLE, DEFAULT_FILE, REPOSITORY_VARIABLE
from reconciler.errors import UsageFault
from reconciler.urls import is_local, local_path

if TYPE_CHECKING:
    from reconciler.config import Setup
    from reconciler.git import LocalRepository

F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """``--config FILE``."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        envvar=CONFIG_VARIABLE,
        default=DEFAULT_FILE,
        show_default=True,
        show_envvar=True,
        help="The configuration file.",
    )(command)


def repo_option(command: F) -> F:
    """``--repo DIR``."""
    return click.option(
        "--repo",
        "folder",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        default=".",
        show_default=True,
        help="A clone of the manifest repository.",
    )(command)


def is_named(parameter: str) -> bool:
    """Return whether the user gave a value for a parameter."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is not click.core.ParameterSource.DEFAULT


def open_clone(folder: Path) -> LocalRepository:
    """The clone that a folder is in.

    Raises UsageFault outside of one, and GitError where it cannot be read.
    """
    from reconciler.git import LocalRepository, NoRepositoryError  # noqa: PLC0415 -- see above

    try:
        return LocalRepository.open(folder)
    except NoRepositoryError as error:
        context = click.get_current_context()
        has_repo = any(parameter.name == "folder" for parameter in context.command.params)
        other = "name one with --repo" if has_repo else "name its configuration file with --config"
        raise UsageFault(
            f"{folder.absolute()} is not in a Git repository; call "
            f"`reconciler {context.info_name}` in a clone of the manifest repository, or {other}. "
            "`reconciler init DIR` makes a new repository"
        ) from error


def clone(folder: Path, setup: Setup | None) -> LocalRepository:
    """The repository of ``--repo``, else the configured one.

    The latter if it is on this disk; a clone of any other must be where the command is called.
    Raises UsageFault and GitError.
    """
    from reconciler.git import LocalRepository  # noqa: PLC0415 -- see above

    if setup is not None and not is_named("folder") and is_local(setup.repository_url):
        return LocalRepository.open(local_path(setup.repository_url))
    return open_clone(folder)


def dry_run_option(command: F) -> F:
    """``--dry-run``."""
    return click.option(
        "--dry-run", is_flag=True, help="Commit nothing; print the change as a patch."
    )(command)


def seconds(_: click.Context, __: click.Parameter, value: str) -> float:
    """Parse an option's duration, such as 90s or 1h30m."""
    from reconciler.manifests import parse_duration  # noqa: PLC0415 -- see above

    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def format_option(*formats: str) -> Callable[[F], F]:
    """``--format``, of which the first is the default."""
    return click.option(
        "--format",
        "style",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="The output format.",
    )


def wide_option(command: F) -> F:
    """``-o wide``, as kubectl has it."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["wide"]),
        help="Print all columns of the table, also where the terminal is too narrow for them.",
    )(command)


def load(config_file: Path, *, required: bool = False) -> Setup:
    """The configuration, overridden by the environment. Raises ConfigError."""
    from reconciler.config import load_setup, misspelt_variables  # noqa: PLC0415 -- see above

    for variable, key in misspelt_variables(os.environ).items():
        _warn(f"warning: {variable} sets nothing; did you mean {key}?")
    return load_setup(config_file, os.environ, required=required)


@cache
def _warn(message: str) -> None:
    """Print a warning, once for each message."""
    tell(message, err=True)


def load_if_there(config_file: Path) -> Setup | None:
    """The configuration; None without a named or default file.

    As for the daemon, environment variables alone are a configuration if they name the repository.
    """
    context = click.get_current_context()
    source = context.get_parameter_source("config_file")
    if source is click.core.ParameterSource.DEFAULT and not config_file.exists():
        return load(config_file) if REPOSITORY_VARIABLE in os.environ else None
    return load(config_file)
