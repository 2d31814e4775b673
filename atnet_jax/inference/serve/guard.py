"""Checks of every request, and security headers of every response."""

import base64
import hashlib
import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

# Allows no content from other hosts, no script but our own file, and no framing by other pages.
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
    """ASGI middleware that rejects requests for other hosts and uploads from other sites.

    A page of another site can send a form to this server. With a host name that resolves to this
    server (DNS rebinding) it can even read the response. The headers Host, Origin and
    Sec-Fetch-Site are set by the browser and cannot be forged by the page.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        """Create the middleware.

        Args:
            app: The application to protect.
            hosts: Host names by which the server is reached, without ports; IPv6 in [].
        """
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or reject it."""
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
                f"This server only accepts requests to {', '.join(sorted(self._hosts))}.\n", 400
            )
        elif scope["method"] not in ("GET", "HEAD") and not _from_own_page(headers):
            app = PlainTextResponse("This server only accepts clips from its own page.\n", 403)
        await app(scope, receive, send_with_headers)


def policy(page: str = "") -> str:
    """Return a Content-Security-Policy that allows the <style> elements of a page.

    Args:
        page: HTML of the page.
    """
    digests = (
        base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        for style in re.findall("<style>(.*?)</style>", page, re.DOTALL)
    )
    return _POLICY.format(styles="".join(f" 'sha256-{digest}'" for digest in digests))


def _without_port(host: str) -> str:
    return re.sub(":[0-9]*$", "", host).lower()


def _from_own_page(headers: Headers) -> bool:
    """Return whether the request cannot come from a page of another site."""
    # Programs other than browsers send neither header. A form without script sends the Origin
    # "null", because the pages of this server send no referrer.
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin == f"http://{headers['host']}"
