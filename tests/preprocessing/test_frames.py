import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.annotation import Clip, VideoFrames
from atnet_jax.preprocessing.frames import read_frames, read_image

PICTURE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8), (0, 0), 2
)


def encoded(extension: str, image: np.ndarray = PICTURE) -> bytes:
    return cv2.imencode(extension, image)[1].tobytes()


@pytest.mark.parametrize("extension", [".png", ".bmp", ".tiff"])
def test_lossless_formats_and_any_name(tmp_path: Path, extension: str):
    path = tmp_path / f"лицо 顔 é{extension}"
    path.write_bytes(encoded(extension))
    np.testing.assert_array_equal(read_image(path), PICTURE)


def test_colour_becomes_luma(tmp_path: Path):
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 1] = 200  # green
    (tmp_path / "a.png").write_bytes(encoded(".png", colour))
    assert np.abs(read_image(tmp_path / "a.png") - 0.587 * 200).max() < 1


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.999])
def test_cut_short(tmp_path: Path, extension: str, part: float):
    path = tmp_path / f"img7{extension}"
    content = encoded(extension)
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match=f"img7{extension}"):
        read_image(path)


def test_a_truncated_jpeg_is_recognised_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """OpenCV 4.10 returns a picture for it, partly grey."""
    path = tmp_path / "img7.jpg"
    path.write_bytes(encoded(".jpg")[:-2])
    monkeypatch.setattr(cv2, "imdecode", lambda *_: PICTURE)
    with pytest.raises(UserError, match=r"img7\.jpg: this JPEG is truncated"):
        read_image(path)


def test_bytes_after_a_jpeg_do_no_harm(tmp_path: Path):
    path = tmp_path / "img7.jpg"
    path.write_bytes(encoded(".jpg") + b"\0" * 100)
    assert read_image(path).shape == PICTURE.shape


def test_missing_and_not_a_picture(tmp_path: Path):
    with pytest.raises(UserError, match=r"img1\.jpg: cannot read .*No such file"):
        read_image(tmp_path / "img1.jpg")
    (tmp_path / "img2.jpg").write_text("not a picture")
    with pytest.raises(UserError, match=r"img2\.jpg: OpenCV cannot decode"):
        read_image(tmp_path / "img2.jpg")


def test_only_the_asked_frames_are_read(make_clip):
    clip = make_clip([PICTURE, PICTURE + 1, PICTURE + 2], 5, 5, 6, 7)
    clip.frames[7].unlink()
    frames = read_frames(clip, [6, 5, 6])
    assert list(frames) == [5, 6]
    np.testing.assert_array_equal(frames[6], PICTURE + 1)


def test_frame_without_a_file(make_clip):
    clip = make_clip([PICTURE, PICTURE], 5, 5, 6, 7)
    with pytest.raises(UserError, match="casme2/sub01/EP01: the file of frame 7 is missing"):
        read_frames(clip, [5, 7])


def test_frame_of_another_size(make_clip):
    clip = make_clip([PICTURE, PICTURE, PICTURE[:40]], 5, 5, 6, 7)
    with pytest.raises(UserError, match=r"img7\.png: frame 7 has 64x40 .* 64x48"):
        read_frames(clip, [5, 6, 7])


@pytest.fixture
def video(tmp_path: Path) -> Clip:
    """Ten frames, frame n of grey level 20 n."""
    path = tmp_path / "vidéo.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48))
    assert writer.isOpened()
    for number in range(10):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return Clip("mine", "s1", "v1", 0, "", 2, 5, 9, 30.0, VideoFrames(path))


def test_video_frames_count_from_zero(video: Clip):
    frames = read_frames(video, [2, 5, 9])
    assert {n: round(float(frame.mean()) / 20) for n, frame in frames.items()} == {2: 2, 5: 5, 9: 9}
    assert frames[2].shape == (48, 64)
    assert frames[2].dtype == np.uint8


def test_video_shorter_than_the_offset(video: Clip):
    longer = dataclasses.replace(video, offset=10)
    with pytest.raises(UserError, match=r"vidéo\.avi: the video ends after 10 frames .* frame 10"):
        read_frames(longer, [2, 5])


def test_not_a_video(video: Clip, tmp_path: Path):
    path = tmp_path / "fake.avi"
    path.write_text("not a video")
    with pytest.raises(UserError, match=r"fake\.avi: OpenCV cannot open this video"):
        read_frames(dataclasses.replace(video, frames=VideoFrames(path)), [2])
    with pytest.raises(UserError, match=r"gone\.avi: no such video"):
        read_frames(dataclasses.replace(video, frames=VideoFrames(tmp_path / "gone.avi")), [2])


def test_colour_is_red_green_blue(tmp_path: Path):
    """Of a video, too; of a grey picture the three are equal."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[...] = (200, 120, 30)  # blue, green, red
    cv2.imwrite(str(tmp_path / "c.png"), picture)
    read = read_image(tmp_path / "c.png", colour=True)
    assert read.shape == (48, 64, 3) and read[0, 0].tolist() == [30, 120, 200]
    cv2.imwrite(str(tmp_path / "g.png"), PICTURE)
    np.testing.assert_array_equal(
        read_image(tmp_path / "g.png", colour=True), np.dstack([PICTURE] * 3)
    )
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48))
    for _ in range(3):
        writer.write(picture)
    writer.release()
    clip = Clip("mine", "s1", "v1", 0, "", 0, 1, 2, 30.0, VideoFrames(path))
    frames = read_frames(clip, [1], colour=True)
    np.testing.assert_allclose(frames[1].mean((0, 1)), [30, 120, 200], atol=8)


def test_frames_of_16_bits_have_one_scale_in_every_call(tmp_path):
    for number, brightest in enumerate((900, 4000)):
        pixels = np.full((8, 8), brightest, np.uint16)
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
    files = {number: tmp_path / f"{number}.png" for number in range(2)}
    clip = Clip("mine", "s1", "v1", 0, "", 0, 1, 1, 30.0, files)
    np.testing.assert_array_equal(read_frames(clip, [0])[0], read_frames(clip, [0, 1])[0])
