"""The web application: its page, style, script, predictions and health check."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from atnet_jax.inference.serve import page
from atnet_jax.inference.serve.desk import Desk
from atnet_jax.inference.serve.guard import LOCAL_HOSTS, Guard

_HERE = Path(__file__).parent


def create(desk: Desk, host: str = "127.0.0.1") -> ASGIApp:
    """Return the web application.

    Args:
        desk: Handler of clips.
        host: Name or address of the server in addition to the local names; IPv6 without [].
    """
    host = f"[{host}]" if ":" in host else host
    style, script = page.style(desk.worker.about), (_HERE / "app.js").read_text(encoding="utf-8")

    def index(_: Request) -> Response:
        about, seconds, local = desk.worker.about, desk.worker.max_seconds, host in LOCAL_HOSTS
        return HTMLResponse(page.index(about, desk.max_bytes, seconds, local=local))

    def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "clips": desk.clips})

    return Guard(
        Starlette(
            routes=[
                Route("/", index),
                Route("/style.css", lambda _: Response(style, media_type="text/css")),
                Route("/app.js", lambda _: Response(script, media_type="text/javascript")),
                Route("/health", health),
                Route("/predict", desk, methods=["POST"]),
            ]
        ),
        [*LOCAL_HOSTS, host],
    )
