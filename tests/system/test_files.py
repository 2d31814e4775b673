import errno
import json
import os

import pytest

from atnet_jax.errors import UserError
from atnet_jax.system.files import refuse_existing, write_json_atomically, write_text_atomically


def test_names_of_files_that_are_not_utf_8_are_restored(tmp_path):
    path = tmp_path / "a.json"
    write_json_atomically(path, {"name": '\udcfc"\\ü'})
    assert json.loads(path.read_bytes()) == {"name": '\udcfc"\\ü'}


def test_existing_paths_are_rejected(tmp_path):
    (tmp_path / "empty").mkdir()
    refuse_existing(tmp_path / "empty")
    refuse_existing(tmp_path / "new" / "deep")
    (tmp_path / "full" / "inner").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("full", "file", "link"):
        with pytest.raises(UserError, match=rf"{name} already exists\. Choose a new --out"):
            refuse_existing(tmp_path / name)


def test_text_is_written_byte_for_byte(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomically(path, "é\r\nb\n")
    assert path.read_bytes() == "é\r\nb\n".encode()
    write_text_atomically(path, "second")
    assert path.read_text() == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_text_atomically(path, "old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="no space left"):
            write_text_atomically(path, "new")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomically(path, {"loss": float("nan")})
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_an_error_names_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for path in (tmp_path / "a.txt", tmp_path / "none" / "a.txt"):
        with pytest.raises(OSError) as raised:
            write_text_atomically(path, "new")
        assert raised.value.filename == str(path)


def test_the_file_gets_the_usual_permissions(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    write_text_atomically(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode


def test_json_has_sorted_keys(tmp_path):
    write_json_atomically(tmp_path / "a.json", {"b": 1, "a": ["é"]})
    expected = '{\n  "a": [\n    "é"\n  ],\n  "b": 1\n}\n'
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == expected
