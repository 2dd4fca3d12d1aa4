"""A webhook is told what became of the manifests: once, signed, and never in the way."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

from tests.e2e.receiver import SECRET, Receiver
from tests.e2e.site import Site, stop, until
from tests.e2e.test_operation import get, running


def configure(site: Site, receiver: Receiver, **more: Any) -> None:
    (site.root / "hook-url").write_text(f"{receiver.url}\n")
    (site.root / "hook-secret").write_bytes(SECRET + b"\n")
    section = {"urlFile": "hook-url", "secretFile": "hook-secret", "interval": "0.1s", **more}
    site.configure(notifications=section, server={"address": "127.0.0.1:0"})


def test_what_becomes_of_a_push_is_told_once_and_signed(site: Site, receiver: Receiver) -> None:
    configure(site, receiver)
    site.trained("good")
    site.trained("bad", "echo 'no \"memory\" \\ left' >&2; exit 3\n")
    commit = site.push()
    with running(site) as url:
        until(lambda: len(receiver.events()) == 2, what="both to be told of")
        until(lambda: "} 0.0" not in told_of(get(f"{url}/metrics"), "sent"), what="the count")
        metrics = get(f"{url}/metrics")
    assert {(name, phase) for name, _, phase in receiver.events()} == {
        ("good", "Ready"),
        ("bad", "Failed"),
    }
    assert all(delivery.is_signed() for delivery in receiver.got)
    assert not any(delivery.is_signed(b"whsec_YW5vdGhlcg==") for delivery in receiver.got)
    events = {event["name"]: event for d in receiver.got for event in d.json["events"]}
    assert 'no "memory" \\ left' in events["bad"]["message"]
    assert (events["bad"]["path"], events["bad"]["commit"]) == ("bad.yaml", commit)
    assert receiver.got[0].json["cluster"] == "local"
    assert told_of(metrics, "failed").endswith(" 0.0")
    assert "s3cret-path" not in site.log(), "the URL of a chat's webhook is a secret"


def test_what_a_gate_rejects_is_told_counted_and_has_cost(site: Site, receiver: Receiver) -> None:
    configure(site, receiver)
    site.configure_more(prices={"currency": "EUR", "cpu": 2, "startup": "1h"})
    site.script("src/worse/evaluate.sh", 'echo \'{"accuracy": 0.5}\' >"$RESULT_DIR/metrics.json"\n')
    gate = f'{{command: [evaluate.sh], require: ["accuracy >= 0.9"], env: {site.env("test")}}}'
    site.trained("worse", more=f"    resources: {{cpu: 1}}\n  evaluation: {gate}\n")
    site.push()
    with running(site) as url:
        until(receiver.events, what="the rejection to be told of")
        metrics = get(f"{url}/metrics")
    assert [(name, phase) for name, _, phase in receiver.events()] == [("worse", "Rejected")]
    (event,) = receiver.got[0].json["events"]
    assert "accuracy >= 0.9 (found 0.5)" in event["message"]
    assert 'reconciler_gate_total{result="rejected"} 1.0' in metrics
    assert 'reconciler_gate_total{result="accepted"} 0.0' in metrics
    labels = 'kind="Model",name="worse",namespace="default"'
    (cost,) = re.findall(rf"^reconciler_cost_total{{{labels}}} (.+)$", metrics, re.MULTILINE)
    assert float(cost) >= 2, "an hour of a core to start, and what its command took"


def told_of(metrics: str, result: str) -> str:
    start = f'reconciler_notifications_total{{result="{result}"}}'
    return next(line for line in metrics.splitlines() if line.startswith(start))


def test_a_restart_tells_nothing_again_and_what_changed_meanwhile_once(
    site: Site, receiver: Receiver
) -> None:
    configure(site, receiver)
    site.trained("a")
    assert site.sync().returncode == 0
    assert told(receiver) == ["a Ready"], "also what a short run leaves at its end"
    expected = ["a Ready"]
    for name, number in (("b", signal.SIGKILL), ("c", signal.SIGTERM)):
        site.trained(name)
        site.push()
        expected.append(f"{name} Ready")
        daemon = site.start()
        try:
            until(lambda: len(receiver.events()) >= len(expected), what=f"{name} to be told of")
        finally:
            stop(daemon, number)
        assert told(receiver) == expected
    site.run_once()
    assert told(receiver) == expected


def told(receiver: Receiver) -> list[str]:
    return [f"{name} {phase}" for name, _, phase in receiver.events()]


def test_a_hold_is_told_once_with_the_line_that_releases_it(site: Site, receiver: Receiver) -> None:
    configure(site, receiver)
    for name in ("a", "b"):
        site.trained(name)
    site.sync()
    receiver.got.clear()
    for name in ("a", "b"):
        site.remove(f"{name}.yaml")
    site.sync("Remove everything")
    site.run_once()
    (delivery,) = receiver.got
    (event,) = delivery.json["events"]
    assert (event["type"], event["objects"]) == ("hold", 2)
    line = event["hold"]
    site.write(".reconciler/release", f"{line}\n")
    site.sync("Release it")
    assert site.statuses() == {}


def test_a_receiver_that_is_away_delays_nothing_and_is_tried_again(
    site: Site, receiver: Receiver
) -> None:
    receiver.answers.extend([(503, {}), (429, {"Retry-After": "1"})])
    configure(site, receiver)
    site.trained("a")
    site.push()
    with running(site):
        until(lambda: site.phases().get("a") == "Ready", what="the model, whoever listens")
        until(lambda: len(receiver.got) == 3, what="the third try")
    assert len({delivery.headers["webhook-id"] for delivery in receiver.got}) == 1, "one delivery"
    assert len({delivery.body for delivery in receiver.got}) == 1


def test_one_that_refuses_or_leads_elsewhere_is_not_tried_again(
    site: Site, receiver: Receiver
) -> None:
    elsewhere = Receiver()
    receiver.answers.extend([(404, {}), (307, {"Location": elsewhere.url})])
    configure(site, receiver)
    try:
        for number, name in enumerate(("a", "b"), start=1):
            site.trained(name)
            assert site.sync().returncode == 0
            assert len(receiver.got) == number
        assert elsewhere.got == []
    finally:
        elsewhere.close()


def test_however_much_there_is_an_interval_has_one_delivery(site: Site, receiver: Receiver) -> None:
    configure(site, receiver, interval="1h")
    site.trained("first")
    site.push()
    with running(site):
        until(receiver.events, what="the first delivery")
        for name in ("a", "b", "c"):
            site.trained(name)
            site.push()
            until(lambda: site.phases().get(name) == "Ready", what=name)  # noqa: B023 -- at once
        assert told(receiver) == ["first Ready"]
    assert [sorted(e["name"] for e in d.json["events"]) for d in receiver.got] == [
        ["first"],
        ["a", "b", "c"],
    ], "what waits when the daemon ends is its last delivery"


def test_the_url_and_the_secret_may_rotate(site: Site, receiver: Receiver) -> None:
    first = Receiver()
    configure(site, first)
    site.trained("a")
    site.push()
    try:
        with running(site):
            until(first.events, what="the first delivery")
            (site.root / "new").write_text(receiver.url)
            (site.root / "new").replace(site.root / "hook-url")
            (site.root / "hook-secret").write_bytes(b"whsec_bmV3")
            site.scratch("a", params={"epochs": 2})
            site.push()
            until(receiver.events, what="the delivery to the new place")
    finally:
        first.close()
    assert receiver.got[-1].is_signed(b"whsec_bmV3")


def test_a_template_makes_the_body_of_the_documentation(site: Site, receiver: Receiver) -> None:
    """The example for chats, as the page has it."""
    page = Path(__file__).resolve().parents[2] / "docs/notifications.md"
    _, _, rest = page.read_text().partition("  template: |\n")
    lines = rest.partition("```")[0].splitlines()
    configure(site, receiver, template="\n".join(line[4:] for line in lines))
    site.trained("a", "echo '<!channel> @here' >&2; exit 1\n")
    assert site.sync().returncode == 1
    (text,) = [delivery.json["text"] for delivery in receiver.got]
    assert text.startswith("local: Model default/a is Failed (was ")
    assert "&lt;!channel&gt;" in text
    assert "@here" not in text
