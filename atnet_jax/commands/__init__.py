"""The commands, one file a verb: `atnet VERB` or `python -m atnet_jax VERB`.

A verb's file defines `add_arguments(parser)` and `run(given)`, which returns the exit status or
None for 0. The first line of its docstring is its line in the list of verbs. It imports what takes
time in `run`, so that its help appears at once.
"""

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
    "Train and evaluate": ("train", "merge", "report"),
    "Read clips with trained networks": ("predict", "serve", "export"),
    "Use weights of others": ("import-caffe", "score-ststnet"),
    "Look up": ("methods",),
}
VERBS = tuple(verb for verbs in STEPS.values() for verb in verbs)

_RESUMABLE = ("prepare", "train")
_FAILED, _INTERRUPTED, _BROKEN_PIPE = 1, 130, 141


def run(arguments: Sequence[str]) -> int:
    """Runs a command line, such as `["train", "--config=cde", "--workdir=run"]`.

    What a user can cause ends in one sentence on the standard error stream: whatever is wrong with
    the arguments or the data (`UserError`), a file that cannot be read or written, Ctrl-C.

    Returns:
        The exit status: 1 after an error, 130 after Ctrl-C, 141 if nobody reads the output.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # What the terminal cannot show is no error.
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        resume = " Rerun the same command to resume." if arguments[0] in _RESUMABLE else ""
        start = "\n" if sys.stderr.isatty() else ""  # A terminal shows ^C in this line.
        print(f"{start}Interrupted.{resume}", file=sys.stderr)
        return _INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return _BROKEN_PIPE
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror}.")


def parser_of(verb: str) -> Parser:
    """What reads the arguments of a verb.

    Raises:
        UserError: There is no such verb.
    """
    if verb not in VERBS:
        hint = nearest(verb, VERBS)
        raise UserError(f"There is no command {verb!r}.{hint} `atnet` lists the commands.")
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
    """The verbs by step, a line each."""
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
    """Whether the pipe is broken that the output goes to, as in `atnet … | head`."""
    try:
        output = sys.stdout.fileno()
    except OSError:
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # Python flushes it as it ends.
    return True
