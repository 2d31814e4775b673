"""Configurations by name and by path, and the settings that are laid over them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atnet_jax import commands
from atnet_jax.commands.train import load_config
from atnet_jax.config import default_config
from atnet_jax.errors import UserError
from tests.conftest import REPOSITORY

CONFIGS = sorted(path.stem for path in (REPOSITORY / "configs").glob("[!_]*.py"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_name_is_a_file_of_configs(name, monkeypatch, tmp_path):
    by_path = load_config(str(REPOSITORY / "configs" / f"{name}.py"))
    monkeypatch.chdir(tmp_path)
    assert load_config(name).to_dict() == by_path.to_dict()


def test_the_method_follows_a_colon(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    for text in ("cde:temporal", "configs/cde.py:temporal"):
        assert load_config(text).to_dict() == default_config("temporal").to_dict()


def test_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from atnet_jax.config import default_config\n"
        "def get_config(model='spatial'):\n"
        "    config = default_config(model)\n"
        "    config.recipe.num_epochs = 7\n"
        "    return config\n"
    )
    assert load_config(str(file)).num_epochs == 7
    assert load_config(f"{file}:ststnet", ["--config.recipe.num_epochs=8"]).num_epochs == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cdee", "There is no configuration 'cdee'. Did you mean cde\\? Give the path"),
        ("configs/none.py", "There is no configuration 'configs/none.py'."),
        ("table2:fusion", "get_config\\(\\) of .*table2.py has too many positional arguments"),
        ("README.md", "README.md is no Python file"),
        ("atnet_jax/names.py", "names.py defines no get_config\\(\\)"),
        ("tests/commands/no_config.py", "returns no ConfigDict"),
    ],
)
def test_configurations_that_cannot_be(text, message, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(UserError, match=message):
        load_config(text)


def test_settings(monkeypatch):
    config = load_config(
        "cde",
        ["--config.recipe.num_epochs=3", "--config.seeds=(1,2)", "--config.recipe.augment.shift", "0.5",
         "--config.deterministic", "--noconfig.balance_classes", "--config.data.dir=a b",
         "--config.recipe.learning_rate=1"],
    )  # fmt: skip
    changed = {"num_epochs": 3, "seeds": (1, 2), "deterministic": True, "data_dir": "a b",
               "balance_classes": False, "learning_rate": 1.0}  # fmt: skip
    expected = default_config("fusion")
    expected.update(changed)
    expected.augment.shift = 0.5
    assert config == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--config.num_epoch=3", "There is no setting config.num_epoch. Did you mean num_epochs?"),
        (
            "--config.recipe.augment.shft=3",
            "There is no setting config.recipe.augment.shft. Did you mean",
        ),
        ("--config.recipe.num_epochs=abc", "--config.recipe.num_epochs=abc: expected a whole number."),
        ("--config.recipe.num_epochs=2.5", "--config.recipe.num_epochs=2.5: expected a whole number."),
        ("--config.recipe.learning_rate=ten", "--config.recipe.learning_rate=ten: expected a number."),
        ("--config.shuffle_labels=maybe", "--config.shuffle_labels=maybe: expected True or False."),
        ("--config.seeds=(1,", "--config.seeds=(1,: expected a tuple, such as"),
        ("--config.recipe.augment=3", "--config.recipe.augment=3: expected one of the settings in it."),
        ("--config.recipe.num_epochs", "Missing value for flag --config.recipe.num_epochs."),
        ("x", "Unexpected argument 'x'. Pass settings as --config.NAME=VALUE."),
    ],
)
def test_settings_that_cannot_be(setting, message, capsys):
    assert commands.run(["train", "--config=cde", "--workdir=x", setting]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"Error: {message}")
    assert said.count("\n") == 1
    assert not Path("x").exists()


def test_a_setting_may_come_before_the_configuration(capsys):
    arguments = ["--config.recipe.num_epochs=abc", "--workdir=x", "--config=cde"]
    assert commands.run(["train", *arguments]) == 1
    assert "expected a whole number" in capsys.readouterr().err


def test_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit):
        commands.run(["train", "--help"])
    said = capsys.readouterr().out
    config = default_config("fusion")
    for name in config:
        if name not in ("augment", "options"):
            assert f"  {name} = {config[name]!r}\n" in said
    assert f"  augment.shift = {config.recipe.augment.shift}\n" in said


def test_configurations_are_found_beside_the_package(tmp_path):
    """As in a wheel, where they lie within it."""
    package = tmp_path / "site" / "atnet_jax"
    package.parent.mkdir()
    for name, target in {"atnet_jax": None, "configs": "configs"}.items():
        source = REPOSITORY / name
        folder = package if target is None else package / target
        folder.mkdir()
        for path in source.iterdir():
            if not (folder / path.name).exists() and path.name != "__pycache__":
                os.symlink(path, folder / path.name)
    code = "from atnet_jax.commands.train import _folder, load_config; print(_folder());"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} load_config('cde:spatial')"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{package / 'configs'}\n"
