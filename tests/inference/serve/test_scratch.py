import fcntl
import os
import tempfile

import pytest

from atnet_jax.inference.serve import scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The system's folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def mode(path):
    return path.stat().st_mode & 0o777


def test_folders_are_private_and_go(temporary):
    with scratch.server_folder() as server:
        assert server.parent == temporary
        assert str(os.getpid()) in server.name
        assert mode(server) == 0o700
        with scratch.request_folder(server) as request:
            assert request.parent == server
            assert mode(request) == 0o700
            (request / "clip.avi").write_text("a clip")
        assert list(server.iterdir()) == []
    assert list(temporary.iterdir()) == []


def test_folders_go_when_something_goes_wrong(temporary):
    with pytest.raises(RuntimeError), scratch.server_folder() as server:
        with pytest.raises(ZeroDivisionError), scratch.request_folder(server) as request:
            (request / "clip.avi").write_text("a clip")
            raise ZeroDivisionError
        assert list(server.iterdir()) == []
        raise RuntimeError
    assert list(temporary.iterdir()) == []


def test_files_of_a_killed_server_are_removed_at_the_next_start(temporary):
    left = temporary / "atnet_jax_serve-1-abc"
    (left / "request").mkdir(parents=True)
    (left / "request" / "clip.avi").write_text("a clip")
    with scratch.server_folder():
        assert not left.exists()


def test_folders_in_use_and_other_files_are_kept(temporary, tmp_path):
    theirs = temporary / "atnet_jax_serve-1-abc"
    theirs.mkdir()
    other = temporary / "atnet_jax"
    other.mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("x")
    link = temporary / "atnet_jax_serve-1-link"
    link.symlink_to(target)
    file = temporary / "atnet_jax_serve-1-file"
    file.write_text("x")
    lock = os.open(theirs, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with scratch.server_folder():
            pass
    finally:
        os.close(lock)
    assert {*temporary.iterdir()} == {theirs, other, link, file}
    assert (target / "file").exists()


def test_two_servers_at_a_time(temporary):
    with scratch.server_folder() as first:
        with scratch.server_folder() as second:
            assert first.exists()
            assert second.exists()
        assert first.exists()
    assert list(temporary.iterdir()) == []
