"""Why networks say what they say of one clip: maps over face and time, and the streams' shares.

docs/explanations.md tells what each map is, and what it is not. Several networks are explained as
the one network whose score is the mean of theirs.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from atnet_jax.inference.explain import grad_cam, integrated_gradients, occlusion, streams
from atnet_jax.inference.explain.network import explained, observe
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.adm import BLOCKS
from atnet_jax.training.trained import Networks

__all__ = ["METHODS", "Explanation", "explain"]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why networks give a clip a class's score, or why not. What they do not read is None.

    The score is the class's logit less the mean of the others'.

    Attributes:
      class_index: the class.
      networks: how many networks were averaged.
      grad_cam: where in the apex frame the last map of the spatial stream speaks for the class; 0
        to 1, its largest value 1 unless it is 0 all over.
      occlusion: by how much the class's probability drops where a grey patch hides the apex frame;
        below 0 where it rises.
      adm: integrated gradients of the ADM in logits, by row of the window and block of the face;
        those of direction and magnitude added.
      flow_map: integrated gradients of the flow map in logits, those of its channels added.
      shares: of each stream in the decision, absolute contributions over their sum.
      contributions: of each stream to the score, in logits.
      completeness_error: how far the integrated gradients' sum is from the score's change, over the
        sum of their absolute values.
    """

    class_index: int
    networks: int
    grad_cam: Float32[np.ndarray, "size size"] | None = None
    occlusion: Float32[np.ndarray, "size size"] | None = None
    adm: Float32[np.ndarray, "64 8 8"] | None = None
    flow_map: Float32[np.ndarray, "28 28"] | None = None
    shares: Mapping[str, float] | None = None
    contributions: Mapping[str, float] | None = None
    completeness_error: float | None = None


METHODS = ("fusion", "spatial", "temporal", "micro_attention", "ststnet")
"""Those whose networks can be explained."""


def explain(
    trained: Networks,
    inputs: Mapping[str, np.ndarray],
    class_index: int,
    networks: Sequence[int] | None = None,
) -> Explanation:
    """Explains what trained networks say of one clip and one class.

    Args:
      trained: the networks.
      inputs: of one clip, with a leading axis of 1.
      class_index: the class: 0 negative, 1 positive, 2 surprise.
      networks: numbers of those to be explained, as their mean; None for all.

    Raises:
      ValueError: the method is none of `METHODS`, there is no such class, there is not exactly one
        clip, or no network was asked for.
    """
    if trained.config.model not in METHODS:
        raise ValueError(f"there are no maps for {trained.config.model}")
    chosen = range(len(trained.variables)) if networks is None else networks
    if class_index not in range(len(CLASSES)):
        raise ValueError(f"class_index is 0 to {len(CLASSES) - 1}, not {class_index}")
    if any(len(inputs[name]) != 1 for name in trained.inputs):
        raise ValueError("inputs are of one clip, with a leading axis of 1")
    if not len(chosen):
        raise ValueError("networks names none")
    inputs = {name: np.asarray(inputs[name], np.float32) for name in trained.inputs}
    each = [_parts(trained, number, inputs, class_index) for number in chosen]
    mean = jax.tree.map(lambda *values: np.mean(values, axis=0, dtype=np.float64), *each)

    found: dict[str, Any] = {}
    if "apex" in inputs:
        size = inputs["apex"].shape[1]
        found["grad_cam"] = grad_cam.heat_map(mean["weighted_sum"], size)
        found["occlusion"] = occlusion.drop_map(mean["drops"], size)
    if "contributions" in mean:
        found["contributions"] = {name: float(x) for name, x in mean["contributions"].items()}
        found["shares"] = streams.shares(found["contributions"])
    if "attributions" in mean:
        values, change = mean["attributions"], float(mean["change"])
        found["completeness_error"] = integrated_gradients.completeness_error(values, change)
        if "adm" in inputs:
            blocks = values.reshape(-1, BLOCKS, BLOCKS, 2)
            found["adm"] = blocks.sum(axis=-1).astype(np.float32)
        else:
            found["flow_map"] = values.sum(axis=-1).astype(np.float32)
    return Explanation(class_index=class_index, networks=len(chosen), **found)


def _parts(
    trained: Networks, number: int, inputs: Mapping[str, np.ndarray], class_index: int
) -> dict[str, Any]:
    """What is averaged over networks, of one of them."""
    network = explained(trained, number)
    found: dict[str, Any] = {}
    # A flow map's network has no streams.
    features, last_map = ({}, None) if "flow_map" in inputs else observe(network, inputs)
    if "apex" in inputs:
        found["weighted_sum"] = grad_cam.weighted_sum(network, features, last_map, class_index)
        found["drops"] = occlusion.drops(network, features, inputs["apex"], class_index)
    if "adm" in inputs or "flow_map" in inputs:
        found["attributions"], found["change"], _ = integrated_gradients.attributions(
            network, features, inputs, class_index
        )
    if len(features) > 1:
        found["contributions"] = streams.contributions(network, features, class_index)
    return found
