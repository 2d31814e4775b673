"""Every command in the documentation, a docstring or a message is valid."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from atnet_jax import commands
from atnet_jax.commands.train import parse_config, setting_types
from atnet_jax.errors import UserError
from tests.conftest import REPOSITORY

PAGES = sorted(
    path
    for folder in (
        "*.md",
        "docs/**/*.md",
        "benchmarks/*.md",
        "data_builders/*/*.md",
        "configs/*.py",
    )
    for path in REPOSITORY.glob(folder)
)
CONFIGS = [path for path in PAGES if path.parent.name == "configs" and path.stem[0] != "_"]
SOURCES = sorted(
    path
    for folder in ("atnet_jax", "data_builders", "benchmarks")
    for path in (REPOSITORY / folder).rglob("*.py")
)
COMMAND = re.compile(r"(?<![\w/])(?:atnet|python -m atnet_jax(?P<main>\.main)?) (?P<rest>[^`\n]+)")


def texts(path: Path) -> Iterator[str]:
    """Yield the text of a page, or the strings of a program with X for each inserted value."""
    if path.suffix == ".md":
        yield path.read_text()
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def printed(path: Path) -> Iterator[list[str]]:
    """The commands in a file, each as a verb and its arguments."""
    for text in texts(path):
        text = re.sub(r"\\\n\s*", "", text)
        text = re.sub(r"(?<!`)`([^`]+)`(?!`)", lambda span: f"`{' '.join(span[1].split())}`", text)
        for found in COMMAND.finditer(text):
            try:
                rest = shlex.split(found["rest"], comments=True)
            except ValueError:  # The rest of a sentence follows.
                rest = found["rest"].split()
            yield ["train", *rest] if found["main"] else rest


def check(command: list[str]) -> None:
    """Checks that the verb is there, and every option and setting that is named."""
    verb, *rest = command
    if verb in ("VERB", "…", "X"):
        return
    options = commands.parser_of(verb).options
    types = {}
    for argument in rest:
        name, _, value = argument.partition("=")
        if name == "--config":
            types = setting_types(parse_config(concrete(value)))
        if name.startswith("--config."):
            types = types or setting_types(parse_config("cde"))
            assert name.removeprefix("--config.") in types, name
        elif name.startswith("--"):
            assert name in options, name


def concrete(text: str) -> str:
    """The configuration that a placeholder stands for."""
    name, colon, method = text.partition(":")
    return name + colon + ("fusion" if method.isupper() else method)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_commands_of_the_documentation(path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    for command in printed(path):
        check(command)
        verb, *rest = command
        if rest in ([], ["--help"]) or any("…" in argument for argument in rest):
            continue  # It is named, or printed in part.
        given = commands.parser_of(verb).read(rest)
        if verb == "train":
            parse_config(concrete(given.config), given.settings)


def test_settings_that_are_named(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    there_are = {name for page in CONFIGS for name in setting_types(parse_config(str(page)))}
    for path in [*PAGES, *SOURCES]:
        for text in texts(path):
            for name in re.findall(r"--config\.([a-z][a-z_.]*[a-z])", text):
                assert name in there_are or name.startswith("options."), f"{path}: {name}"


def test_commands_of_messages_and_docstrings():
    found = [(path, command) for path in SOURCES for command in printed(path)]
    assert len(found) > 20
    for path, command in found:
        try:
            check(command)
        except AssertionError as error:
            raise AssertionError(f"{path}: {command}") from error


@pytest.mark.parametrize(
    "line",
    [
        "atnet trian --config=cde",
        "atnet train --config=cde --workdri=x",
        "atnet train --config=cde --config.num_epoch=1",
        "atnet train --config=cdee",
        "python -m atnet_jax prepare --data=x",
        "python -m atnet_jax.main --config=configs/cde.py --out=x",
    ],
)
def test_invalid_commands_are_found(line, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    page = tmp_path / "page.md"
    page.write_text(f"Type\n```\n{line} \\\n    --face=none\n```\n")
    (command,) = printed(page)
    with pytest.raises((AssertionError, UserError)):
        check(command[:-1])
