"""The process that holds the trained networks and reads clips.

A clip is a file from anywhere, read by a video decoder: it may crash the process or take for ever.
The server ends the process then and starts another. Both speak in JSON, so that a process which a
clip has taken over cannot make the server run anything, as it could by pickles.
"""

import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeAlias, cast

from atnet_jax.errors import UserError

# Importing JAX and reading the networks takes some ten seconds; more on a busy machine.
_START_SECONDS = 300.0
_LARGEST_MESSAGE = 2**28  # bytes
# A picture of a few kilobytes can unpack to gigabytes.
_MOST_PIXELS = 2**26


Answer: TypeAlias = Callable[[Path, dict[str, Any], str, Callable[[str], None]], Any]
"""Of a clip, the options to read it with, the form of the answer ("json", "page" or "body") and
what is called with the name of each stage: the answer, made of what JSON can hold."""


class Stopped(Exception):
    """The process ended, or was ended, before it gave an answer; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Failed(Exception):
    """The answer ended in an error that is no fault of the clip; it holds the traceback."""


class Worker:
    """A process that answers one clip after another; one that goes wrong is replaced.

    Its methods are called by one thread at a time, save `interrupt` and `retire`.

    Attributes:
        about: what the process said of itself when it was ready.
        max_seconds: that an answer may take.
    """

    def __init__(self, prepare: str, argument: str, folder: Path, max_seconds: float) -> None:
        """Sets up what `start` starts.

        Args:
            prepare: "module:function" of a function of `argument`, called in the process, that
                returns what is to be known about it (for JSON), and the function that answers.
            argument: such as the workdir of the networks.
            folder: removed by the process if the server is killed.
            max_seconds: that an answer may take.
        """
        self.about: dict[str, Any] = {}
        self._arguments = (prepare, argument, str(folder))
        self.max_seconds = max_seconds
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._leash: _Leash | None = None
        self._ready = False
        self._retired = False

    def start(self) -> None:
        """Starts the process and waits until it can answer.

        Raises:
            UserError: the networks cannot be had.
            Failed: any other error.
            Stopped: the process ended meanwhile.
        """
        self._launch()
        self._wait_until_ready()

    def answer(
        self, path: Path, options: dict[str, Any], form: str, progress: Callable[[str], None]
    ) -> Any:
        """Return the worker's answer to a clip; `Answer` documents the arguments.

        Raises:
            UserError: the clip cannot be read, in the answer's words.
            Stopped: the time is over ("overrun"), `interrupt` was called ("interrupted"), or the
                process ended ("crashed"). Another one is being started, unless after `retire`.
            Failed: any other error.
        """
        if self._process is not None and not self._process.is_alive():
            self.stop()  # It ended between two clips.
        if not self._ready:
            progress("Starting the networks anew")
            if self._process is None and not self._retired:
                self._launch()
            self._wait_until_ready()
        job = {"path": str(path), "options": options, "form": form}
        return self._converse(self.max_seconds, job, progress)

    def interrupt(self) -> None:
        """Ends the process if it is busy; the call that waits for it raises `Stopped`."""
        leash = self._leash
        if leash is not None:
            leash.kill("interrupted")

    def retire(self) -> None:
        """From now on, a process that ends is the last one; a signal handler may call this."""
        self._retired = True

    def stop(self) -> None:
        """Ends the process."""
        self._ready = False
        if self._process is not None and self._connection is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = self._connection = None

    def _launch(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._connection = cast(Connection, ours)
        self._process = context.Process(
            target=_run, args=(theirs, *self._arguments), name="atnet_jax_serve", daemon=True
        )
        self._process.start()
        # The other end must be open in the process alone: its death is then the end of the file.
        theirs.close()

    def _wait_until_ready(self) -> None:
        try:
            self.about = self._converse(_START_SECONDS, None, lambda stage: None)
        except (UserError, Failed):
            self.stop()
            raise
        self._ready = True

    def _converse(
        self, seconds: float, job: dict[str, Any] | None, progress: Callable[[str], None]
    ) -> Any:
        """Send the process a job, if any, and return its result."""
        process, connection = self._process, self._connection
        if process is None or connection is None:
            raise Stopped("crashed")
        self._leash = leash = _Leash(process)
        timer = threading.Timer(seconds, leash.kill, ["overrun"])
        timer.start()
        try:
            if job is not None:
                connection.send_bytes(json.dumps(job).encode())
            while True:
                kind, value = json.loads(connection.recv_bytes(_LARGEST_MESSAGE))
                match kind:
                    case "stage":
                        progress(str(value))
                    case "result":
                        return value
                    case "user error":
                        raise UserError(value)
                    case _:
                        raise Failed(value)
        except (UserError, Failed):
            raise
        except Exception:
            # The end of the file, or no message of ours.
            leash.kill("crashed")
            raise Stopped(leash.reason) from None
        finally:
            timer.cancel()
            self._leash = None
            if leash.let_go():
                self.stop()
                if not self._retired:
                    self._launch()


class _Leash:
    """Kills a process for the first reason that there is, unless it was let go before."""

    def __init__(self, process: BaseProcess) -> None:
        self.reason = ""
        self._process = process
        self._free = False
        self._lock = threading.Lock()

    def kill(self, reason: str) -> None:
        with self._lock:
            if not self._free and not self.reason:
                self.reason = reason
                self._process.kill()

    def let_go(self) -> bool:
        """Whether the process was killed; if not, it is safe from now on."""
        with self._lock:
            self._free = True
            return bool(self.reason)


def _run(connection: Connection, prepare: str, argument: str, folder: str) -> None:
    """The process: gets ready, then answers until the server closes its end."""
    # Ctrl-C reaches every process of the terminal; the server ends this one in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ending = threading.Thread(target=_end_with_server, args=(folder,), daemon=True)
    ending.start()
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(_MOST_PIXELS)  # OpenCV is not loaded yet.
    # A crash must not leave a picture of somebody's face in a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _die_first()

    def send(kind: str, value: Any) -> None:
        connection.send_bytes(json.dumps([kind, value], allow_nan=False).encode())

    def attempt(function: Callable[[], Any]) -> None:
        try:
            send("result", function())
        except UserError as error:
            send("user error", str(error))
        except Exception:
            send("failed", traceback.format_exc())

    answer: Answer | None = None

    def get_ready() -> Any:
        nonlocal answer
        module, _, name = prepare.partition(":")
        about, answer = getattr(importlib.import_module(module), name)(argument)
        return about

    attempt(get_ready)
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except EOFError:
            # The server is no more; the other thread cleans up and ends this process.
            ending.join()
            return

        def work(job: dict[str, Any] = job) -> Any:
            assert answer is not None
            path = Path(job["path"])
            return answer(path, job["options"], job["form"], lambda stage: send("stage", stage))

        attempt(work)


def _end_with_server(folder: str) -> None:
    """A killed server must leave neither this process nor a clip behind."""
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _die_first() -> None:
    """Where memory runs out, Linux ends this process before any other, above all the server."""
    if sys.platform == "linux":
        Path("/proc/self/oom_score_adj").write_text("1000")
