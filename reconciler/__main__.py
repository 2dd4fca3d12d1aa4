"""Entry point of ``python -m reconciler``."""

from reconciler.cli import program

program()
