"""The trial of a template that another author wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.notify import TemplateFault, try_template


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}1",
        '"{{ "x" * 10 ** 11 }}"',
    ],
    ids=["loops", "memory"],
)
def test_a_template_that_takes_too_much_is_refused(template: str) -> None:
    with pytest.raises(TemplateFault, match="more than 5 s or 1 GiB"):
        try_template(template)


def test_a_fault_is_told_as_the_body_has_it() -> None:
    with pytest.raises(TemplateFault, match="'evnets' is undefined"):
        try_template('{"text": "{{ evnets }}"}')


def test_a_template_of_any_text_is_tried() -> None:
    try_template('{"text": "\u00e9\u2028{{ cluster }}"}')


def test_nothing_is_imported_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jinja2.py").write_text("open('imported', 'w')\n")
    monkeypatch.chdir(tmp_path)
    try_template("{{ cluster | json }}")
    assert not (tmp_path / "imported").exists()
