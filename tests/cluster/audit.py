"""What an API server was asked, by its audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.cluster.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: ``watch pods`` is of a verb and a resource; the code is 0 of an open watch.

    A subresource is named as in RBAC: ``pods/log``.
    """

    verb: str
    resource: str
    name: str
    code: int
    agent: str

    @property
    def what(self) -> str:
        return f"{self.verb} {self.resource}"


def asked(cluster: Cluster, *, agent: str = "", since: int = 0) -> Iterator[Asked]:
    """Every request that was logged after the first ``since`` lines, of one kind of client."""
    for line in lines(cluster)[since:]:
        event = json.loads(line)
        if event["stage"] == "ResponseComplete" and event.get("userAgent", "").startswith(agent):
            reference = event.get("objectRef", {})
            part = f"/{reference['subresource']}" if reference.get("subresource") else ""
            yield Asked(
                verb=event["verb"],
                resource=reference.get("resource", event["requestURI"]) + part,
                name=reference.get("name", ""),
                code=event.get("responseStatus", {}).get("code", 0),
                agent=event.get("userAgent", ""),
            )


def lines(cluster: Cluster) -> list[str]:
    """The log so far; a line that is still being written is left out."""
    text = (cluster.folder / "logs" / "audit.log").read_text()
    return text[: text.rfind("\n") + 1].splitlines()
