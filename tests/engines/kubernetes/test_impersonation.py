"""A Job is created as the user of its tenant; everything else is asked by the daemon itself."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from reconciler.engines.kubernetes.client import Api
from tests.cluster.kubeconfig import write_kubeconfig

USER = "system:serviceaccount:vision:jobs"


async def test_a_user_is_impersonated_for_one_request(tmp_path: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append((request.method, request.headers.get("Impersonate-User")))
        return web.Response(text="{}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there = {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    file = write_kubeconfig(tmp_path / "kubeconfig", there, {"token": "t"})
    api = await Api.connect(kubeconfig=str(file))
    try:
        await api.create("/jobs", {}, user=USER)
        await api.create("/services", {})
        await api.get("/jobs")
        await api.delete("/jobs/a", {})
    finally:
        await api.close()
        await runner.cleanup()
    assert asked == [("POST", USER), ("POST", None), ("GET", None), ("DELETE", None)]
