"""Dense optical flow of face crops: one interface to several methods."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.errors import UserError
from atnet_jax.names import FLOWS
from atnet_jax.preprocessing import time_smoothing
from atnet_jax.preprocessing.optical_flow import opencv
from atnet_jax.preprocessing.optical_flow.threads import Solver


@dataclass(frozen=True)
class FlowMethod:
    """A method that computes motion between grey pictures, 0–255.

    Attributes:
        solve: Function that computes the flow of pairs of pictures.
        sigma: Standard deviation, in frames, of the Gaussian that smooths frames in time before
            `solve`; drift of the light is then removed as well. 0 disables both.
    """

    solve: Solver
    sigma: float = 0.0

    @property
    def reach(self) -> int:
        """Number of frames before and after a frame that contribute to its flow."""
        return time_smoothing.reach(self.sigma) if self.sigma else 0

    def smooth(
        self,
        frames: UInt8[np.ndarray, "frame height width"] | Float32[np.ndarray, "frame height width"],
        numbers: Sequence[int] | None = None,
        wanted: Sequence[int] | None = None,
    ) -> Float32[np.ndarray, "wanted height width"]:
        """Return the frames that `solve` expects, smoothed in time if `sigma` is above 0.

        Args:
            frames: Grey levels, 0–255.
            numbers: Numbers of the frames, ascending; 0, 1, 2… by default.
            wanted: Numbers of the frames to return; all by default.
        """
        numbers = range(len(frames)) if numbers is None else numbers
        wanted = numbers if wanted is None else wanted
        if self.sigma:
            frames = frames.astype(np.float32)
            smoothed = time_smoothing.smooth(frames, numbers, wanted, self.sigma)
            return time_smoothing.even_light(smoothed)
        place = {number: index for index, number in enumerate(numbers)}
        return frames[[place[number] for number in wanted]].astype(np.float32)

    def flows(
        self,
        frames: UInt8[np.ndarray, "frame height width"] | Float32[np.ndarray, "frame height width"],
    ) -> Float32[np.ndarray, "frame-1 height width 2"]:
        """Compute the flow between neighbouring frames after smoothing in time.

        Args:
            frames: Grey levels, 0–255.

        Returns:
            u to the right, v downwards, in pixels.
        """
        smoothed = self.smooth(frames)
        return self.solve(smoothed[:-1], smoothed[1:])

    def between(
        self,
        first: UInt8[np.ndarray, "height width"] | Float32[np.ndarray, "height width"],
        second: UInt8[np.ndarray, "height width"] | Float32[np.ndarray, "height width"],
    ) -> Float32[np.ndarray, "height width 2"]:
        """Compute the flow between two pictures without smoothing in time.

        Args:
            first: Grey levels, 0–255.
            second: Grey levels, 0–255.

        Returns:
            Motion of each pixel of `first` to `second`, u to the right and v downwards, in pixels.
        """
        return self.solve(first[None].astype(np.float32), second[None].astype(np.float32))[0]


def _variational(**parameters: Any) -> Solver:
    # Imports JAX, which processes that only read and crop frames do not need.
    from atnet_jax.preprocessing.optical_flow.variational import Parameters, variational
    from atnet_jax.system import compiled

    compiled.keep_programs()
    return variational(Parameters(**parameters))


def _tv_l1() -> Solver:
    from atnet_jax.preprocessing.optical_flow.tv_l1 import tv_l1
    from atnet_jax.system import compiled

    compiled.keep_programs()
    return tv_l1()


_METHODS: dict[str, Callable[[], FlowMethod]] = {
    "spatiotemporal": lambda: FlowMethod(
        _variational(smoothness=100.0, quadratic=(1.0,), iterations=25), sigma=2.0
    ),
    "paper": lambda: FlowMethod(
        _variational(
            smoothness=5.0, quadratic=(1.0, 0.5, 0.0), iterations=15, texture=True, median=True
        )
    ),
    "horn_schunck": lambda: FlowMethod(
        _variational(smoothness=10.0, quadratic=(1.0, 1.0), iterations=15)
    ),
    "classic": lambda: FlowMethod(
        _variational(smoothness=3.0, quadratic=(1.0, 0.5, 0.0), iterations=15, median=True)
    ),
    "tv_l1": lambda: FlowMethod(_tv_l1()),
    "farneback": lambda: FlowMethod(opencv.farneback),
    "dis_ultrafast": lambda: FlowMethod(opencv.dis("ULTRAFAST")),
    "dis_fast": lambda: FlowMethod(opencv.dis("FAST")),
    "dis": lambda: FlowMethod(opencv.dis("MEDIUM")),
    "dis_variational": lambda: FlowMethod(opencv.dis("MEDIUM", variational_iterations=20)),
}


@functools.cache
def flow_method(name: str) -> FlowMethod:
    """Return a flow method by name.

    Args:
        name: One of `FLOWS`.

    Raises:
        UserError: The name is unknown.
    """
    if name not in _METHODS:
        raise UserError(f"Unknown flow method {name!r}. Choose one of {', '.join(FLOWS)}.")
    return _METHODS[name]()
