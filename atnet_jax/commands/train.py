"""Trains and evaluates a method, or several, or pre-trains one.

If it is interrupted or killed, the same command resumes from the last checkpoints, with the same
results. `python -m atnet_jax.main` is the same command.
"""

import textwrap
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from atnet_jax.commands.parser import Parser, path
from atnet_jax.errors import UserError, nearest

if TYPE_CHECKING:
    from atnet_jax.config import Config


def add_arguments(parser: Parser) -> None:
    """Defines the options."""
    from atnet_jax.experiments.config_file import config_names

    add = parser.option
    add(
        "--config",
        required=True,
        metavar="NAME[:METHOD]",
        help=f"One of {', '.join(config_names())}, or the path of a file with a get_config(); and the"
        " method, for those that run one.",
    )
    add(
        "--workdir",
        required=True,
        type=path,
        metavar="FOLDER",
        help="Folder for checkpoints and results; new, or that of a run to resume.",
    )
    add(
        "--coordinator_address",
        metavar="HOST:PORT",
        help="First of several processes that share the folds.",
    )
    add("--num_processes", type=int, metavar="N", help="How many processes there are.")
    add("--process_id", type=int, metavar="N", help="Which of them this is, from 0.")
    parser.settings = _settings


def run(given: Namespace) -> None:
    """Runs the experiment that the configuration describes and prints its result."""
    from atnet_jax.config import check
    from atnet_jax.experiments.train import make_deterministic, run_task
    from atnet_jax.system.memory import keep_freed_memory
    from atnet_jax.training import processes

    config = check(parse_config(given.config, given.settings))
    make_deterministic(config)
    keep_freed_memory()
    processes.connect(given.coordinator_address, given.num_processes, given.process_id)
    report = run_task(config, given.workdir)
    if report is None:
        return  # The task or another process prints the result.
    table = report.parent / "table.md"  # A suite's tables are in its report alone.
    if table.exists():
        print(f"\n{table.read_text()}")
    print(f"Report: {report.absolute()}")


def parse_config(text: str, settings: Sequence[str] = ()) -> "Config":
    """Read a configuration and the settings that a command line lays over it.

    Args:
        text: A name, such as "cde", or the path of a file; if its `get_config` takes an argument,
            that may follow, as in "cde:temporal" or "configs/cde.py:temporal".
        settings: "--config.NAME=VALUE", or two texts "--config.NAME" and "VALUE".

    Raises:
        UserError: There is no such configuration or setting, or it cannot have this value.
    """
    from absl import flags
    from ml_collections import config_flags

    from atnet_jax.config import FIELDS
    from atnet_jax.experiments.config_file import read_config

    config = read_config(text)
    known = setting_types(config)
    for setting in settings:
        name = setting.partition("=")[0].removeprefix("--config.").removeprefix("--noconfig.")
        if setting.startswith("--") and name not in known:
            raise UserError(
                f"There is no setting config.{name}.{nearest(name, list(known))}"
                " `atnet train --help` lists the settings."
            )
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=[*settings])
        rest = values(["atnet train", *settings])[1:]
    except flags.IllegalFlagValueError as error:
        name = str(error).removeprefix("flag --config.").partition("=")[0]
        given = [setting for setting in settings if name in setting.partition("=")[0]][-1]
        field = FIELDS.get(name)
        # Neither is a group, nor an option of a method.
        expected = field.kind.words if field else "a value of the kind of its default"
        raise UserError(f"{given}: expected {expected}.") from error
    except flags.Error as error:
        raise UserError(f"{error}.") from error
    if rest:
        raise UserError(f"Unexpected argument {rest[0]!r}. Pass settings as --config.NAME=VALUE.")
    return config


def setting_types(config: "Config", prefix: str = "") -> dict[str, type]:
    """The settings, as dotted names, and the types of their values."""
    found = {}
    for name in config:
        found[f"{prefix}{name}"] = config.get_type(name)
        if hasattr(config[name], "items"):
            found |= setting_types(config[name], f"{prefix}{name}.")
    return found


def _settings() -> str:
    """Every setting with its default and meaning."""
    from atnet_jax.config import FIELDS

    lines = [
        "settings, given as --config.NAME=VALUE, with their defaults; a configuration, or the",
        "recipe of a method, may have others:",
    ]
    for name, field in FIELDS.items():
        lines.append(f"\n  {name} = {field.default!r}")
        for text in (field.meaning, f"Expected: {field.kind.words}."):
            lines.append(textwrap.indent(textwrap.fill(text, 88, break_on_hyphens=False), " " * 6))
    return "\n".join([*lines, ""])
