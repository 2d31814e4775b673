"""What the builders of all micro-expression databases share: the record and its options."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from atnet_jax.classes import CLASSES
from atnet_jax.preprocessing import optical_flow
from atnet_jax.preprocessing.face import Box
from data_builders.builder import ExpressionBuilder
from data_builders.records import (
    ADM_SHAPE,
    APEX_SHAPE,
    COLOUR_SHAPE,
    FLOW_MAP_SHAPE,
    FLOW_SHAPE,
    ClipJob,
)
from data_builders.source import Entry
from data_builders.variants import Motion, all_motions


def record_features() -> tfds.features.FeaturesDict:
    """The record of one clip.

    * apex: the face at the apex frame, grey levels 0–255.
    * adm: average direction (radians) and magnitude (pixels) of 64 flows in 64 blocks each.
    * flow_map: flow from onset to apex: horizontal, vertical, optical strain.
    * frames: the face in the frames around the apex (at most 32 on each side, within onset…offset),
      one below the other, for the features that are computed from a clip.
    * flow: the flow from onset to apex at the size of the crop: u, v in pixels.
    * colour: RGB of the face at the onset and the frame after it, and from two frames before the
      apex to two after it (within onset…offset), one below the other.
    * landmarks: x and y of both eyes, the nose and both corners of the mouth at the apex, in pixels
      of the crop; a standard face's where has_landmarks is false.
    * has_apex, has_adm, has_flow_map, has_frames, has_flow, has_colour: whether the input is
      there; it is all zero where it is not.
    * dataset, subject, clip: names, together the key.
    * emotion: as the annotation spells it; label: the class made of it.
    * onset, apex_frame, offset: frame numbers of the annotation, -1 where unknown.
    * frame_rate: frames per second, 0 where unknown.
    * crop_box: x0, y0, x1, y1 of the face in pixels of the frame, all 0 where unknown.
    """
    return tfds.features.FeaturesDict(
        {
            "apex": tfds.features.Image(
                shape=(*APEX_SHAPE, 1), dtype=np.uint8, encoding_format="png"
            ),
            "adm": tfds.features.Tensor(shape=ADM_SHAPE, dtype=np.float32),
            "flow_map": tfds.features.Tensor(shape=FLOW_MAP_SHAPE, dtype=np.float32),
            "frames": tfds.features.Image(
                shape=(None, APEX_SHAPE[1], 1), dtype=np.uint8, encoding_format="png"
            ),
            "flow": tfds.features.Tensor(
                shape=FLOW_SHAPE, dtype=np.float32, encoding=tfds.features.Encoding.ZLIB
            ),
            "colour": tfds.features.Image(
                shape=COLOUR_SHAPE, dtype=np.uint8, encoding_format="png"
            ),
            "landmarks": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
            "has_apex": tfds.features.Scalar(np.bool_),
            "has_adm": tfds.features.Scalar(np.bool_),
            "has_flow_map": tfds.features.Scalar(np.bool_),
            "has_frames": tfds.features.Scalar(np.bool_),
            "has_flow": tfds.features.Scalar(np.bool_),
            "has_colour": tfds.features.Scalar(np.bool_),
            "has_landmarks": tfds.features.Scalar(np.bool_),
            "dataset": tfds.features.Text(),
            "subject": tfds.features.Text(),
            "clip": tfds.features.Text(),
            "emotion": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=CLASSES),
            "onset": tfds.features.Scalar(np.int32),
            "apex_frame": tfds.features.Scalar(np.int32),
            "offset": tfds.features.Scalar(np.int32),
            "frame_rate": tfds.features.Scalar(np.float32),
            "crop_box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
        }
    )


@dataclasses.dataclass(eq=False)
class Variant(tfds.core.BuilderConfig):
    """A way to compute motion; the inputs of several can lie side by side.

    Attributes:
        motion: The way.
    """

    motion: Motion = dataclasses.field(default_factory=lambda: Motion(optical_flow.DEFAULT))


class MicroExpressionBuilder(ExpressionBuilder, skip_registration=True):
    """Base of the builders; a subclass says only how its database's folder is read.

    The configuration, `config`, names a `Variant`.
    """

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First version.",
        "1.1.0": "Frames around the apex.",
        "1.2.0": "Flow from onset to apex at full size, onset and apex in colour, landmarks.",
    }
    BUILDER_CONFIGS: ClassVar = [
        Variant(name=motion.name, description=f"Prepared with {motion.flags}.", motion=motion)
        for motion in all_motions()
    ]

    def features(self) -> tfds.features.FeaturesDict:
        """See `record_features`."""
        return record_features()

    def make_job(self, entry: Entry, box: Box | None) -> ClipJob:
        """See the base class."""
        motion = self._motion
        reach = optical_flow.flow_method(motion.flow).reach
        return ClipJob(entry, self.face, box, motion.flow, reach, motion.options)

    def options(self) -> dict[str, Any]:
        """See the base class."""
        return {**super().options(), "flow": self._motion.flow, **self._motion.options}

    @property
    def _motion(self) -> Motion:
        assert isinstance(self.builder_config, Variant)
        return self.builder_config.motion
