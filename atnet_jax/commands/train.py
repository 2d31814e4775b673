"""Train and evaluate one or several methods, or pre-train one.

If the command is interrupted or killed, rerun it: it resumes from the last checkpoints and produces
the same results. `python -m atnet_jax.main` is the same command.
"""

import importlib.util
import inspect
import os
import textwrap
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import atnet_jax
from atnet_jax.commands.parser import Parser, nearest, path
from atnet_jax.errors import UserError

if TYPE_CHECKING:
    from atnet_jax.config import Config


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add(
        "--config",
        required=True,
        metavar="NAME[:METHOD]",
        help=f"One of {', '.join(_names())}, or the path of a file with a get_config()."
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
    parser.settings = _settings


def run(given: Namespace) -> None:
    """Run the experiment of the configuration and print its result; `given` holds the arguments."""
    from atnet_jax.config import check

    config = check(load_config(given.config, given.settings))
    if config.get("deterministic"):
        flag = "--xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()

    from atnet_jax.experiments import pretrain, suite
    from atnet_jax.experiments import run as experiment
    from atnet_jax.system.memory import keep_freed_memory
    from atnet_jax.training import processes

    keep_freed_memory()
    processes.connect(given.coordinator_address, given.num_processes, given.process_id)
    tasks: dict[str, Callable[[Config, Path], Path | None]] = {
        "evaluate": experiment.train_and_evaluate,
        "final": experiment.train_and_evaluate,
        "pretrain": pretrain.pretrain,
        "table": suite.run,
        "leaderboard": suite.run_leaderboard,
    }
    report = tasks[config.task](config, given.workdir)
    if report is None or config.task == "pretrain":
        return  # The task or another process prints the result.
    table = report.parent / "table.md"  # A suite writes its tables to the report only.
    if table.exists():
        print(f"\n{table.read_text()}")
    print(f"Report: {report.absolute()}")


def load_config(text: str, settings: Sequence[str] = ()) -> "Config":
    """Return the configuration that a command line selects, with its settings applied.

    Args:
        text: A name, such as "cde", or the path of a file. An argument of its `get_config` may
            follow, as in "cde:temporal" or "configs/cde.py:temporal".
        settings: "--config.NAME=VALUE", or the two texts "--config.NAME" and "VALUE".

    Raises:
        UserError: The configuration or a setting does not exist, or a value is not allowed.
    """
    from absl import flags
    from ml_collections import ConfigDict, config_flags

    from atnet_jax.config import FIELDS

    name, *argument = text.split(":", 1)
    file = _find(name)
    spec = importlib.util.spec_from_file_location("config_file", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} is not a Python file. --config is the name or file of one.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    get_config = getattr(module, "get_config", None)
    if get_config is None:
        raise UserError(f"{file} defines no get_config(), which returns the configuration.")
    try:
        inspect.signature(get_config).bind(*argument)
    except TypeError as error:
        raise UserError(f"--config={text}: get_config() of {file} has {error}.") from error
    config = get_config(*argument)
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"get_config() of {file} returns no ConfigDict. Return the one of default_config()."
        )

    known = setting_types(config)
    for setting in settings:
        name = setting.partition("=")[0].removeprefix("--config.").removeprefix("--noconfig.")
        if setting.startswith("--") and name not in known:
            raise UserError(
                f"Unknown setting config.{name}.{nearest(name, list(known))}"
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
        # Groups of settings and options of methods are not in FIELDS.
        expected = field.kind.words if field else "a value of the same type as its default"
        raise UserError(f"{given}: expected {expected}.") from error
    except flags.Error as error:
        raise UserError(f"{error}.") from error
    if rest:
        raise UserError(f"Unexpected argument {rest[0]!r}. Pass settings as --config.NAME=VALUE.")
    return config


def _folder() -> Path:
    """Return the folder of the configurations, in an installed package or in a checkout."""
    package = Path(atnet_jax.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _names() -> list[str]:
    return sorted(file.stem for file in _folder().glob("[!_]*.py"))


def _find(name: str) -> Path:
    """Return the file of a configuration."""
    if name in _names():
        return _folder() / f"{name}.py"
    file = Path(name).expanduser()
    if not file.is_file():
        raise UserError(
            f"Unknown configuration {name!r}.{nearest(name, _names())} Pass the path of a file, or"
            f" one of {', '.join(_names())}."
        )
    return file


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
