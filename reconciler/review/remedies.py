"""Remedies of failed tasks, with their file and their log. Pure."""

from __future__ import annotations

import posixpath

from reconciler.manifests import LoadSection, TrainingSection
from reconciler.planner import ObjectStatus, Plan, TaskAction, newest_printed
from reconciler.reasons import ON_FILES, remedy


def failure_remedy(plan: Plan, action: TaskAction) -> str:
    """Return the remedy of a failed task as sentences; empty without one.

    A file of the source is named by its path in its repository.
    """
    code = action.reason.root.code
    file, repository = _program(plan, action) if code in ON_FILES else ("", "")
    todo = remedy(code, file=file)
    return f"{todo} Its repository is {repository}." if repository else todo


def log_command(action: TaskAction, record: ObjectStatus | None) -> str:
    """Return the command that prints a task's log; empty without one."""
    tasks = record.tasks if record is not None else ()
    kind, key = action.task.kind, action.task.key
    task = next((t for t in tasks if t.task is kind and t.key == key and t.has_printed), None)
    if task is None:
        return ""
    which = "" if newest_printed(tasks) is task else f" --task {kind}"
    return f"reconciler logs {action.ref.name}{which}"


def _program(plan: Plan, action: TaskAction) -> tuple[str, str]:
    """Return the path of a command's program, and its repository's URL.

    The URL is empty for the manifests' own, and the path for an image that no build here makes.
    """
    section, build = action.task.section, action.task.image_build
    if build is None or not isinstance(section, LoadSection | TrainingSection):
        return "", ""
    for item in plan.inputs.desired.values():
        if item.source is not None and item.image_build == build:
            git = item.source.request
            return posixpath.normpath(posixpath.join(git.path, section.command[0])), git.url
    return "", ""
