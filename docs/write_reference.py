"""Write docs/reference/settings.md and commands.md from the code: `python docs/write_reference.py`.

A test compares both pages with what these functions return.
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from atnet_jax import commands, config, models
from atnet_jax.experiments.config_file import config_names, load_config
from atnet_jax.values import Kind

REFERENCE = Path(__file__).parent / "reference"

_SETTINGS = """\
# Settings

<!-- Written by docs/write_reference.py. Edit the texts there or in atnet_jax/config.py. -->

This page lists every setting of a run: its default, its allowed values and its meaning.

Pass settings to `atnet train` as `--config.NAME=VALUE`, for example:

```bash
atnet train --config=cde:temporal --workdir=runs/short \\
    --config.seeds=0,1,2 --config.data.datasets=casme2,samm --config.recipe.num_epochs=10
```

In Python, pass them to `load_config` as a dictionary: `{"seeds": (0, 1, 2)}`. Lists may be typed
with commas. In the path of a folder, `~` is your home folder. `atnet train --help` prints the same
settings.

Recipe defaults are those of the authors' release; `data.flow` and `init_from` are not, see
[Paper and release](paper_and_release.md). The configuration that you name and the recipe of its
method replace some of them; tables below list these. The run's `config.json` records every
value. Invalid values are rejected before anything is read or written.

Settings without a group select the experiment. `data` settings select the inputs. `recipe` settings
are those that a publication states for its training. `engine` settings change results [at most by
rounding](engine.md#which-changes-preserve-results), so you may change them when you resume a run.
You may also move the data and the initial weights, and add folds. A workdir rejects a run that
differs in any other setting.
"""

_GROUPS = {"": "Experiment", "data": "`data`", "recipe": "`recipe`", "engine": "`engine`"}

_OPTIONS = """\
## `options`

Each method has its own options, passed as `--config.options.NAME=VALUE`. The class in
`atnet_jax/models/METHOD.py` describes them; [Paper and release](paper_and_release.md) describes
those of ATNet.
"""

_PRESETS = """\
## Presets

A preset names options of a method. Use it in place of the method, as in
`--config=cde:lbp_top_p8_tim64`.
"""

_RECIPES = """\
## Recipes

These are the settings of the group `recipe` that a method states itself; some equal the default.
They follow the publication of the method; `atnet_jax/models/METHOD.py` lists known differences.
"""

_CONFIGS = """\
## Configurations

These settings differ from the defaults in a configuration named with `--config`. A configuration of
one method trains ATNet (`fusion`, for `pretrain` its stream `spatial`) unless you name another, as
in `--config=cde:temporal`.
"""

_COMMANDS = """\
# Commands

<!-- Written by docs/write_reference.py from the commands' parsers. -->

This page lists every command with its arguments. `atnet` alone prints the list of commands, and
`atnet VERB --help` describes one. With `--version` in place of a verb, it prints the version.
`python -m atnet_jax` is the same as `atnet`.

Options are written `--NAME=VALUE`. An argument followed by … may be repeated. `--out` always names
a new file or folder; nothing is overwritten.

| exit status | meaning |
|---|---|
| 0 | The command succeeded. |
| 1 | The command failed, and standard error states the reason; or `doctor` found an error. |
| 3, 4 | `compare` found another result, or another experiment. |
| 130 | The command was interrupted with Ctrl-C. |
| 141 | The program that read the output has ended. |
"""


def settings_page() -> str:
    """Return the content of docs/reference/settings.md."""
    parts = [_SETTINGS]
    for group, title in _GROUPS.items():
        rows = [
            (f"`{name}`", _code(field.default), _allowed(field.kind), _meaning(field))
            for name, field in config.FIELDS.items()
            if name.rpartition(".")[0].split(".")[0] == group
        ]
        parts.append(f"## {title}\n")
        parts.append(_table(("setting", "default", "allowed values", "meaning"), rows))
    methods = [models.find(name) for name in models.names()]
    kinds = [
        (f"`{method.name}`", f"`{name}`", _code(method.options[name]), config._kind(type_).words)
        for method in methods
        for name, type_ in method.option_types.items()
    ]
    parts += [_OPTIONS, _table(("method", "option", "default", "allowed values"), kinds)]
    presets = [
        (f"`{preset}`", f"`{name}`", _assigned(options))
        for preset, (name, options) in models.presets().items()
    ]
    parts += [_PRESETS, _table(("preset", "method", "options"), presets)]
    recipes = [(f"`{method.name}`", _assigned(method.recipe)) for method in methods]
    parts += [_RECIPES, _table(("method", "settings"), (row for row in recipes if row[1]))]
    parts += [_CONFIGS, _table(("configuration", "settings"), _configurations())]
    return "\n".join(parts)


def commands_page() -> str:
    """Return the content of docs/reference/commands.md."""
    parts = [_COMMANDS]
    for step, verbs in commands.STEPS.items():
        parts.append(f"## {step}\n")
        parts += map(_command, verbs)
    return "\n".join(parts)


def _configurations() -> Iterator[tuple[str, str]]:
    defaults = {name: field.default for name, field in config.FIELDS.items()}
    for name in config_names():
        found = load_config(name)
        different = {
            name: value
            for name, value in config.flat(found)
            if name in defaults and value is not None and value != defaults[name]
        }
        if "methods" in different:
            different["methods"] = f"({len(different['methods'])} methods)"
        yield f"`{name}`", _assigned(different) or "none"


def _command(verb: str) -> str:
    parser = commands.parser_of(verb)
    actions = [action for action in parser._actions if action.dest != "help"]
    parts = [f"### atnet {verb}\n", _text(parser.description or "")]
    if parser.settings:
        parts.append("Settings are passed as `--config.NAME=VALUE`; see [Settings](settings.md).\n")
    if actions:
        rows = [(_name(action), _help(action)) for action in actions]
        parts.append(_table(("argument", "meaning"), rows))
    return "\n".join(parts)


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar}`" + (" …" if action.nargs == "+" else "")
    name = action.option_strings[0]
    if action.nargs == 0:
        return f"`{name}`"
    if action.choices is None:
        return f"`{name}={action.metavar or action.dest.upper()}`"
    return f"`{name}=` {', '.join(f'`{choice}`' for choice in action.choices)}"


def _help(action: argparse.Action) -> str:
    required = " Required." if action.option_strings and action.required else ""
    return _text(action.help or "") + required


def _meaning(field: config.Field) -> str:
    known = (*config.RUNS, *config.SUITES)
    tasks = "" if field.tasks == known else f" (Tasks: {', '.join(field.tasks)}.)"
    return _text(field.meaning + tasks)


def _assigned(values: Any) -> str:
    return ", ".join(f"`{name}={_shown(value)}`" for name, value in values.items())


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def _code(value: Any) -> str:
    return f"`{value!r}`"


def _text(text: str) -> str:
    """Return a text as Markdown: options become code, which typography leaves unchanged."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"--[a-z]\w*(\.\w+)*(=[\w:]+)?", r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts).replace("|", r"\|")


def _allowed(kind: Kind) -> str:
    return _text(kind.words.replace(", ".join(models.names()), "the [methods](methods.md)"))


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head, *lines = (f"| {' | '.join(cells)} |\n" for cells in (header, *rows))
    return "".join([head, f"|{'---|' * len(header)}\n", *lines])


if __name__ == "__main__":
    (REFERENCE / "settings.md").write_text(settings_page(), encoding="utf-8")
    (REFERENCE / "commands.md").write_text(commands_page(), encoding="utf-8")
