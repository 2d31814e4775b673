"""The lock files fit the declared ranges, and `make` installs nothing but what they pin."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PYTHONS = [
    line.rpartition(" ")[2]
    for line in PROJECT["project"]["classifiers"]
    if re.search(r":: 3\.\d+$", line)
]
PLATFORMS = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
ENVIRONMENTS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.7",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": system,
        "platform_system": system.title(),
        "platform_machine": machine,
        "os_name": "posix",
    }
    for python in PYTHONS
    for system, machine in PLATFORMS
]
on_every_environment = pytest.mark.parametrize(
    "environment",
    ENVIRONMENTS,
    ids=lambda one: "-".join(
        one[key] for key in ("python_version", "sys_platform", "platform_machine")
    ),
)


def entries(name: str) -> list[str]:
    """Return the logical lines of a lock file, without comments."""
    text = (REPOSITORY / "locks" / name).read_text()
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip()]


def pins(name: str, environment: dict[str, str] | None = None) -> dict[str, str]:
    """Return the version of each package that a lock file pins for an environment."""
    found: dict[str, str] = {}
    for line in entries(name):
        pin = Requirement(line.partition(" --hash=")[0])
        if pin.marker is None or pin.marker.evaluate(environment):
            package = canonicalize_name(pin.name)
            assert package not in found, f"{name} pins {package} twice for {environment}"
            (only,) = pin.specifier
            assert only.operator == "=="
            found[package] = only.version
    return found


def runtime_ranges() -> list[Requirement]:
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    return [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]


def extra_ranges(extra: str) -> list[Requirement]:
    found = []
    for line in PROJECT["project"]["optional-dependencies"][extra]:
        ranges = Requirement(line)
        if ranges.name == PROJECT["project"]["name"]:
            found += [one for other in ranges.extras for one in extra_ranges(other)]
        else:
            found.append(ranges)
    return found


RANGES = {
    "install.txt": [Requirement(line) for line in PROJECT["build-system"]["requires"]],
    "run.txt": runtime_ranges(),
    "dev.txt": runtime_ranges() + extra_ranges("dev"),
}


@on_every_environment
@pytest.mark.parametrize("name", RANGES)
def test_the_pinned_versions_are_in_the_declared_ranges(name, environment):
    pinned = pins(name, environment)
    for ranges in RANGES[name]:
        if ranges.marker is None or ranges.marker.evaluate(environment):
            version = pinned.get(canonicalize_name(ranges.name))
            assert version and ranges.specifier.contains(version), (
                f"{name} has {version} for {ranges}. Run `make lock`."
            )


@on_every_environment
def test_the_tests_run_with_the_versions_of_the_demo(environment):
    assert pins("run.txt", environment).items() <= pins("dev.txt", environment).items()


@pytest.mark.parametrize("name", RANGES)
def test_a_lock_file_has_hashes_and_no_address(name):
    assert entries(name)
    for line in entries(name):
        assert re.fullmatch(r"[\w.-]+==\S+( ; [^#]*?)?(\s+--hash=sha256:[0-9a-f]{64})+", line), line
    text = (REPOSITORY / "locks" / name).read_text()
    assert "//" not in text and "@" not in text and "index" not in text.lower()


def test_make_installs_from_lock_files_alone():
    """Otherwise the same commands install other versions a month later."""
    make = ["make", "--always-make", "--dry-run", ".venv/tools"]
    done = subprocess.run(make, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    installs = [line for line in done.stdout.splitlines() if " pip install" in line]
    locked = [line for line in installs if "--require-hashes --requirement locks/" in line]
    (own,) = [line for line in installs if line not in locked]
    assert "--no-deps" in own and own.endswith("--editable .")
    assert all("--no-build-isolation" in line for line in installs)
    assert [line.rpartition("/")[2] for line in locked] == ["install.txt", "run.txt", "dev.txt"]


def test_the_installed_versions_are_the_pinned_ones():
    if not (Path(sys.prefix) / "tools").exists():
        pytest.skip("this environment was not installed by make")
    pinned = pins("dev.txt") | pins("install.txt")
    installed = {
        canonicalize_name(one.name): one.version for one in importlib.metadata.distributions()
    }
    different = {
        name: f"{installed.get(name)} is installed, {version} is pinned"
        for name, version in pinned.items()
        if installed.get(name) != version
    }
    assert not different, "Remove .venv and run make again"
