"""The commands, one module per verb: `atnet VERB` or `python -m atnet_jax VERB`.

The module of a verb defines `add_arguments(parser)` and `run(given)`, which returns the exit status
or None for 0. The first line of its docstring describes the verb in the list of verbs. Slow imports
are in `run`, so that the help appears at once.
"""

import errno
import importlib
import io
import os
import select
import sys
from collections.abc import Sequence
from types import ModuleType

from absl import logging

import atnet_jax
from atnet_jax.commands.parser import Parser
from atnet_jax.errors import UserError, nearest

STEPS = {
    "Prepare data": ("prepare", "doctor", "synthetic"),
    "Train and evaluate": ("train", "merge", "report", "compare", "pack"),
    "Use trained networks": ("predict", "serve", "export"),
    "Use published weights": ("import-caffe", "score-ststnet"),
    "Look up": ("methods",),
}
VERBS = tuple(verb for verbs in STEPS.values() for verb in verbs)

_RESUMABLE = ("prepare", "train")
_REMEDIES = {
    errno.ENOSPC: " Free disk space and rerun the command.",
    errno.EDQUOT: " Free disk space and rerun the command.",
    errno.EROFS: " Choose a folder that can be written to.",
    errno.EACCES: " Change its permissions, or choose another folder.",
}
_FAILED, _INTERRUPTED, _BROKEN_PIPE = 1, 130, 141


def run(arguments: Sequence[str]) -> int:
    """Run a command line.

    Errors that the user can fix are printed to standard error as one line without a traceback:
    errors in the arguments or the data (`UserError`) and files that cannot be read or written.

    Args:
        arguments: Arguments, such as `["train", "--config=cde", "--workdir=run"]`.

    Returns:
        The exit status: 1 after an error, 130 after Ctrl-C, 141 if the output pipe was closed.

    Raises:
        OSError: The error has no error number, so it is a bug.
        RuntimeError: JAX finds devices, so the error is a bug.
        AssertionError: Likewise.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # Some terminals cannot show all characters.
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        resume = " Rerun the same command to resume." if arguments[0] in _RESUMABLE else ""
        start = "\n" if sys.stderr.isatty() else ""  # A terminal shows ^C on the current line.
        print(f"{start}Interrupted.{resume}", file=sys.stderr)
        return _INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return _BROKEN_PIPE
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror}.{_REMEDIES.get(error.errno, '')}")
    except (RuntimeError, AssertionError) as error:
        for code, remedy in _REMEDIES.items():  # Libraries in C++ write the records and arrays.
            if os.strerror(code) in str(error):
                return _fail(f"{str(error).splitlines()[0].rstrip('.')}.{remedy}")
        if not _lacks_devices():
            raise
        platforms = os.environ.get("JAX_PLATFORMS", "")
        asked = f" with JAX_PLATFORMS={platforms}" if platforms else ""
        reason = f" ({str(error).splitlines()[0].rstrip('.')})" if str(error) else ""
        return _fail(
            f"JAX finds no device{asked}{reason}. Install JAX for that device, as"
            f" docs/guides/install.md describes, or set JAX_PLATFORMS=cpu to use the CPU."
        )


def parser_of(verb: str) -> Parser:
    """Return the parser of a verb's arguments.

    Args:
        verb: One of `VERBS`.

    Raises:
        UserError: The verb is unknown.
    """
    if verb not in VERBS:
        hint = nearest(verb, VERBS)
        raise UserError(f"Unknown command {verb!r}.{hint} `atnet` lists the commands.")
    module = _module(verb)
    parser = Parser(verb, module.__doc__ or "")
    module.add_arguments(parser)
    return parser


def _run(arguments: Sequence[str]) -> int:
    verb, *rest = arguments or ["--help"]
    if verb in ("-h", "--help"):
        print(_overview())
        return 0
    if verb == "--version":
        print(f"atnet_jax {atnet_jax.__version__}")
        return 0
    given = parser_of(verb).read(rest)
    logging.set_verbosity(logging.WARNING)  # Orbax and TFDS report every file that they write.
    return _module(verb).run(given) or 0


def _overview() -> str:
    """Return the list of verbs by step, one line per verb."""
    lines = ["Usage: atnet VERB …   `atnet VERB --help` describes a verb.", ""]
    for step, verbs in STEPS.items():
        lines.append(f"{step}:")
        for verb in verbs:
            summary = (_module(verb).__doc__ or "").partition("\n")[0]
            lines.append(f"  {verb:15}{summary}")
        lines.append("")
    return "\n".join(lines[:-1])


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"atnet_jax.commands.{verb.replace('-', '_')}")


def _fail(message: str) -> int:
    print(f"Error: {message}", file=sys.stderr)
    return _FAILED


def _nobody_reads() -> bool:
    """Return whether the reader of the output has closed the pipe, as in `atnet … | head`."""
    try:
        output = sys.stdout.fileno()
    except OSError:
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # Python flushes it at exit.
    return True


def _lacks_devices() -> bool:
    """Return whether JAX was imported but cannot start."""
    jax = sys.modules.get("jax")
    try:
        return jax is not None and not jax.devices()
    except Exception:  # A RuntimeError, or an AssertionError if JAX ignores a missing plugin.
        return True
