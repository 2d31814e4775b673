"""The documentation site builds without a warning and needs no network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import atnet_jax

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run([*command, str(DOCS), str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_in_the_index(site):
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    pages |= {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.ipynb")}
    index = (site / "index.html").read_text()
    missing = [str(page) for page in sorted(pages) if f'href="{page}.html"' not in index]
    assert missing in ([], ["index"])


def test_pages_load_nothing_from_elsewhere(site):
    for page in sorted(site.rglob("*.html")):
        found = re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(https?://[^"]*)"', page.read_text()
        )
        assert found == [], page


def test_every_public_name_is_on_the_page_of_the_interface(site):
    page = (site / "reference" / "python.html").read_text()
    for name in sorted(set(atnet_jax.__all__) - {"CLASSES", "UserError", "models"}):
        assert f'id="atnet_jax.{name}"' in page, name
