"""Failed calls to the outside are counted by what kind of failure they were."""

from __future__ import annotations

import pytest

from reconciler.engine import EngineError
from reconciler.engines.kubernetes.api_errors import from_answer
from reconciler.errors import Trouble
from reconciler.git.errors import explain
from reconciler.metrics import Metrics
from reconciler.reasons import Reason, ReasonCode
from tests.metrics.watched import value


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ("fatal: Could not resolve host: host", Trouble.UNREACHABLE),
        ("fatal: repository 'https://host/a/' not found", Trouble.MISSING),
        ("fatal: Authentication failed for 'https://host/a/'", Trouble.REFUSED),
        ("Host key verification failed.", Trouble.UNTRUSTED),
        ("fatal: bad object refs/heads/main", Trouble.DAMAGED),
        ("fatal: Empty reply from server", Trouble.OTHER),
    ],
)
def test_a_failed_fetch_is_counted_by_what_kind_of_failure_it_was(
    said: str, trouble: Trouble
) -> None:
    metrics = Metrics()
    metrics.failed("fetch", explain("https://host/a", said, configured=True))
    assert value(metrics, "errors_total", **{"where": "fetch", "class": trouble.value}) == 1


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        (403, Trouble.REFUSED),
        (404, Trouble.MISSING),
        (409, Trouble.CONFLICT),
        (422, Trouble.REJECTED),
        (503, Trouble.UNREACHABLE),
    ],
)
def test_a_failed_creation_is_counted_by_what_the_cluster_answered(
    status: int, trouble: Trouble
) -> None:
    metrics = Metrics()
    error = EngineError(Reason.of(ReasonCode.ENGINE_UNAVAILABLE, detail="there is no namespace"))
    error.__cause__ = from_answer(status, b"{}", None)
    metrics.failed("engine", error)
    assert value(metrics, "errors_total", **{"where": "engine", "class": trouble.value}) == 1


def test_an_answer_that_is_nested_without_an_end_is_a_page_of_a_proxy() -> None:
    error = from_answer(503, b'{"items": ' + b"[" * 100_000, None)
    assert error.trouble is Trouble.UNREACHABLE
