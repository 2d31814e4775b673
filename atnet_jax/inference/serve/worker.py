"""Worker process that holds the trained networks and predicts.

A clip comes from an untrusted source and is read by a video decoder, so it may crash or hang the
process. The server then kills the process and starts another. The two communicate in JSON, because
pickles from a process that a malicious clip controls could run code in the server.
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

# Importing JAX and loading the networks takes about ten seconds, and longer on a busy machine.
_START_SECONDS = 300.0
_LARGEST_MESSAGE = 2**28  # Bytes.
# A picture of a few kilobytes can decompress to gigabytes.
_MOST_PIXELS = 2**26


Answer: TypeAlias = Callable[[Path, dict[str, Any], str, Callable[[str], None]], Any]
"""Function of a clip's path, the options of the prediction, the form of the result ("json", "page"
or "body"), and a callback for the name of each stage; it returns a JSON-compatible result."""


class Stopped(Exception):
    """The process ended or was killed before it sent a result; `reason` is the cause."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Failed(Exception):
    """The prediction failed with an internal error; the message is its traceback."""


class Worker:
    """A process that processes one clip at a time and is replaced if it crashes or hangs.

    Only one thread at a time may call its methods, except `interrupt` and `retire`.

    Attributes:
        about: Description that the process sent when it was ready.
        max_seconds: Longest time of a prediction in seconds.
    """

    def __init__(self, prepare: str, argument: str, folder: Path, max_seconds: float) -> None:
        """Create the worker without starting its process.

        Args:
            prepare: "module:function" of a function that the process calls with `argument`. It
                returns a JSON-compatible description and the function that predicts.
            argument: Argument of that function, such as the workdir of the networks.
            folder: Folder that the process deletes if the server is killed.
            max_seconds: Longest time of a prediction in seconds.
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
        """Start the process and wait until it is ready.

        Raises:
            UserError: The networks cannot be loaded.
            Failed: Any other error occurred.
            Stopped: The process ended.
        """
        self._launch()
        self._wait_until_ready()

    def answer(
        self, path: Path, options: dict[str, Any], form: str, progress: Callable[[str], None]
    ) -> Any:
        """Return the result of a prediction.

        Args:
            path: The clip.
            options: Options of the prediction.
            form: Form of the result: "json", "page" or "body".
            progress: Called with the name of each stage.

        Raises:
            UserError: The clip cannot be processed.
            Stopped: The time limit was exceeded ("overrun"), `interrupt` was called
                ("interrupted"), or the process ended ("crashed"). Another process is started,
                except after `retire`.
            Failed: Any other error occurred.
        """
        if self._process is not None and not self._process.is_alive():
            self.stop()  # The process ended between two clips.
        if not self._ready:
            progress("Restarting the networks")
            if self._process is None and not self._retired:
                self._launch()
            self._wait_until_ready()
        job = {"path": str(path), "options": options, "form": form}
        return self._converse(self.max_seconds, job, progress)

    def interrupt(self) -> None:
        """Kill the process if it is busy; the call that waits for it raises `Stopped`."""
        leash = self._leash
        if leash is not None:
            leash.kill("interrupted")

    def retire(self) -> None:
        """Start no further processes; a signal handler may call this."""
        self._retired = True

    def stop(self) -> None:
        """Kill the process."""
        self._ready = False
        process, connection = self._process, self._connection
        if process is not None and connection is not None:  # Another thread may stop it too.
            process.kill()
            process.join()
            connection.close()
            self._process = self._connection = None

    def _launch(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._connection = cast(Connection, ours)
        self._process = context.Process(
            target=_run, args=(theirs, *self._arguments), name="atnet_jax_serve", daemon=True
        )
        self._process.start()
        # Only the process may hold the other end open, so that its death closes the connection.
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
            # The connection was closed, or the message was malformed.
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
    """Kills a process once, for the first reason given, unless it was released before."""

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
        """Release the process and return whether it was killed before."""
        with self._lock:
            self._free = True
            return bool(self.reason)


def _run(connection: Connection, prepare: str, argument: str, folder: str) -> None:
    """Run the process: prepare, then process clips until the server closes the connection."""
    # Ctrl-C reaches every process of the terminal; the server stops this process itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ending = threading.Thread(target=_end_with_server, args=(folder,), daemon=True)
    ending.start()
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(_MOST_PIXELS)  # OpenCV is not loaded yet.
    # A crash must not write a person's face to a core file.
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
            # The server has ended; the other thread cleans up and ends this process.
            ending.join()
            return

        def work(job: dict[str, Any] = job) -> Any:
            assert answer is not None
            path = Path(job["path"])
            return answer(path, job["options"], job["form"], lambda stage: send("stage", stage))

        attempt(work)


def _end_with_server(folder: str) -> None:
    """Wait for the server to end, then delete the clips and end this process."""
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _die_first() -> None:
    """Let Linux kill this process before any other, such as the server, if memory runs out."""
    if sys.platform == "linux":
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
