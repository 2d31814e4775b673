"""The pages of settings, commands and methods say what the code says."""

import importlib.util
import re

import pytest

from atnet_jax import models
from tests.conftest import REPOSITORY

WRITER = REPOSITORY / "docs" / "write_reference.py"


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("write_reference", WRITER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["settings", "commands"])
def test_the_page_is_what_the_code_says(writer, page):
    written = (writer.REFERENCE / f"{page}.md").read_text(encoding="utf-8")
    current = getattr(writer, f"{page}_page")()
    assert written == current, f"{page}.md is out of date: run python docs/write_reference.py"


def test_every_setting_option_and_verb_is_listed(writer):
    from atnet_jax import commands, config

    settings = writer.settings_page()
    for name, field in config.FIELDS.items():
        assert f"| `{name}` | `{field.default!r}` | " in settings, name
        assert writer._text(field.meaning) in settings, name
    listed = writer.commands_page()
    for verb in commands.VERBS:
        assert f"\n### atnet {verb}\n" in listed
        for option in commands.parser_of(verb).options:
            assert option == "--help" or f"`{option}" in listed, (verb, option)


ROW = re.compile(r"\| `(\w+)`.*")


def rows_of_methods():
    text = (REPOSITORY / "docs" / "reference" / "methods.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        if ROW.fullmatch(line):
            name, _, _, size, _ = (cell.strip() for cell in line.strip("|").split("|"))
            yield re.findall(r"`(\w+)`", name), size


def test_every_method_has_a_row():
    named = {name for names, _ in rows_of_methods() for name in names}
    presets = models.presets()
    for name in models.names():
        assert name in named or any(presets[each][0] == name for each in named & set(presets))


@pytest.mark.parametrize(("names", "size"), list(rows_of_methods()), ids=str)
def test_the_size_of_a_method(names, size):
    method, options = models.presets().get(names[0], (names[0], {}))
    found = models.find(method)
    if " to " in size:  # The presets differ.
        presets = [chosen for own, chosen in models.presets().values() if own == method]
        sizes = [found.size({**found.options, **chosen}) for chosen in presets]
        assert size == f"{min(sizes)} to {max(sizes)}"
    else:
        assert int(size.replace(",", "")) == found.size({**found.options, **options})
