"""The pages of settings and commands match the code."""

import importlib.util

import pytest

from tests.conftest import REPOSITORY

WRITER = REPOSITORY / "docs" / "write_reference.py"


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("write_reference", WRITER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["settings", "commands"])
def test_the_page_matches_the_code(writer, page):
    written = (writer.REFERENCE / f"{page}.md").read_text(encoding="utf-8")
    current = getattr(writer, f"{page}_page")()
    assert written == current, f"{page}.md is out of date: run python docs/write_reference.py"


def test_every_setting_option_and_verb_is_listed(writer):
    from atnet_jax import commands, config

    settings = writer.settings_page()
    for name, field in config.FIELDS.items():
        assert f"| `{name}` | `{field.default!r}` | {field.kind.words} | " in settings, name
    listed = writer.commands_page()
    for verb in commands.VERBS:
        assert f"\n### atnet {verb}\n" in listed
        for option in commands.parser_of(verb).options:
            assert option == "--help" or f"`{option}" in listed, (verb, option)
