"""The prepared inputs of one clip, from which methods compute their own inputs."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.preprocessing.crops import COLOUR_ONSET
from atnet_jax.preprocessing.face import Box
from atnet_jax.preprocessing.flow_map import MAP_SIZE, flow_channels, flow_map


@dataclasses.dataclass(frozen=True)
class PreparedClip:
    """One clip, read from a record or computed from its frames.

    Pictures are face crops of 224×224 pixels; all pictures of a clip use the same crop. Inputs that
    were not requested may be None.

    Attributes:
        key: Data set, subject and clip, for messages.
        apex: Apex frame, grey 0–255.
        adm: Average direction-magnitude features, one row per flow; rows without a flow are zero.
        flow_map: u, v (pixels of the 224×224 crop) and strain of the flow from onset to apex.
        flow: Flow from onset to apex: u to the right, v downwards, in pixels.
        frames: Grey frames around the apex: those of the window's 65 frames that lie within
            onset…offset, in order.
        apex_index: Index of the apex in `frames`.
        colour: RGB of `colour_onset`, followed by `colour_apex`.
        landmarks: x and y in pixels of the crop: left eye, right eye, nose, left and right corner
            of the mouth, where left and right refer to the picture. None if not found in the apex
            frame.
        frame_rate: Frames per second; 0 if unknown.
        crop_box: Crop as x0, y0, x1, y1 in pixels of the raw frame.
    """

    key: str
    apex: UInt8[np.ndarray, "224 224"] | None = None
    adm: Float32[np.ndarray, "64 128"] | None = None
    flow_map: Float32[np.ndarray, "28 28 3"] | None = None
    flow: Float32[np.ndarray, "224 224 2"] | None = None
    frames: UInt8[np.ndarray, "frame 224 224"] | None = None
    apex_index: int = 0
    colour: UInt8[np.ndarray, "7 224 224 3"] | None = None
    landmarks: Float32[np.ndarray, "5 2"] | None = None
    frame_rate: float = 0.0
    crop_box: Box = (0.0, 0.0, 0.0, 0.0)

    @property
    def colour_onset(self) -> UInt8[np.ndarray, "2 224 224 3"]:
        """RGB of the onset and the next frame."""
        assert self.colour is not None, "The method does not list colour among its inputs."
        return self.colour[:COLOUR_ONSET]

    @property
    def colour_apex(self) -> UInt8[np.ndarray, "5 224 224 3"]:
        """RGB of the apex and two frames on each side, with numbers clamped to the clip."""
        assert self.colour is not None, "The method does not list colour among its inputs."
        return self.colour[COLOUR_ONSET:]

    def flow_map_at(self, size: int) -> Float32[np.ndarray, "{size} {size} 3"]:
        """Return the flow map at a given size.

        It is averaged over areas of the flow. Without a flow, the map of 28×28 pixels is resized
        bilinearly.

        Args:
            size: Height and width of the result in pixels, at most 224.

        Returns:
            u, v (in pixels of the 224×224 crop, whatever the size) and strain.
        """
        if self.flow is not None:
            if size == MAP_SIZE:
                return flow_map(self.flow)
            return cv2.resize(flow_channels(self.flow), (size, size), interpolation=cv2.INTER_AREA)
        assert self.flow_map is not None, "The method does not list flow_map among its inputs."
        if size == MAP_SIZE:
            return self.flow_map
        return cv2.resize(self.flow_map, (size, size), interpolation=cv2.INTER_LINEAR)


# Mean points of a frontal face in MTCNN's crop, used if no landmarks were found.
STANDARD_LANDMARKS = np.array([[78, 88], [146, 88], [112, 130], [84, 166], [140, 166]], np.float32)
