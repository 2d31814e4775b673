import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.inference.predict import footage
from atnet_jax.inference.predict.footage import open_footage

SMALL = [np.full((48, 64, 3), 8 * k, np.uint8) for k in range(12)]


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a.mp4", "mp4v"),
        ("a.mov", "mp4v"),
        ("a.avi", "MJPG"),
        ("a.webm", "VP80"),
        ("a.mkv", "mp4v"),
    ],
)
def test_a_video_has_rate_and_frames(video, name, code):
    found = open_footage(video(name, SMALL, 125.0, code))
    assert found.frame_rate == pytest.approx(125, rel=0.01)
    read = list(found.frames())
    assert [frame.number for frame in read] == list(range(12))
    assert [round(frame.image.mean() / 8) for frame in read] == list(range(12))
    assert read[4].seconds - read[2].seconds == pytest.approx(2 / 125, rel=0.1)


def test_some_frames(video, folder):
    for found in (open_footage(video("a.mp4", SMALL)), open_footage(folder("f", SMALL))):
        read = list(found.frames([7, 3]))
        assert [frame.number for frame in read] == [3, 7]
        assert [round(frame.image.mean() / 8) for frame in read] == [3, 7]
        assert list(found.frames([])) == []


def test_a_given_rate_wins(video):
    assert open_footage(video("a.mp4", SMALL, 30.0), 240.0).frame_rate == 240


def test_a_folder_is_numbered_as_its_pictures(folder):
    path = folder("clip", SMALL, 46)
    (path / "notes.txt").write_text("mine")
    (path / ".hidden.png").write_bytes(b"")
    found = open_footage(path)
    assert found.numbers == range(46, 58)
    assert found.frame_rate == 0
    assert open_footage(path, 100.0).frame_rate == 100


@pytest.mark.parametrize("name", ["лицо 顔 é.mp4", "100%d*?[1].mp4", "-x y.mp4", "concat:a|b.mp4"])
def test_any_name(video, name):
    assert len(list(open_footage(video(name, SMALL)).frames())) == 12


def test_rotation_in_the_header_is_heeded(video):
    """As phones write it: the picture lies on its side, and the header says so."""
    half = np.zeros((48, 64, 3), np.uint8)
    half[:, 32:] = 200
    path = video("phone.mp4", [half] * 4)
    content = bytearray(path.read_bytes())
    one = (1 << 16).to_bytes(4, "big")
    zero, minus = bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True)
    upright = one + zero * 3 + one + zero * 3 + (1 << 30).to_bytes(4, "big")
    turned = zero + one + zero + minus + zero * 4 + (1 << 30).to_bytes(4, "big")
    place = content.index(upright, content.index(b"tkhd"))
    content[place : place + 36] = turned
    path.write_bytes(content)
    frame = next(open_footage(path).frames())
    assert frame.image.shape == (64, 48)
    # Turned by a quarter clockwise: what was right is below.
    assert frame.image[:24].mean() < 20 and frame.image[40:].mean() > 180


def test_a_playlist_is_no_video(video, tmp_path):
    """FFmpeg would follow it to any file or host."""
    real = video("real.mp4", SMALL)
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", str(real), "#EXT-X-ENDLIST", ""]
    (tmp_path / "hls.mp4").write_text("\n".join(lines))
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {real.name}\n")
    for name in ("hls.mp4", "concat.mp4"):
        with pytest.raises(UserError, match="OpenCV cannot open this video"):
            open_footage(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"not a video", "OpenCV cannot open this video"),
        (png(SMALL[3]), "OpenCV cannot open this video"),
    ],
)
def test_files_that_are_no_video_are_rejected(tmp_path, content, message):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"clip.mp4: .*{message}"):
        open_footage(path)


def test_cut_short(video):
    path = video("cut.mp4", SMALL)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="truncated"):
        open_footage(path)


def test_a_video_that_ends_early_gives_its_frames(video):
    # Of noise, so that the frames fill the file.
    noise = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
    path = video("cut.avi", list(noise), 200.0, "MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    found = open_footage(path)
    assert len(found.numbers) == 12
    assert 5 <= len(list(found.frames())) <= 9


def test_nothing_and_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "none.mp4", tmp_path / "pipe.mp4", Path("/dev/zero")):
        with pytest.raises(UserError, match="no such video file or folder"):
            open_footage(path)
    with pytest.raises(UserError, match=r"no such|not a valid file name"):
        open_footage(tmp_path / ("x" * 300 + ".mp4"))
    with pytest.raises(UserError, match=r"no such|not a valid file name"):
        open_footage(tmp_path / "a\0.mp4")


def test_one_picture_is_no_clip(tmp_path):
    (tmp_path / "face.PNG").write_bytes(png(SMALL[3]))
    with pytest.raises(UserError, match=r"face\.PNG: a single picture shows no motion"):
        open_footage(tmp_path / "face.PNG")


def test_folders_that_are_no_clip(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="this folder contains no frames"):
        open_footage(tmp_path / "empty")
    gap = folder("gap", SMALL)
    (gap / "img5.png").unlink()
    with pytest.raises(UserError, match="frame 5 is missing between frames 0 and 11"):
        open_footage(gap)
    twice = folder("twice", SMALL)
    (twice / "x05.png").write_bytes(png(SMALL[0]))
    with pytest.raises(UserError, match="frame 5 also has the file"):
        open_footage(twice)
    named = folder("named", SMALL)
    (named / "face.png").write_bytes(png(SMALL[0]))
    with pytest.raises(UserError, match=r"face\.png: not named like a frame"):
        open_footage(named)


def test_frames_of_different_sizes(folder):
    path = folder("sizes", SMALL)
    (path / "img7.png").write_bytes(png(SMALL[0][:, :32]))
    with pytest.raises(UserError, match="frame 7 has 32x48 pixels, earlier frames have 64x48"):
        list(open_footage(path).frames())


def test_a_damaged_frame_is_named(folder):
    path = folder("damaged", SMALL)
    (path / "img7.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"img7\.png: OpenCV cannot decode this picture"):
        list(open_footage(path).frames())


def test_too_many_frames_and_pixels(video, folder, monkeypatch):
    monkeypatch.setattr(footage, "MOST_FRAMES", 10)
    for path in (video("a.mp4", SMALL), folder("f", SMALL)):
        with pytest.raises(UserError, match="12 frames, at most 10"):
            open_footage(path)
    monkeypatch.undo()
    monkeypatch.setattr(footage, "_MOST_PIXELS", 1000)
    with pytest.raises(UserError, match="64x48 pixels exceed the limit of 1000 pixels"):
        open_footage(video("b.mp4", SMALL))
    with pytest.raises(UserError, match="64x48 pixels exceed the limit of 1000 pixels"):
        list(open_footage(folder("g", SMALL)).frames())


@pytest.mark.parametrize("rate", [0.0, -5.0, 1e9, float("nan")])
def test_frame_rates_that_are_none(video, rate):
    with pytest.raises(UserError, match="above 0 and up to 2000, in frames per second"):
        open_footage(video("a.mp4", SMALL), rate)
