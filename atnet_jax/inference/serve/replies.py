"""The three forms of a response: a page, JSON, and lines of JSON that report progress."""

import json
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Send

from atnet_jax.inference.serve.form import Refused
from atnet_jax.inference.serve.guard import policy
from atnet_jax.inference.serve.page import error_page

_LINES = "application/x-ndjson"


class Whole:
    """A page or JSON, sent when it is complete, with a matching HTTP status."""

    def __init__(self, form: str, request: Request, send: Send) -> None:
        """Create a response of the form "json" or "page".

        Args:
            form: The form.
            request: The request to respond to.
            send: ASGI function that sends the response.
        """
        self.form = form
        self._request = request
        self._send = send

    async def stage(self, name: str) -> None:
        """Ignore a stage: this form of response does not report progress."""

    async def answer(self, answer: Any) -> None:
        """Send the result and end the response."""
        if self.form == "json":
            await self._respond(JSONResponse(answer))
        else:
            # The page of a result contains its style.
            headers = {"Content-Security-Policy": policy(answer)}
            await self._respond(HTMLResponse(answer, headers=headers))

    async def refuse(self, refused: Refused) -> None:
        """Send the error message and end the response."""
        if self.form == "json":
            await self._respond(JSONResponse({"error": refused.sentence}, refused.status))
        else:
            await self._respond(HTMLResponse(error_page(refused.sentence), refused.status))

    async def _respond(self, response: Response) -> None:
        await response(self._request.scope, self._request.receive, self._send)


class Lines:
    """Lines of JSON: {"stage": …}, and at the end {"body": …} or {"error": …, "status": …}.

    The first stage fixes the HTTP status at 200; a request refused before that has its own status.
    """

    form = "body"

    def __init__(self, send: Send) -> None:
        """Create a response.

        Args:
            send: ASGI function that sends the response.
        """
        self._send = send
        self._started = False

    async def stage(self, name: str) -> None:
        """Send the name of a stage."""
        await self._line({"stage": name}, more=True)

    async def answer(self, answer: Any) -> None:
        """Send the result and end the response."""
        await self._line({"body": answer})

    async def refuse(self, refused: Refused) -> None:
        """Send the error message and end the response."""
        line = {"error": refused.sentence, "status": refused.status}
        await self._line(line, status=refused.status)

    async def _line(self, value: dict[str, Any], *, status: int = 200, more: bool = False) -> None:
        if not self._started:
            self._started = True
            headers = [(b"content-type", _LINES.encode())]
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
        body = json.dumps(value).encode() + b"\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


Reply: TypeAlias = Whole | Lines
"""A response in one of the forms; its `form` is passed to the worker."""


def reply_for(request: Request, send: Send) -> Reply:
    """Return a response in the requested form; the default is a page.

    Args:
        request: The request, which selects the form by ?format=json or by its Accept header.
        send: ASGI function that sends the response.
    """
    accepted = request.headers.get("accept", "")
    if request.query_params.get("format") == "json" or "application/json" in accepted:
        return Whole("json", request, send)
    if _LINES in accepted:
        return Lines(send)
    return Whole("page", request, send)
