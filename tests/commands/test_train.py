"""Configurations by name and by path, and the settings that override them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from atnet_jax import commands
from atnet_jax.commands.train import parse_config
from atnet_jax.config import default_config, flat
from atnet_jax.errors import UserError
from tests.conftest import REPOSITORY
from tests.tiny_runs import command

CONFIGS = sorted(path.stem for path in (REPOSITORY / "configs").glob("[!_]*.py"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_name_is_a_file_of_configs(name, monkeypatch, tmp_path):
    by_path = parse_config(str(REPOSITORY / "configs" / f"{name}.py"))
    monkeypatch.chdir(tmp_path)
    assert parse_config(name).to_dict() == by_path.to_dict()


def test_the_method_follows_a_colon(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    for text in ("cde:temporal", "configs/cde.py:temporal"):
        assert parse_config(text).to_dict() == default_config("temporal").to_dict()


def test_a_configuration_file_outside_the_package(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from atnet_jax.config import default_config, flat\n"
        "def get_config(model='spatial'):\n"
        "    config = default_config(model)\n"
        "    config.recipe.num_epochs = 7\n"
        "    return config\n"
    )
    assert parse_config(str(file)).recipe.num_epochs == 7
    changed = parse_config(f"{file}:ststnet", ["--config.recipe.num_epochs=8"])
    assert (changed.model, changed.recipe.num_epochs) == ("ststnet", 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cdee", "Unknown configuration 'cdee'. Did you mean cde\\? Pass the path"),
        ("configs/none.py", "Unknown configuration 'configs/none.py'."),
        (
            "table2:fusion",
            "Cannot call get_config\\(\\) of .*table2.py for .*: too many positional arguments",
        ),
        ("README.md", "README.md is not a Python file"),
        ("atnet_jax/names.py", "names.py does not define get_config\\(\\)"),
        ("tests/commands/no_config.py", "does not return a ConfigDict"),
    ],
)
def test_configurations_that_cannot_be(text, message, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(UserError, match=message):
        parse_config(text)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {}['x']", "line 3: this Python file fails: KeyError: 'x'."),
        ("import sys; sys.exit(3)", "line 3: this Python file fails: SystemExit: 3."),
        ("default_config('ststnet').recipe.epochs = 3", "fails: AttributeError: .* not exist"),
    ],
)
def test_a_configuration_that_fails_is_named_with_its_line(body, message, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"from atnet_jax.config import default_config\ndef get_config():\n  {body}\n")
    with pytest.raises(UserError, match=message):
        parse_config(str(file))


def test_settings():
    config = parse_config(
        "cde",
        ["--config.recipe.num_epochs=3", "--config.seeds=(1,2)",
         "--config.recipe.augment.shift", "0.5", "--config.deterministic",
         "--noconfig.recipe.balance_classes", "--config.data.dir=a b",
         "--config.recipe.learning_rate=1"],
    )  # fmt: skip
    expected = default_config("fusion")
    expected.update(seeds=(1, 2), deterministic=True)
    expected.data.dir = "a b"
    expected.recipe.update(num_epochs=3, balance_classes=False, learning_rate=1.0)
    expected.recipe.augment.shift = 0.5
    assert config == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed=3", "Unknown setting config.seed. Did you mean seeds?"),
        ("num_epochs=3", "Unknown setting config.num_epochs. Did you mean recipe.num_epochs?"),
        (
            "recipe.num_epochs=abc",
            "--config.recipe.num_epochs=abc: expected a whole number from 1 to",
        ),
        (
            "recipe.num_epochs=2.5",
            "--config.recipe.num_epochs=2.5: expected a whole number from 1 to",
        ),
        ("recipe.momentum=ten", "--config.recipe.momentum=ten: expected a number from 0 to 1."),
        ("shuffle_labels=maybe", "--config.shuffle_labels=maybe: expected True or False."),
        ("seeds=(1,", "--config.seeds=(1,: expected one or several different values, each a"),
        ("data=3", "--config.data=3: expected a value of the same type as its default."),
        ("options.foo=3", "fusion has no option config.options.foo. Its options are: fusion, "),
        ("recipe.num_epochs", "Missing value for flag --config.recipe.num_epochs."),
        ("recipe.num_epochs=0", "config.recipe.num_epochs is 0, expected a whole number from 1"),
    ],
)
def test_settings_that_cannot_be(setting, message, capsys):
    arguments = [f"--config.{setting}", "--workdir=x", "--config=cde"]  # In any order.
    assert commands.run(["train", *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"Error: {message}")
    assert said.count("\n") == 1
    assert not Path("x").exists()


def test_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit):
        commands.run(["train", "--help"])
    said = capsys.readouterr().out
    for name, value in flat(default_config("fusion")):
        if not name.startswith("options"):
            assert f"\n  {name} = {value!r}\n" in said


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
    code = "from atnet_jax.experiments.config_file import _folder, load_config; print(_folder());"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} load_config('cde:spatial')"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{package / 'configs'}\n"


def test_a_dry_run_measures_and_leaves_the_workdir_alone(data_dir, tmp_path, capsys):
    arguments = command(data_dir, tmp_path / "run", "--config.seeds=0,1", "--config.folds=0:4")[3:]
    assert commands.run(["train", *arguments, "--dry_run"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    # 30 training clips in batches of 16 take two steps.
    begins = (
        r"ststnet: 36 clips, 4 of 6 folds with each of 2 seeds, 12 steps each, \d at once, about"
    )
    assert re.match(rf"{begins} 0:00:\d\d without compiling and scoring$", first)
    assert re.match(
        r"In all: about .* of disk when finished \(.* GB free\); .* GB of memory", second
    )
    assert third.startswith("Nothing was written to the workdir.")
    assert list(tmp_path.iterdir()) == []
