"""One clip's record: computed from its frames, or taken from the inputs that are given for it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32

from atnet_jax.data.record import ADM_SHAPE, APEX_SHAPE, COLOUR_SHAPE, FLOW_MAP_SHAPE, FLOW_SHAPE
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.crops import Crops, cut, landmarks
from atnet_jax.preprocessing.face import Box, crop_face, locate_face
from atnet_jax.preprocessing.frames import read_image
from atnet_jax.preprocessing.prepared_clip import STANDARD_LANDMARKS
from atnet_jax.system.kept import Record
from atnet_jax.system.stopwatch import Stopwatch
from data_builders.jobs import ADM, ENCODING, FLOW, Job, encode_colour, encode_frames, encode_png
from data_builders.source import ErrorList


@dataclass(frozen=True)
class ClipJob(Job):
    """One micro-expression clip and how to treat it.

    Attributes:
        flow: Name of the optical flow method.
        reach: How many neighbours of a frame have a part in its flow.
        options: The other arguments of `atnet_jax.preprocessing.clip.describe`.
    """

    flow: str
    reach: int
    options: Mapping[str, Any]

    def cut(self, errors: ErrorList, watch: Stopwatch) -> tuple[Crops | None, Record]:
        """The crops, if motion is to be computed, and the record without it; see the base class."""
        del errors  # The first one ends it.
        entry, clip = self.entry, self.entry.clip
        crops = apex = frames = colour = points = None
        crop_box: Box = (0.0, 0.0, 0.0, 0.0)
        if clip.frames:
            crops = cut(clip, face=self.face, box=self.box, reach=self.reach)
            apex, frames = crops.at([crops.apex])[0], crops.at(crops.window)
            crop_box, colour, points = crops.crop_box, crops.colour, crops.landmarks
        # Given inputs take the place of computed ones.
        if entry.apex_image is not None:
            image = read_image(entry.apex_image)
            crop_box, found = (self.box, None) if self.box else locate_face(image, self.face)
            apex = crop_face(image, crop_box)
            points = landmarks(apex, crop_box, found)
        adm = None if entry.adm is None else read_array(entry.adm, ADM_SHAPE)
        flow_map = None if entry.flow_map is None else read_flow_map(entry.flow_map)
        has_motion = bool(clip.frames)
        with watch.stage(ENCODING):
            encoded_apex = encode_png(np.zeros(APEX_SHAPE, np.uint8) if apex is None else apex)
            encoded_frames = encode_frames(
                np.zeros((1, *APEX_SHAPE), np.uint8) if frames is None else frames
            )
            encoded_colour = encode_colour(
                np.zeros(COLOUR_SHAPE, np.uint8) if colour is None else colour.reshape(COLOUR_SHAPE)
            )
        return crops, {
            "apex": encoded_apex,
            "adm": np.zeros(ADM_SHAPE, np.float32) if adm is None else adm,
            "flow_map": np.zeros(FLOW_MAP_SHAPE, np.float32) if flow_map is None else flow_map,
            "frames": encoded_frames,
            "flow": np.zeros(FLOW_SHAPE, np.float32),
            "colour": encoded_colour,
            "landmarks": STANDARD_LANDMARKS if points is None else points,
            "has_apex": apex is not None,
            "has_adm": has_motion or adm is not None,
            "has_flow_map": has_motion or flow_map is not None,
            "has_frames": frames is not None,
            "has_flow": has_motion and entry.flow_map is None,
            "has_colour": colour is not None,
            "has_landmarks": points is not None,
            "dataset": clip.dataset,
            "subject": clip.subject,
            "clip": clip.clip,
            "emotion": clip.emotion,
            "label": clip.label,
            "onset": clip.onset,
            "apex_frame": clip.apex,
            "offset": clip.offset,
            "frame_rate": clip.frame_rate,
            "crop_box": np.asarray(crop_box, np.float32),
        }

    def describe(
        self, pieces: tuple[Crops | None, Record], watch: Stopwatch
    ) -> list[tuple[str, Record]]:
        """The clip's one record; see the base class."""
        crops, record = pieces
        if crops is not None and (self.entry.adm is None or self.entry.flow_map is None):
            # Some methods bring JAX with them, which worker processes need not load.
            from atnet_jax.preprocessing.clip import describe
            from atnet_jax.preprocessing.optical_flow import flow_method

            method = flow_method(self.flow)
            method = dataclasses.replace(method, solve=watch.timed(FLOW, method.solve))
            with watch.stage(ADM):
                features = describe(crops, flow=method, **self.options)
            if self.entry.adm is None:
                record["adm"] = features.adm
            if self.entry.flow_map is None:
                record["flow_map"], record["flow"] = features.flow_map, features.flow
        return [(self.entry.clip.key, record)]


def read_array(path: Path, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """A .npy file of finite numbers.

    Raises:
        UserError: It is no .npy file of numbers, of another shape, or holds NaN or infinity.
    """
    try:
        # Mapped, so that a wrong file of any size costs no memory before its shape is known.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: not a .npy file of numbers ({error})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise UserError(f"{path}: expected a .npy file holding one array of real numbers")
    if array.shape != shape:
        raise UserError(f"{path}: expected shape {shape}, found {array.shape}")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: holds NaN or infinity")
    return np.array(array, np.float32)


def read_flow_map(path: Path) -> Float32[np.ndarray, "28 28 3"]:
    """A flow map: horizontal flow, vertical flow and optical strain.

    Args:
        path: A .npy file, or an image whose red, green and blue are these three, 0–255.

    Raises:
        UserError: It is neither, or of another shape.
    """
    if path.suffix.lower() == ".npy":
        return read_array(path, FLOW_MAP_SHAPE)
    # Not cv2.imread: it takes no path outside of the system's code page.
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise UserError(f"{path}: not an image that OpenCV can read")
    if image.shape != FLOW_MAP_SHAPE or image.dtype != np.uint8:
        raise UserError(
            f"{path}: expected an image of 28×28 pixels with 3 channels of 8 bits, "
            f"found {image.dtype} {image.shape}"
        )
    # OpenCV has blue first.
    return image[:, :, ::-1].astype(np.float32)
