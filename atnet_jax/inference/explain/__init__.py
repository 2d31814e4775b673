"""Explanations of a prediction: maps over face and time, and the contribution of each stream.

docs/guides/explanations.md defines the maps and states their limits. Several networks are explained
as one network whose score is the mean of their scores.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from atnet_jax.errors import UserError
from atnet_jax.inference.explain import grad_cam, integrated_gradients, occlusion, streams
from atnet_jax.inference.explain.network import explained, observe
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.adm import BLOCKS
from atnet_jax.training.trained import Networks, check_inputs

__all__ = ["METHODS", "Explanation", "explain"]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Explanation of the score of one class for one clip.

    The score is the logit of the class minus the mean of the other logits. Maps of inputs that the
    networks do not read are None.

    Attributes:
        class_index: Index of the explained class.
        networks: Number of networks that were averaged.
        grad_cam: Grad-CAM map of the apex frame, from 0 to 1: evidence for the class in the last
            feature map of the spatial stream. The maximum is 1 unless the map is 0 everywhere.
        occlusion: Drop of the class's probability when a grey patch hides each pixel of the apex
            frame; negative where the probability rises.
        adm: Integrated gradients of the ADM in logits, by row of the window and block of the face;
            direction and magnitude are summed.
        flow_map: Integrated gradients of the flow map in logits; the channels are summed.
        shares: Absolute contribution of each stream divided by their sum.
        contributions: Contribution of each stream to the score, in logits.
        completeness_error: Difference between the sum of the integrated gradients and the change
            of the score, divided by the sum of their absolute values.
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
"""Methods whose networks can be explained."""


def explain(
    trained: Networks,
    inputs: Mapping[str, np.ndarray],
    class_index: int,
    networks: Sequence[int] | None = None,
) -> Explanation:
    """Explain the score that trained networks give one class for one clip.

    Args:
        trained: The networks, of one of `METHODS`.
        inputs: Inputs of one clip by name, each with a leading axis of length 1.
        class_index: The class: 0 negative, 1 positive, 2 surprise.
        networks: Numbers of the networks to average; None for all.

    Returns:
        The maps and contributions, averaged over the networks.

    Raises:
        UserError: The method is not in `METHODS`, `class_index` is not 0, 1 or 2, `inputs` do not
            hold exactly one clip, or `networks` is empty or names one that does not exist.
    """
    if trained.config.model not in METHODS:
        raise UserError(
            f"The networks of {trained.config.model} cannot be explained, only those of"
            f" {', '.join(METHODS)}."
        )
    count = len(trained.variables)
    chosen = range(count) if networks is None else networks
    if class_index not in range(len(CLASSES)):
        raise UserError(f"class_index is {class_index}, expected 0 to {len(CLASSES) - 1}.")
    if check_inputs(trained.config, inputs) != 1:
        raise UserError("Expected the inputs of one clip, each with a leading axis of length 1.")
    if not len(chosen) or any(number not in range(count) for number in chosen):
        raise UserError(f"networks is {list(chosen)}, expected numbers from 0 to {count - 1}.")
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
    """Compute the values of one network that `explain` averages."""
    network = explained(trained, number)
    found: dict[str, Any] = {}
    # A network that reads flow maps has no streams.
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
