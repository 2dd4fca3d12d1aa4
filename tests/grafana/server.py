"""Serves the page that draws dashboards, the dashboards, and the Prometheus behind them."""

from __future__ import annotations

import mimetypes
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.e2e.prometheus import ROOT
from tests.servers import Handler, Serving

_DASHBOARDS = ROOT / "deploy" / "grafana"


class DashboardServer(Serving):
    """A server on loopback, from its creation to ``close``."""

    def __init__(self, page: Path, prometheus: str) -> None:
        self.page, self.prometheus = page, prometheus
        handler = type("Handler", (_Handler,), {"served": self})
        self.serve(ThreadingHTTPServer(("127.0.0.1", 0), handler))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(Handler):
    served: DashboardServer

    def do_GET(self) -> None:  # noqa: N802 -- as it must be called
        path = urlsplit(self.path).path
        if path.startswith("/api/v1/"):
            self._ask()
        elif path.startswith("/dashboards/"):
            self._file(_DASHBOARDS / Path(path).name)
        else:
            self._file(self.served.page / (path.lstrip("/") or "index.html"))

    def _ask(self) -> None:
        json = [("Content-Type", "application/json")]
        try:
            with urllib.request.urlopen(self.served.prometheus + self.path) as found:
                self.answer(found.status, json, found.read())
        except urllib.error.HTTPError as error:
            self.answer(error.code, json, error.read())

    def _file(self, file: Path) -> None:
        if not file.is_file():
            self.answer(404)
            return
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        self.answer(200, [("Content-Type", kind)], file.read_bytes())
