"""The order of the pull requests that the daemon opens."""

from __future__ import annotations

from reconciler.review import by_urgency
from reconciler.review.updates import SOURCE_KEY_FIELD, Update
from reconciler.types import Kind, ObjectRef, SourceField


def update(name: str, source: SourceField, field: tuple[str, ...]) -> Update:
    ref = ObjectRef(Kind.MODEL, "default", name)
    return Update(ref=ref, source=source, file="", field=field, new="", title="", text="")


def test_promotions_come_first_and_the_code_of_a_test_after_its_model() -> None:
    pin = ("spec", "source", "git", "commit")
    promotion = update("z", SourceField.OBJECT, SOURCE_KEY_FIELD)
    model = update("a", SourceField.OBJECT, pin)
    test = update("a", SourceField.EVALUATION, ("spec", "evaluation", *pin[1:]))
    assert by_urgency([test, model, promotion]) == [promotion, model, test]
