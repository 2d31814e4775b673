"""Configurations, loaded by name or from a file and changed by settings."""

import importlib.util
import inspect
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import atnet_jax
from atnet_jax.config import FIELDS, Config, check, flat
from atnet_jax.errors import UserError, nearest


def load_config(name: str | os.PathLike[str], settings: Mapping[str, Any] | None = None) -> Config:
    """Load a configuration and change some of its settings.

    Args:
        name: The name of a configuration that comes with the package, such as "cde", or the path
            of a Python file with a `get_config()`. A method may follow it: "cde:temporal".
        settings: Values by dotted name, such as `{"recipe.num_epochs": 10}`. The reference of
            settings lists all names.

    Returns:
        The configuration, an `ml_collections.ConfigDict`, with every value checked.

    Raises:
        UserError: The configuration or a setting does not exist, or a value is not allowed.
    """
    if not isinstance(settings, Mapping | None):
        raise UserError(f"The settings are {settings!r}, expected a mapping of names to values.")
    config = read_config(name)
    known = dict(flat(config))
    for setting, value in flat(settings or {}):
        if setting not in known:
            raise UserError(unknown_setting(setting, config))
        field = FIELDS.get(setting)  # `check` checks the options of a method.
        try:
            read = field.kind.read(value) if field else value
            config.update_from_flattened_dict({setting: read})
        except (TypeError, ValueError) as error:
            expected = field.kind.words if field else f"a value like {known[setting]!r}"
            raise UserError(f"config.{setting} is {value!r}, expected {expected}.") from error
    return check(config)


def unknown_setting(name: str, config: Config) -> str:
    """Return the error message about a setting that a configuration does not have.

    Args:
        name: Dotted name of the setting.
        config: The configuration.
    """
    if name.startswith("options.") and "options" in config:
        options = ", ".join(config.options) or "none"
        return (
            f"{config.model} has no option config.{name}. Its options are: {options}."
            f" --config=cde:METHOD selects another method."
        )
    known = [known for known, _ in flat(config)]
    return (
        f"Unknown setting config.{name}.{nearest(name, known)} `atnet train --help` lists the"
        f" settings."
    )


def read_config(text: str | os.PathLike[str]) -> Config:
    """Return a configuration as its file defines it, not checked by `check`.

    Args:
        text: The `name` of `load_config`.

    Raises:
        UserError: The configuration does not exist or does not take such a method.
    """
    text = os.fspath(text)
    name, *argument = text.split(":", 1)
    file = _find(name)
    spec = importlib.util.spec_from_file_location("config_file", file)
    if spec is None or spec.loader is None:
        raise UserError(
            f"{file} is not a Python file. Pass the name or the Python file of a configuration as"
            f" --config."
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(_failure(file, error)) from error
    get_config = getattr(module, "get_config", None)
    if get_config is None:
        raise UserError(
            f"{file} does not define get_config(). Define it, and return the configuration from it."
        )
    try:
        inspect.signature(get_config).bind(*argument)
    except TypeError as error:
        raise UserError(
            f"Cannot call get_config() of {file} for --config={text}: {error}."
        ) from error
    try:
        config = get_config(*argument)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(_failure(file, error)) from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"get_config() of {file} does not return a ConfigDict. Return the one of"
            f" default_config()."
        )
    return config


def _failure(file: Path, error: BaseException) -> str:
    """Return the message about an error of the user's code, with its line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == str(file)]  # fmt: skip
    where = f"{file}, line {lines[-1]}" if lines else str(file)
    reason = " ".join(str(error).split()).rstrip(".")[:200]
    return f"{where}: this Python file fails: {type(error).__name__}: {reason}."


def config_names() -> list[str]:
    """Return the names of the configurations that come with the package, sorted."""
    return sorted(file.stem for file in _folder().glob("[!_]*.py"))


def _folder() -> Path:
    """Return the folder of these configurations, in an installed package or in a checkout."""
    package = Path(atnet_jax.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _find(name: str) -> Path:
    if name in config_names():
        return _folder() / f"{name}.py"
    file = Path(name).expanduser()
    if not file.is_file():
        raise UserError(
            f"Unknown configuration {name!r}.{nearest(name, config_names())} Pass the path of a"
            f" file, or one of {', '.join(config_names())}."
        )
    return file
