"""Takes clips, one after another, and sees to it that nothing of them stays."""

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

# The clip that is read, and those that are uploaded or wait meanwhile: as many uploads as these can
# lie on the disk at a time.
PLACES = 4

Result = TypeVar("Result")

_INTERNAL = Refused(500, "Internal error. The terminal in which the server runs tells the details.")
_CLOSED = Refused(503, "The server is being ended. Nothing of the clip is kept.")
_CRASHED = Refused(
    500,
    "The process that reads clips ended at this one: the file may be damaged, or memory ran out."
    " Another process has been started.",
)


class Desk:
    """The ASGI application behind POST /predict.

    Attributes:
        worker: reads the clips.
        max_bytes: of a request.
        clips: how many are being uploaded, waiting or read.
    """

    def __init__(self, worker: Worker, folder: Path, max_bytes: int) -> None:
        """Takes clips into the server's private folder, and has a started worker read them."""
        self.worker = worker
        self.max_bytes = max_bytes
        self.clips = 0
        self._folder = folder
        self._turn = asyncio.Lock()
        self._closed = asyncio.Event()

    def close(self) -> None:
        """Breaks off what is under way, as the server is being ended; called by its thread."""
        self.worker.retire()
        self._closed.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request; what it sent is gone when the answer is complete."""
        request = Request(scope, receive)
        reply = replies.reply_for(request, send)
        try:
            work = self._answer(request, reply)
            answer = await _unless(self._closed.wait(), _CLOSED, work)
        except ClientDisconnect:
            return  # Nobody is there to be told.
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
            raise Refused(503, f"{PLACES} clips are being read or wait already. Try again later.")
        self.clips += 1
        try:
            yield
        finally:
            self.clips -= 1

    async def _read(self, path: Path, options: dict[str, Any], reply: replies.Reply) -> Any:
        """Let the worker read the clip when it is its turn.

        Raises:
            Refused: there is no answer.
        """
        if self._turn.locked():
            await reply.stage("Waiting for another clip to be read")
        async with self._turn:
            try:
                return await self._work(path, options, reply)
            except Stopped as stopped:
                if stopped.reason == "overrun":
                    raise Refused(
                        504,
                        f"The clip took longer than {self.worker.max_seconds:g} s. Cut it to the"
                        f" expression, or start the server with a larger --max_seconds.",
                    ) from None
                raise _CRASHED from None
            except UserError as error:
                # The folder's name says nothing to the person, whose file has another name.
                raise Refused(422, str(error).replace(f"{path.parent}/", "")) from None
            except Failed as failed:
                print(failed, file=sys.stderr)
                raise _INTERNAL from None

    async def _work(self, path: Path, options: dict[str, Any], reply: replies.Reply) -> Any:
        """Tell of the stages until there is an answer; a cancelled one ends the worker's work."""
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
            # The turn is over only when the worker has let go of the clip.
            while not work.done():
                self.worker.interrupt()
                await asyncio.wait([work], timeout=0.1)
            work.exception()  # Or asyncio would complain that nobody asked for it.


async def _unless(
    interruption: Coroutine[Any, Any, Any], error: Exception, wanted: Coroutine[Any, Any, Result]
) -> Result:
    """Return what is wanted, or raise the error if the interruption comes first.

    The work is over then: it was cancelled, and has cleaned up.
    """
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
