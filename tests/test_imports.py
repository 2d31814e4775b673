"""Rules of imports: the order of the folders, and one direction between the two packages."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Each imports only from those before it. A folder is a noun of the paper's line; `evaluation`, its
# end, knows predictions and nothing of what made them, and training scores its validation with it.
LINE = (
    ("errors", "names", "published", "values", "words"),
    ("system",),
    ("preprocessing",),
    ("data",),
    ("models",),
    ("config",),
    ("evaluation",),
    ("weights",),
    ("training",),
    ("experiments",),
    ("inference",),
    ("commands",),
    ("main", "__main__"),
)
PLACE = {name: place for place, names in enumerate(LINE) for name in names}


def imports(path: Path) -> Iterator[str]:
    """Return the full names of the modules and members that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str | None:
    """The file or folder of atnet_jax that a full name is in."""
    package, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    return first if package == "atnet_jax" and first and not first.startswith("__version") else None


def backward(folder: Path) -> list[str]:
    """The imports that break a rule, each as "file imports name"."""
    found = []
    for path in sorted((folder / "atnet_jax").rglob("*.py")):
        where = path.relative_to(folder)
        own = Path(*where.parts[1:]).parts[0].removesuffix(".py")
        if own == "__init__":
            own = "errors"
        for name in imports(path):
            other = room(name)
            if other is not None and other != own and PLACE[other] >= PLACE[own]:
                found.append(f"{where} imports {name}")
            if name.split(".")[0] == "data_builders" and own != "commands":
                found.append(f"{where} imports {name}")
    for path in sorted((folder / "data_builders").rglob("*.py")):
        for name in imports(path):
            other = room(name)
            if other is not None and PLACE[other] > PLACE["config"]:
                found.append(f"{path.relative_to(folder)} imports {name}")
    return found


def test_no_import_runs_back():
    assert backward(REPOSITORY) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("atnet_jax/data/folds.py", "from atnet_jax.training import batches"),
        ("atnet_jax/data/folds.py", "import data_builders.source"),
        ("atnet_jax/models/fusion.py", "    from atnet_jax.config import default_config"),
        ("data_builders/source.py", "from atnet_jax.commands import prepare"),
    ],
)
def test_an_import_turned_round_is_found(tmp_path: Path, file: str, line: str):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"if True:\n    {line.strip()}\n")
    assert len(backward(tmp_path)) == 1
