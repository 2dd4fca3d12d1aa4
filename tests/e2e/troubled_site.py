"""A site of which every metric has something to tell."""

from __future__ import annotations

from tests.e2e.site import GOOD, Site, until
from tests.e2e.test_operation import post


def troubled(site: Site) -> None:
    """One that trains on the only GPU, and one each that fails, waits for more, and is wrong."""
    (site.root / "secret").write_text("a secret")
    site.configure(
        server={"address": "127.0.0.1:0", "webhookSecretFile": "secret"},
        prune={"maxShare": 0.01, "floor": 0},
        prices={"gpus": {"any": 3600.0}},
    )
    for name, gpus, body in (
        ("a", 1, waiting_for(site, "go-a") + GOOD),
        ("greedy", 9, GOOD),
        ("bad", 0, "exit 1\n"),
    ):
        trained(site, name, gpus, body)
    site.write("wrong.yaml", "kind: Model\nmetadata: {name: wrong}\nspec: {sourec: {}}\n")
    bucket = (site.root / "data").as_uri()
    site.write(
        "gone.yaml",
        "kind: Dataset\nmetadata: {name: gone}\n"
        f"spec: {{source: {{bucket: {{url: '{bucket}'}}}}}}\n",
    )
    site.push()


def trained(site: Site, name: str, gpus: int, body: str) -> None:
    site.trained(name, body, more=f"    resources: {{gpu: {{count: {gpus}}}}}\n" if gpus else "")


def more_trouble(site: Site, url: str) -> None:
    """The remote is away; one is to be removed, which is held; one queues for another's GPU."""
    away = site.root / "away.git"
    site.remote.rename(away)
    # Of a counter that appears with its first failure, Prometheus sees an increase by the next.
    until(lambda: site.log().count("cannot be fetched") > 2, what="failed fetches")
    away.rename(site.remote)
    trained(site, "next", 1, waiting_for(site, "go-next") + GOOD)
    site.push()
    until(lambda: site.phases().get("next") == "Training", what="the next to have the GPU")
    site.remove("gone.yaml")
    site.scratch("a", params={"epochs": 2}, more="    resources: {gpu: {count: 1}}\n")
    site.push()
    assert post(f"{url}/webhook", b'{"ref": "refs/heads/main"}', "a secret") == 202
    until(lambda: site.phases().get("gone") == "Held", what="a hold")


def waiting_for(site: Site, name: str) -> str:
    return f"while ! test -e '{site.root / name}'; do sleep 0.1; done\n"
