"""What every request must satisfy, and what every response says to the browser."""

import base64
import hashlib
import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

# Nothing from elsewhere, no script but our own file, no frame of another page around ours.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Lets through what was sent to this server by name, from its own page or from no page.

    A page of another site can send a form here, and by a host name of its own that it lets point
    here (DNS rebinding) can even read the answer. The names in Host, Origin and Sec-Fetch-Site are
    written by the browser and not by the page.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        """Guards an app that is reached by these host names, without ports; [] around IPv6."""
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or lets the app do so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", policy())
            await send(message)

        headers = Headers(scope=scope)
        app = self._app
        if _without_port(headers.get("host", "")) not in self._hosts:
            app = PlainTextResponse(
                f"This server answers at {', '.join(sorted(self._hosts))} only.\n", 400
            )
        elif scope["method"] not in ("GET", "HEAD") and not _from_own_page(headers):
            app = PlainTextResponse("Clips are taken from this server's own page only.\n", 403)
        await app(scope, receive, send_with_headers)


def policy(page: str = "") -> str:
    """The Content-Security-Policy of a page, which allows the <style> elements it holds."""
    digests = (
        base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        for style in re.findall("<style>(.*?)</style>", page, re.DOTALL)
    )
    return _POLICY.format(styles="".join(f" 'sha256-{digest}'" for digest in digests))


def _without_port(host: str) -> str:
    return re.sub(":[0-9]*$", "", host).lower()


def _from_own_page(headers: Headers) -> bool:
    """Whether no page of another site can have sent it; programs other than browsers say nothing.

    As pages here send no referrer, the Origin of a form without script is "null".
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin == f"http://{headers['host']}"
