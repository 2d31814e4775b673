"""Compute all inputs of methods from the frames of a clip, in one step."""

from atnet_jax.preprocessing.annotation import Clip
from atnet_jax.preprocessing.clip import describe
from atnet_jax.preprocessing.crops import cut
from atnet_jax.preprocessing.face import Box
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip


def extract(clip: Clip, *, face: str, box: Box | None, flow: str, **options: bool) -> PreparedClip:
    method = flow_method(flow)
    crops = cut(clip, face=face, box=box, reach=method.reach)
    return describe(crops, flow=method, key=clip.key, frame_rate=clip.frame_rate, **options)
