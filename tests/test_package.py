"""The metadata of the package agree with its files."""

import re
import tomllib
from pathlib import Path

import yaml

import atnet_jax

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert str(cited["version"]) == atnet_jax.__version__
    assert cited["license"] == "Apache-2.0"
    assert cited["preferred-citation"]["title"].startswith("A Novel Apex-Time Network")


def test_the_change_log_begins_with_this_version():
    log = (REPOSITORY / "CHANGELOG.md").read_text()
    found = re.search(r"^## \[?(\d+\.\d+\.\d+)", log, re.MULTILINE)
    assert found and found[1] == atnet_jax.__version__


def test_data_files_are_part_of_the_wheel():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]
    for package, globs in patterns.items():
        folder = REPOSITORY / package
        taken = {path for pattern in globs for path in folder.glob(pattern)}
        others = {
            path
            for path in folder.rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc")
        }
        assert others <= taken, sorted(others - taken)
