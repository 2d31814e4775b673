"""Handling of clips: one at a time, each deleted at the end of its request."""

import asyncio
import contextlib
import sys
import traceback
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from atnet_jax.errors import UserError
from atnet_jax.inference.serve import form, replies, scratch, upload
from atnet_jax.inference.serve.form import Refused
from atnet_jax.inference.serve.worker import Failed, Stopped, Worker

# Number of clips that are uploaded, waiting or processed at a time, and stored on the disk.
PLACES = 4

Result = TypeVar("Result")

_INTERNAL = Refused(500, "Internal error. The terminal of the server shows the details.")
_CLOSED = Refused(503, "The server is shutting down. The clip is deleted.")
_CRASHED = Refused(
    500,
    "The process crashed on this clip: the file may be damaged, or memory ran out. Another process"
    " has been started.",
)


class Desk:
    """The ASGI application behind POST /predict.

    Attributes:
        worker: Process that predicts.
        max_bytes: Largest size of a request in bytes.
        clips: Number of clips that are being uploaded, waiting or processed.
    """

    def __init__(self, worker: Worker, folder: Path, max_bytes: int) -> None:
        """Create the application.

        Args:
            worker: Process that predicts; it must be started.
            folder: Private folder of the server, for uploads.
            max_bytes: Largest size of a request in bytes.
        """
        self.worker = worker
        self.max_bytes = max_bytes
        self.clips = 0
        self._folder = folder
        self._turn = asyncio.Lock()
        self._closed = asyncio.Event()

    def close(self) -> None:
        """Abort all requests because the server shuts down; called by the server's thread."""
        self.worker.retire()
        self._closed.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; its upload is deleted when the response is complete."""
        request = Request(scope, receive)
        reply = replies.reply_for(request, send)
        try:
            work = self._answer(request, reply)
            answer = await _unless(self._closed.wait(), _CLOSED, work)
        except ClientDisconnect:
            return  # No client is left to respond to.
        except Refused as refused:
            await reply.refuse(refused)
        except Exception:
            traceback.print_exc()
            await reply.refuse(_INTERNAL)
        else:
            await reply.answer(answer)

    async def _answer(self, request: Request, reply: replies.Reply) -> Any:
        with self._place(), scratch.request_folder(self._folder) as folder:
            path, fields = await upload.receive(request, folder, self.max_bytes)
            work = self._read(path, form.options(fields), reply)
            return await _unless(_disconnected(request.receive), ClientDisconnect(), work)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self.clips == PLACES:
            raise Refused(
                503, f"{PLACES} clips are already being processed or waiting. Try again later."
            )
        self.clips += 1
        try:
            yield
        finally:
            self.clips -= 1

    async def _read(self, path: Path, options: dict[str, Any], reply: replies.Reply) -> Any:
        """Let the worker process the clip when it is its turn; raise `Refused` on an error."""
        if self._turn.locked():
            await reply.stage("Waiting for another clip to finish")
        async with self._turn:
            try:
                return await self._work(path, options, reply)
            except Stopped as stopped:
                if stopped.reason == "overrun":
                    raise Refused(
                        504,
                        f"Processing took longer than {self.worker.max_seconds:g} s. Cut the clip"
                        f" to the expression, or start the server with a larger --max_seconds.",
                    ) from None
                raise _CRASHED from None
            except UserError as error:
                # The user does not know the folder of the upload, so it is removed from messages.
                raise Refused(422, str(error).replace(f"{path.parent}/", "")) from None
            except Failed as failed:
                print(failed, file=sys.stderr)
                raise _INTERNAL from None

    async def _work(self, path: Path, options: dict[str, Any], reply: replies.Reply) -> Any:
        """Report the stages until the result; a cancelled request interrupts the worker."""
        loop = asyncio.get_running_loop()
        stages: asyncio.Queue[str | None] = asyncio.Queue()

        def progress(stage: str) -> None:
            loop.call_soon_threadsafe(stages.put_nowait, stage)

        work = loop.run_in_executor(None, self.worker.answer, path, options, reply.form, progress)
        work.add_done_callback(lambda _: stages.put_nowait(None))
        try:
            while (stage := await stages.get()) is not None:
                await reply.stage(stage)
            return await work
        finally:
            # The next clip must wait until the worker has stopped using this one.
            while not work.done():
                self.worker.interrupt()
                await asyncio.wait([work], timeout=0.1)
            work.exception()  # Retrieved because asyncio reports unretrieved exceptions.


async def _unless(
    interruption: Coroutine[Any, Any, Any], error: Exception, wanted: Coroutine[Any, Any, Result]
) -> Result:
    """Return the result of `wanted`, or cancel it and raise `error` if interrupted first."""
    work, other = asyncio.ensure_future(wanted), asyncio.ensure_future(interruption)
    try:
        await asyncio.wait([work, other], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise error
    finally:
        other.cancel()
        work.cancel()
        await asyncio.wait([work])


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
