"""Pictures whose motion is known."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from atnet_jax.preprocessing.annotation import Clip

Picture = Callable[..., np.ndarray]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """As in the workers of the builders."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


@pytest.fixture(scope="session")
def texture() -> np.ndarray:
    """Skin-like texture of several scales, float64 [224, 224], periodic."""
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.fftfreq(224))
    picture = np.full((224, 224), 128.0)
    for scale, contrast in ((1.5, 5), (4, 8), (15, 20)):
        spectrum = np.fft.fft2(random.standard_normal((224, 224)))
        layer = np.fft.ifft2(spectrum * np.exp(-2 * (np.pi * scale * frequency) ** 2)).real
        picture += contrast * layer / layer.std()
    return picture


@pytest.fixture(scope="session")
def shifted(texture: np.ndarray) -> Picture:
    """shifted(right, down, noise=0, seed=0): the texture displaced by these pixels, uint8."""

    def shift(right: float, down: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
        phase = np.fft.fftfreq(224)[:, None] * down + np.fft.fftfreq(224) * right
        moved = np.fft.ifft2(np.fft.fft2(texture) * np.exp(-2j * np.pi * phase)).real
        moved += noise * np.random.default_rng(seed).standard_normal(moved.shape)
        return np.clip(np.rint(moved), 0, 255).astype(np.uint8)

    return shift


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Clip]:
    """make_clip(images, first, onset, apex, offset): the images as PNG files first, first + 1, …"""

    def make(images: list[np.ndarray], first: int, onset: int, apex: int, offset: int) -> Clip:
        frames = {}
        for number, image in enumerate(images, first):
            frames[number] = tmp_path / f"img{number}.png"
            cv2.imwrite(str(frames[number]), image)
        return Clip("casme2", "sub01", "EP01", 0, "disgust", onset, apex, offset, 200.0, frames)

    return make
