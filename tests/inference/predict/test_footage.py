import os
import re
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.inference.predict import caveats, footage
from atnet_jax.inference.predict.footage import open_footage
from atnet_jax.preprocessing import container, frames

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
    assert found.survey is not None
    assert found.survey.seconds[4] - found.survey.seconds[2] == pytest.approx(2 / 125, rel=0.1)
    assert list(caveats.of_survey(found.survey, False)) == []


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
    path = video("phone.mp4", [half, half // 2, half // 3])
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
    assert 5 <= len(found.numbers) <= 9
    assert len(list(found.frames())) == len(found.numbers)
    (lost,) = caveats.of_survey(found.survey, False)
    assert lost.code == "ends_early" and "declares 12 frames" in lost.text


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
        with pytest.raises(UserError, match="more than 10 frames"):
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


def codes(found: footage.Footage, given: bool = False) -> list[str]:
    assert found.survey is not None
    return [each.code for each in caveats.of_survey(found.survey, given)]


def test_a_rate_that_the_frames_contradict_is_replaced(video):
    """WebM whose header says 25 frames per second, and whose frames are 80 ms apart."""
    path = video("browser.webm", SMALL, 25.0, "VP80")
    content = bytearray(path.read_bytes())
    # The ID of a block, its size, its track and its time in thousandths.
    block = re.compile(rb"\xa3(?:[\x80-\xff]|[\x40-\x7f].)\x81(..)[\x80\x00\x81]", re.DOTALL)
    places = [match.start(1) for match in block.finditer(bytes(content))]
    assert len(places) == 12
    for number, place in enumerate(places):
        struct.pack_into(">h", content, place, 80 * number)
    path.write_bytes(content)
    found = open_footage(path)
    assert found.frame_rate == pytest.approx(12.5, rel=1e-3)
    (told,) = caveats.of_survey(found.survey, False)
    assert told.code == "frame_rate_header"
    assert "states 25 frames" in told.text and "80 ms apart. 12.5 frames" in told.text
    assert codes(found, given=True) == []
    assert open_footage(path, 60.0).frame_rate == 60


@pytest.mark.parametrize(
    ("seconds", "told", "expected"),
    [
        (np.round(np.arange(90) / 30, 3), 1000.0, 30.0),  # Rounded to milliseconds.
        (np.round(np.arange(90) / 30, 3), 30.0, 30.0),
        (np.round(np.arange(90) / 29.97, 3), 30.0, 30.0),
        (np.delete(np.arange(90) / 25, [20, 40, 41, 60]), 15.0, 25.0),
        (np.concatenate([np.arange(60), np.arange(60)]) / 25, 25.0, 25.0),
        (np.zeros(60), 25.0, 0.0),
        (np.full(60, np.nan), 25.0, 0.0),
        (np.array([0.0, np.nan, 0.08, 0.12]), 90_000.0, 25.0),
    ],
)
def test_the_rate_is_that_of_the_times(seconds, told, expected):
    assert frames._rate(seconds, told) == pytest.approx(expected, rel=2e-3)


def avi_header(content: bytearray, period: int, scale: int, rate: int, count: int) -> None:
    """Changes the frame rate and the number of frames in the header of an AVI file."""
    main, stream = content.index(b"avih") + 8, content.index(b"vids")
    struct.pack_into("<I", content, main, period)
    struct.pack_into("<I", content, main + 16, count)
    struct.pack_into("<IIII", content, stream + 20, scale, rate, 0, count)


def test_a_header_without_a_rate_is_not_taken_for_25(video):
    path = video("zero.avi", SMALL, 200.0, "MJPG")
    content = bytearray(path.read_bytes())
    avi_header(content, 0, 0, 0, 12)
    path.write_bytes(content)
    assert open_footage(path).frame_rate == 0
    assert open_footage(path, 60.0).frame_rate == 60


def test_frames_that_the_header_does_not_count(video):
    """As a recorder that crashed leaves it: fewer frames in the header, and no index."""
    path = video("crashed.avi", SMALL, 200.0, "MJPG")
    content = bytearray(path.read_bytes())
    avi_header(content, 5000, 1, 200, 4)
    del content[content.rindex(b"idx1") :]
    struct.pack_into("<I", content, 4, 0)
    path.write_bytes(content)
    found = open_footage(path)
    assert (len(found.numbers), found.frame_rate) == (12, 200)
    assert codes(found) == []
    assert [frame.number for frame in found.frames([11])] == [11]


def test_an_edit_list_is_no_damage(video):
    """A phone trims a video without encoding it again."""
    path = video("trim.mp4", SMALL, 100.0)
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 4
    # Version and number of entries; then the duration in thousandths and the start.
    assert content[place] == 0
    struct.pack_into(">I", content, place + 8, 60)
    path.write_bytes(content)
    found = open_footage(path)
    assert 5 <= len(found.numbers) <= 8
    assert codes(found) == []


def matrix(path: Path, *values: int) -> None:
    """Replaces the matrix of a written MP4 file, the first four entries of which are given."""
    a, b, c, d = (value << 16 for value in values)
    one, w = 1 << 16, 1 << 30
    content = bytearray(path.read_bytes())
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, w)
    place = content.index(upright, content.index(b"tkhd"))
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, w)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("values", "corner"),
    [
        ((1, 0, 0, 1), "top left"),
        ((-1, 0, 0, 1), "top right"),
        ((1, 0, 0, -1), "bottom left"),
        ((-1, 0, 0, -1), "bottom right"),
        ((0, 1, 1, 0), "top left"),
        ((0, 1, -1, 0), "top right"),
    ],
)
def test_frames_are_turned_and_mirrored_as_players_do(video, values, corner):
    """The stored picture is bright at the top left; a row vector times the matrix is its place."""
    bright = [np.zeros((48, 64, 3), np.uint8) for _ in range(3)]
    for number, image in enumerate(bright):
        image[:20, :24] = 200 + number * 20
    path = video("turned.mp4", bright)
    matrix(path, *values)
    image = next(open_footage(path).frames()).image
    assert image.shape == ((48, 64) if values[0] else (64, 48))
    height, width = (side // 2 for side in image.shape)
    quarters = {
        "top left": image[:height, :width],
        "top right": image[:height, width:],
        "bottom left": image[height:, :width],
        "bottom right": image[height:, width:],
    }
    assert max(quarters, key=lambda name: quarters[name].mean()) == corner


def test_other_turns_are_said(video):
    path = video("tilted.mp4", SMALL)
    matrix(path, 1, 1, -1, 1)
    (told,) = caveats.of_survey(open_footage(path).survey, False)
    assert told.code == "display" and "turn the picture by" in told.text


def test_pixels_that_are_not_square_are_stretched(video):
    """The ratio is stored in the header of the codec, here in that of MPEG-4 part 2."""
    path = video("wide.mp4", SMALL)
    content = path.read_bytes()
    # A box for the ratio of the pixel's sides, 2:1, at the end of the description of the codec.
    extra = struct.pack(">I4sII", 16, b"pasp", 2, 1)
    place = content.index(b"mp4v")
    place = (
        content.index(b"mp4v", place + 1) if content[place - 4 : place] == b"\0\0\0\1" else place
    )
    (size,) = struct.unpack_from(">I", content, place - 4)
    grown = bytearray(content[: place - 4 + size] + extra + content[place - 4 + size :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"mp4v"):
        start = grown.rindex(name, 0, place + 4)
        struct.pack_into(">I", grown, start - 4, struct.unpack_from(">I", grown, start - 4)[0] + 16)
    path.write_bytes(grown)
    image = next(open_footage(path).frames()).image
    assert image.shape == (48, 128)


def test_a_part_of_the_picture_that_players_show_is_said(video):
    path = video("cropped.mp4", SMALL)
    content = path.read_bytes()
    assert not container.is_cropped(path, 64, 48)
    description = content.index(b"stsd")
    box = struct.pack(">I4s8I", 40, b"clap", 32, 1, 48, 1, 0, 1, 0, 1)
    (size,) = struct.unpack_from(">I", content, description - 4)
    grown = bytearray(content[: description - 4 + size] + box + content[description - 4 + size :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        start = grown.rindex(name, 0, description + 4)
        struct.pack_into(">I", grown, start - 4, struct.unpack_from(">I", grown, start - 4)[0] + 40)
    path.write_bytes(grown)
    assert container.is_cropped(path, 64, 48)
    mkv = video("cropped.mkv", SMALL)
    assert not container.is_cropped(mkv, 64, 48)


def test_frames_that_opencv_does_not_convert_are_an_error(video, monkeypatch):
    """OpenCV returns the same buffer for every interlaced frame."""
    path = video("interlaced.mp4", SMALL)
    monkeypatch.setattr(frames.Video, "retrieve", lambda *_: SMALL[3][..., 0])
    with pytest.raises(UserError, match=r"interlaced\.mp4: all frames .* are equal.*bwdif"):
        open_footage(path)


def test_names_that_are_not_utf8(video, folder, tmp_path):
    """OpenCV 4.14 crashes on them."""
    name = os.fsdecode(b"caf\xe9.mp4")
    path = video("cafe.mp4", SMALL).rename(tmp_path / name)
    assert len(open_footage(path).numbers) == 12
    frames = folder("clip", SMALL).rename(tmp_path / os.fsdecode(b"caf\xe9"))
    assert len(list(open_footage(frames).frames())) == 12


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (png(SMALL[3]), "a PNG picture"),
        (b"RIFF1234WEBPVP8 ", "a WebP picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\n<!DOCTYPE html>", "a web page"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"#EXTM3U\n", "a playlist"),
        (b"\0" * 40, "damaged, truncated or in an unsupported format"),
    ],
)
def test_files_that_are_no_video_are_named(tmp_path, content, kind):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=kind):
        open_footage(path)


def test_other_formats(tmp_path):
    """Raw YUV with a header, which is written by hand."""
    path = tmp_path / "a.y4m"
    pictures = b"".join(b"FRAME\n" + bytes([40 + 9 * k]) * 48 + bytes([128]) * 24 for k in range(9))
    path.write_bytes(b"YUV4MPEG2 W8 H6 F50:1 Ip A1:1 C420jpeg\n" + pictures)
    found = open_footage(path)
    assert (len(found.numbers), found.frame_rate) == (9, 50)


@pytest.mark.parametrize("ending", [".webp", ".pgm", ".ppm", ".PGM"])
def test_other_pictures(tmp_path, ending):
    for number, image in enumerate(SMALL):
        stored = image[..., 0] if ending.lower() == ".pgm" else image
        encoded = cv2.imencode(ending.lower(), stored)[1].tobytes()
        (tmp_path / f"img{number}{ending}").write_bytes(encoded)
    assert len(list(open_footage(tmp_path).frames())) == 12


def test_a_frame_with_an_ending_that_is_not_read_is_named(folder):
    path = folder("mixed", SMALL)
    (path / "img1.png").rename(path / "img1.heic")
    with pytest.raises(UserError, match=r"frame 1 is img1\.heic, whose ending is not read.*\.png"):
        open_footage(path)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_pictures_of_16_bits_keep_their_light(tmp_path, bits):
    """All frames are scaled alike: by the bits that the clip uses, not by those of each frame."""
    for number in range(4):
        image = np.full((8, 8), 2**bits * (number + 1) // 5, np.uint16)
        cv2.imwrite(str(tmp_path / f"img{number}.png"), image)
    means = [frame.image.mean() for frame in open_footage(tmp_path).frames()]
    np.testing.assert_allclose(means, [51, 102, 153, 204], atol=1)
