"""``reconciler completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from reconciler.cli.options import config_option

#: What click looks for when a shell asks it to complete.
VARIABLE = "_RECONCILER_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@config_option
@click.pass_context
def completion(context: click.Context, shell: str, config_file: object) -> None:
    """Print the completion script of SHELL.

    It completes commands, options and names of objects. Load it in the shell's start-up file:

    \b
    bash  eval "$(reconciler completion bash)"            in ~/.bashrc
    zsh   eval "$(reconciler completion zsh)"             in ~/.zshrc
    fish  reconciler completion fish | source             in ~/.config/fish/config.fish
    """  # noqa: D301 - click's \b is the character
    made = get_completion_class(shell)
    assert made is not None  # one of the three that click has
    # Its source alone: it would start a shell to look up that shell's version.
    complete = made(context.find_root().command, {}, "reconciler", VARIABLE)
    click.echo(complete.source_template % complete.source_vars())
