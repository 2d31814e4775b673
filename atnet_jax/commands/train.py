"""Train and evaluate one or several methods, or pre-train one.

If the command is interrupted or killed, rerun it: it resumes from the last checkpoints and produces
the same results. `python -m atnet_jax.main` is the same command.
"""

import textwrap
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from atnet_jax.commands.parser import Parser, path
from atnet_jax.errors import UserError

if TYPE_CHECKING:
    from atnet_jax.config import Config


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    from atnet_jax.experiments.config_file import config_names

    add = parser.option
    add(
        "--config",
        required=True,
        metavar="NAME[:METHOD]",
        help=f"One of {', '.join(config_names())}, or the path of a file with a get_config()."
        " Configurations of a single method take its name as METHOD.",
    )
    add(
        "--workdir",
        required=True,
        type=path,
        metavar="FOLDER",
        help="Folder for checkpoints and results: a new folder, or the folder of a run to resume.",
    )
    add(
        "--coordinator_address",
        metavar="HOST:PORT",
        help="Address of the first of several processes that share the folds.",
    )
    add("--num_processes", type=int, metavar="N", help="Number of processes.")
    add("--process_id", type=int, metavar="N", help="Number of this process, from 0.")
    add(
        "--dry_run",
        action="store_true",
        help="Train a few steps in a temporary folder, print how many clips, folds and steps the"
        " training has and about how much time, memory and disk it takes, and end.",
    )
    parser.settings = _settings


def run(given: Namespace) -> None:
    """Run the experiment of the configuration and print its result; `given` holds the arguments."""
    from atnet_jax.config import check
    from atnet_jax.experiments.dry_run import describe
    from atnet_jax.experiments.train import make_deterministic, run_task
    from atnet_jax.system.memory import keep_freed_memory
    from atnet_jax.training import processes

    config = check(parse_config(given.config, given.settings))
    make_deterministic(config)  # Before the processes connect, which may start JAX.
    keep_freed_memory()
    processes.connect(given.coordinator_address, given.num_processes, given.process_id)
    if given.dry_run:
        for line in describe(config, given.workdir):
            print(line, flush=True)
        return
    report = run_task(config, given.workdir)
    if report is None:
        return  # The task or another process prints the result.
    table = report.parent / "table.md"  # A suite writes its tables to the report only.
    if table.exists():
        print(f"\n{table.read_text('utf-8')}")
    print(f"Report: {report.absolute()}")


def parse_config(text: str, settings: Sequence[str] = ()) -> "Config":
    """Return the configuration that a command line selects, with its settings applied.

    Args:
        text: A name, such as "cde", or the path of a file. An argument of its `get_config` may
            follow, as in "cde:temporal" or "configs/cde.py:temporal".
        settings: "--config.NAME=VALUE", or the two texts "--config.NAME" and "VALUE".

    Raises:
        UserError: The configuration or a setting does not exist, or a value is not allowed.
    """
    from absl import flags
    from ml_collections import config_flags

    from atnet_jax.config import FIELDS
    from atnet_jax.experiments.config_file import read_config, unknown_setting

    config = read_config(text)
    known = setting_types(config)
    for setting in settings:
        name = setting.partition("=")[0].removeprefix("--config.").removeprefix("--noconfig.")
        if setting.startswith("--") and name not in known:
            raise UserError(unknown_setting(name, config))
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=[*settings])
        rest = values(["atnet train", *settings])[1:]
    except flags.IllegalFlagValueError as error:
        name = str(error).removeprefix("flag --config.").partition("=")[0]
        given = [setting for setting in settings if name in setting.partition("=")[0]][-1]
        field = FIELDS.get(name)
        # Groups of settings and options of methods are not in FIELDS.
        expected = field.kind.words if field else "a value of the same type as its default"
        raise UserError(f"{given}: expected {expected}.") from error
    except flags.Error as error:
        raise UserError(f"{str(error).rstrip('.')}.") from error
    if rest:
        raise UserError(f"Unexpected argument {rest[0]!r}. Pass settings as --config.NAME=VALUE.")
    return config


def setting_types(config: "Config", prefix: str = "") -> dict[str, type]:
    """Return the types of all settings by dotted name.

    Args:
        config: A configuration.
        prefix: Prefix of the names.
    """
    found = {}
    for name in config:
        found[f"{prefix}{name}"] = config.get_type(name)
        if hasattr(config[name], "items"):
            found |= setting_types(config[name], f"{prefix}{name}.")
    return found


def _settings() -> str:
    """Return the help text of all settings."""
    from atnet_jax.config import FIELDS

    lines = [
        "settings, passed as --config.NAME=VALUE, with their defaults (configurations and recipes",
        "of methods may have other defaults):",
    ]
    for name, field in FIELDS.items():
        lines.append(f"\n  {name} = {field.default!r}")
        for text in (field.meaning, f"Expected: {field.kind.words}."):
            lines.append(textwrap.indent(textwrap.fill(text, 88, break_on_hyphens=False), " " * 6))
    return "\n".join([*lines, ""])
