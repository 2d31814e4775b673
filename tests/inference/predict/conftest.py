"""A rendered expression as a video and as a folder, and networks small enough to answer at once."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.config import default_config
from atnet_jax.training.trained import Networks, input_shapes
from data_builders.synthetic import clip_specs
from data_builders.synthetic.clip_spec import ClipSpec
from data_builders.synthetic.scene import Scene

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def spec() -> ClipSpec:
    """The expression: frames 0 to 29, onset 5, apex 14."""
    drawn = clip_specs("casme2", 1, 1, 0)[0]
    return dataclasses.replace(drawn, first=0, onset=5, apex=14, offset=26, last=29, peak=5.0)


@pytest.fixture(scope="session")
def frames(spec: ClipSpec) -> list[np.ndarray]:
    """Its frames, BGR, 480×640."""
    scene = Scene(spec)
    return [scene.frame(number) for number in spec.frames]


def write(
    path: Path, images: Iterable[np.ndarray], rate: float = 200.0, code: str = "mp4v"
) -> Path:
    """A video of these pictures."""
    images = list(images)
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), rate, (width, height)
    )
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def video(tmp_path: Path) -> Write:
    return lambda name, images, *args: write(tmp_path / name, images, *args)


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    """Writes lossless pictures, numbered from `first`."""

    def make(name: str, images: Sequence[np.ndarray], first: int = 0) -> Path:
        path = tmp_path / name
        path.mkdir()
        for number, image in enumerate(images, start=first):
            (path / f"img{number}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        return path

    return make


@pytest.fixture(scope="session")
def clip(frames, tmp_path_factory) -> Path:
    """The expression as mp4 at 200 frames a second."""
    return write(tmp_path_factory.mktemp("clips") / "smile.mp4", frames)


def untrained(model: str, networks: int, **changes) -> Networks:
    """Networks of random weights."""
    config = default_config(model)
    config.data.flow = "farneback"
    config.update(changes)
    network = models.find(model).build_network(config.options.to_dict())
    shapes = input_shapes(config)
    example = {name: jnp.zeros((1, *shape)) for name, shape in shapes.items()}
    variables = []
    initialise = jax.jit(lambda key: network.init(key, example, train=False))
    for seed in range(networks):
        drawn = initialise(jax.random.key(seed))
        variables.append({"params": drawn["params"], "batch_stats": drawn.get("batch_stats", {})})
    names = tuple(f"fold {k}" for k in range(networks))
    return Networks(config, network, names, tuple(jax.device_get(variables)))


@pytest.fixture(scope="session")
def networks() -> Networks:
    """Three STSTNets."""
    return untrained("ststnet", 3)
