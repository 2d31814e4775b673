"""What is prepared of one clip: all that any method's input is made of."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.preprocessing.crops import COLOUR_ONSET
from atnet_jax.preprocessing.face import Box
from atnet_jax.preprocessing.flow_map import MAP_SIZE, flow_channels, flow_map


@dataclasses.dataclass(frozen=True)
class PreparedClip:
    """One clip, read back from a record or fresh from its frames.

    A picture is a face crop of 224×224 pixels, one crop for the whole clip. What was not asked for
    may be None.

    Attributes:
        key: Data set, subject and clip, for messages.
        apex: The apex frame, grey 0–255.
        adm: Average direction-magnitude features, one row a flow; rows without one are zero.
        flow_map: u, v (pixels of the 224×224 crop) and strain of the flow from onset to apex.
        flow: The flow from onset to apex: u to the right, v downwards, in pixels.
        frames: The frames around the apex: of the window's 65, those that lie within onset…offset,
            in order; grey.
        apex_index: Where the apex is among them.
        colour: RGB of `colour_onset` and `colour_apex`.
        landmarks: x and y in pixels of the crop: left eye, right eye, nose, left and right corner
            of the mouth; left and right are the picture's. None if not found in the apex frame.
        frame_rate: Frames per second, 0 where unknown.
        crop_box: The crop: x0, y0, x1, y1 in pixels of the raw frame.
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
        """RGB of the onset and the frame after it."""
        assert self.colour is not None, "the method does not name colour among its inputs"
        return self.colour[:COLOUR_ONSET]

    @property
    def colour_apex(self) -> UInt8[np.ndarray, "5 224 224 3"]:
        """RGB of the apex and the two frames on each side; where the clip ends, its last again."""
        assert self.colour is not None, "the method does not name colour among its inputs"
        return self.colour[COLOUR_ONSET:]

    def flow_map_at(self, size: int) -> Float32[np.ndarray, "{size} {size} 3"]:
        """The flow map at another size than 28×28.

        Args:
            size: Its height and width in pixels, at most 224.

        Returns:
            u, v (in the same pixels of the 224×224 crop) and strain: averaged over areas from the
            whole flow or, where only the map of 28×28 was given, that one enlarged bilinearly.
        """
        if self.flow is not None:
            if size == MAP_SIZE:
                return flow_map(self.flow)
            return cv2.resize(flow_channels(self.flow), (size, size), interpolation=cv2.INTER_AREA)
        assert self.flow_map is not None, "the method does not name flow_map among its inputs"
        if size == MAP_SIZE:
            return self.flow_map
        return cv2.resize(self.flow_map, (size, size), interpolation=cv2.INTER_LINEAR)


# Of MTCNN's crop: mean points of a frontal face. They stand in where none were found.
STANDARD_LANDMARKS = np.array([[78, 88], [146, 88], [112, 130], [84, 166], [140, 166]], np.float32)
