"""The memory that a process can take."""

import psutil
import pytest

from atnet_jax.system import memory


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/\n", {}, None),
        ("0::/job/step\n", {"job/step/memory.max": "max\n", "job/memory.max": "1000\n"}, 1000),
        ("0::/job/step\n", {"job/step/memory.max": "500\n", "job/memory.max": "1000\n"}, 500),
        ("0::/\n", {"memory.max": "700\n"}, 700),
        (
            "5:cpu,cpuacct:/a\n4:memory:/job/step\n0::/b\n",
            {"memory/job/memory.limit_in_bytes": "900\n", "a/memory.max": "1"},
            900,
        ),
    ],
)
def test_limits_of_control_groups_count(tmp_path, monkeypatch, groups, files, limit):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    of_machine = psutil.virtual_memory()._replace(available=10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: of_machine)
    assert memory.available(tmp_path) == (limit or 10**9)


def test_no_control_groups(tmp_path, monkeypatch):
    of_machine = psutil.virtual_memory()._replace(available=10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: of_machine)
    assert memory.available(tmp_path) == 10**9
