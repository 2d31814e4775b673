"""Record of one clip, computed from its frames or made of inputs that the user provides."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32

from atnet_jax.data.record import INPUTS, Numbers, Record, encode, to_record
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.clip import describe, pictures
from atnet_jax.preprocessing.crops import Crops, cut, landmarks
from atnet_jax.preprocessing.face import crop_face, locate_face
from atnet_jax.preprocessing.frames import read_image
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.system.files import refuse_pointer
from atnet_jax.system.stopwatch import Stopwatch
from data_builders.jobs import ADM, ENCODING, FLOW, Job
from data_builders.source import ErrorList


@dataclass(frozen=True)
class ClipJob(Job):
    """One micro-expression clip and how to process it.

    Attributes:
        flow: Name of the optical flow method.
        reach: Number of neighbouring frames that contribute to the flow of a frame.
        options: The other arguments of `atnet_jax.preprocessing.clip.describe`.
    """

    flow: str
    reach: int
    options: Mapping[str, Any]

    def cut(
        self, errors: ErrorList, watch: Stopwatch
    ) -> tuple[Crops | None, dict[str, Any], Record]:
        """Return the crops, the inputs provided by the user, and the record without motion.

        The crops are None if the clip has no frames.
        """
        # The first error of a clip ends its processing.
        clip, notes = self.entry.clip, errors.notes
        crops, seen = None, PreparedClip(clip.key)
        if clip.frames:
            crops = cut(clip, face=self.face, box=self.box, reach=self.reach, notes=notes)
            seen = pictures(crops)
        given = self._given(notes)
        with watch.stage(ENCODING):
            return crops, given, to_record(clip, dataclasses.replace(seen, **given))

    def describe(
        self, pieces: tuple[Crops | None, Mapping[str, Any], Record], watch: Stopwatch
    ) -> list[tuple[str, Record]]:
        """Return the clip's single record. See the base class."""
        crops, given, record = pieces
        if crops is not None and not given.keys() >= {"adm", "flow_map"}:
            method = flow_method(self.flow)

            def timed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
                with watch.stage(FLOW):
                    return method.solve(first, second)

            with watch.stage(ADM):
                seen = describe(
                    crops, flow=dataclasses.replace(method, solve=timed), **self.options
                )
            # The worker process has already encoded the pictures.
            numbers = [name for name, each in INPUTS.items() if isinstance(each, Numbers)]
            record |= encode(dataclasses.replace(seen, **given), numbers)
        return [(self.entry.clip.key, record)]

    def _given(self, notes: list[str]) -> dict[str, Any]:
        """Return the inputs provided by the user, as fields of `PreparedClip`."""
        entry, given = self.entry, {}
        if entry.apex_image is not None:
            image = read_image(entry.apex_image)
            box, found = locate_face(image, self.face, self.box, notes=notes)
            apex = crop_face(image, box)
            given |= {"apex": apex, "crop_box": box, "landmarks": landmarks(apex, box, found)}
        if entry.adm is not None:
            given["adm"] = read_array(entry.adm, INPUTS["adm"].shape)
        if entry.flow_map is not None:
            given |= {"flow_map": read_flow_map(entry.flow_map), "flow": None}
        return given


def read_array(path: Path, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """Return the array in a .npy file of finite numbers.

    Args:
        path: The file.
        shape: The shape that the array must have.

    Raises:
        UserError: The file is not a .npy file of real numbers, its array has another shape, or it
            contains NaN or infinity.
    """
    try:
        # Memory mapping checks the shape of a file of any size without loading it.
        with path.open("rb") as file:
            refuse_pointer(path, file.read(1024))
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except UserError:
        raise
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is not a .npy file of numbers ({error}).") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise UserError(f"{path} is not a .npy file with one array of real numbers.")
    if array.shape != shape:
        raise UserError(f"{path} has shape {array.shape}, expected {shape}.")
    if not np.isfinite(array).all():
        raise UserError(f"{path} contains NaN or infinity, expected finite numbers.")
    return np.array(array, np.float32)


def read_flow_map(path: Path) -> Float32[np.ndarray, "28 28 3"]:
    """Return a flow map: horizontal flow, vertical flow and optical strain.

    Args:
        path: A .npy file, or an image whose red, green and blue are these three, 0–255.

    Raises:
        UserError: The file is neither of the two, or has another shape.
    """
    if path.suffix.lower() == ".npy":
        return read_array(path, INPUTS["flow_map"].shape)
    # cv2.imread fails for paths with characters outside of the system's code page.
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise UserError(f"{path} is not an image that OpenCV can read.")
    if image.shape != INPUTS["flow_map"].shape or image.dtype != np.uint8:
        raise UserError(
            f"{path} is an image of type {image.dtype} and shape {image.shape}, expected 28×28 "
            f"pixels with 3 channels of 8 bits."
        )
    # OpenCV orders the channels blue, green, red.
    return image[:, :, ::-1].astype(np.float32)
