"""The program of a command, and why it cannot be started.

Each cause has a code of its own. The wrapper in a cluster (``program.sh``) looks for the same
causes in the same order, and names them alike.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from reconciler.engines.local.failures import CommandError
from reconciler.reasons import ReasonCode

#: Bytes of a program that are looked at. The kernel takes no longer first line than 256.
HEAD = 4096
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ELF = b"\x7fELF"
_LOADER = re.compile(rb"\0(/[!-~]*/ld[^/\0]*\.so[.0-9]*)\0")
_LINUX = sys.platform == "linux"


def find_program(name: str, cwd: Path, path: str) -> str:
    """Find a command's program: in the working directory, else on PATH.

    Raises CommandError for a program that cannot be started.
    """
    here = cwd / name
    try:
        found_here = here.is_file()
    except OSError:  # longer than a name can be, as a whole command line in one word is
        found_here = False
    found = str(here) if found_here else shutil.which(name, path=path) if "/" not in name else None
    if found is None:
        raise CommandError(ReasonCode.COMMAND_NOT_FOUND, name=name[:200])
    _check_permission(name, found)
    _check_head(name, found, cwd, path)
    return found


def _check_permission(name: str, program: str) -> None:
    """Raise CommandError for a file that this user cannot execute."""
    mode = stat.S_IMODE(os.stat(program).st_mode)  # noqa: PTH116 - the path may be relative
    if not mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
        raise CommandError(ReasonCode.COMMAND_NOT_EXECUTABLE, name=name)
    if _LINUX and os.statvfs(program).f_flag & os.ST_NOEXEC:
        raise CommandError(ReasonCode.NOEXEC_MOUNT, name=name, mount=_mount_point(program))
    if not os.access(program, os.X_OK):
        raise CommandError(
            ReasonCode.COMMAND_NOT_PERMITTED, name=name, user=os.geteuid(), mode=f"{mode:o}"
        )


def _mount_point(program: str) -> str:
    place = Path(program).resolve()
    return str(next(folder for folder in place.parents if folder.is_mount()))


def _check_head(name: str, program: str, cwd: Path, path: str) -> None:
    """Raise CommandError for a file whose beginning no kernel can execute."""
    try:
        with open(program, "rb") as file:  # noqa: PTH123 - the path may be relative
            head = file.read(HEAD)
    except OSError:
        return  # it may be executed and not be read

    def is_file(place: str) -> bool:
        try:
            return (cwd / place).is_file()
        except (OSError, ValueError):
            return False

    check_head(name, head, is_file, lambda program: shutil.which(program, path=path) is not None)


def check_head(
    name: str, head: bytes, is_file: Callable[[str], bool], on_path: Callable[[str], bool]
) -> None:
    """Raise CommandError for a file whose beginning no kernel can execute.

    ``is_file`` looks at a path from the working directory, ``on_path`` for a program's name.
    """
    if head.startswith(_ELF):
        loader = _loader(head)
        if loader is not None and not is_file(loader):
            raise CommandError(ReasonCode.LOADER_MISSING, name=name, loader=loader)
        return
    line = head.partition(b"\n")[0]
    if line.startswith(_BYTE_ORDER_MARK + b"#!"):
        raise CommandError(ReasonCode.BYTE_ORDER_MARK, name=name)
    if not line.startswith(b"#!"):
        if _LINUX:
            raise CommandError(ReasonCode.INTERPRETER_LINE_MISSING, name=name)
        return
    if line.endswith(b"\r"):
        raise CommandError(ReasonCode.WINDOWS_LINE_ENDS, name=name)
    _check_interpreter(name, os.fsdecode(line[2:]).strip(" \t"), is_file, on_path)


def _loader(head: bytes) -> str | None:
    """Return the dynamic loader that an ELF program names, if any."""
    found = _LOADER.search(head)
    return os.fsdecode(found[1]) if found else None


def _check_interpreter(
    name: str, line: str, is_file: Callable[[str], bool], on_path: Callable[[str], bool]
) -> None:
    """Raise CommandError unless the interpreter of a first line is there."""
    interpreter, _, argument = line.replace("\t", " ").partition(" ")
    there = bool(interpreter) and is_file(interpreter)
    if there and interpreter.rpartition("/")[2] == "env":
        words = argument.strip().split()
        if words[:1] == ["-S"]:  # split by env; otherwise all of it is one name
            words = [next((word for word in words[1:] if "=" not in word), "")]
        interpreter = " ".join(words)
        found = interpreter.startswith("-") or "/" in interpreter or not interpreter
        there = found or on_path(interpreter)
    if not there:
        shown = "".join(filter(str.isprintable, interpreter))
        raise CommandError(ReasonCode.INTERPRETER_MISSING, name=name, interpreter=shown)


def windows_script(argv: Sequence[str], cwd: Path) -> str | None:
    """Return the first of a command's words that names a Windows script.

    None without one. A shell runs such a script, and each of its commands ends in a carriage
    return.
    """
    for word in argv:
        line = b""
        with contextlib.suppress(OSError, ValueError):
            if (cwd / word).is_file():
                with (cwd / word).open("rb") as file:
                    line = file.readline(HEAD)
        if line.endswith(b"\r\n"):
            return word
    return None
