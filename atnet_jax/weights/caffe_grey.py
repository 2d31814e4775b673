"""A network's input layers for three-channel pictures, turned into those for grey ones.

ImageNet networks see three channels, ours one. On a grey picture x copied to three channels,
channel c leaves `data_bn` and `data_scale` as aᶜx + dᶜ with aᶜ = γᶜ/√(vᶜ + ε) and dᶜ = βᶜ − aᶜmᶜ
(mean m, variance v, scale γ, bias β), and conv1 gives, summed over its taps t,

    bias + Σₜ (K[t] xₜ + D[t])    with    K[t] = Σᶜ Wᶜ[t] aᶜ,  D[t] = Σᶜ Wᶜ[t] dᶜ.

One channel with a'x + d', W' = K/a' and bias' = bias + Σₜ (D[t] − r K[t]), r = d'/a', gives the
same, whatever a' and r are, where all taps lie inside the picture. In its border, Caffe's zeros
stand for taps after normalisation, so there D[t] and r K[t] must agree tap for tap. Chosen are

* r = ⟨D, K⟩/⟨K, K⟩, which brings them closest over all taps and filters. Where the channels'
  normalisations agree, or there is none (then W' = Σᶜ Wᶜ), the result is exact up to the border;
  otherwise no single channel can be.
* m', v': the channels' averages. Running statistics of grey pictures are like them, so training
  goes on from them; and where it normalises pictures by their own statistics, it sees what it saw
  before (exactly, where the channels agree). γ': the root mean square of γ.
* β' = a'(r + m'). Without data_scale, which holds β', m' = −r.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from atnet_jax.models.layers.batch_norm import EPSILON

# Of conv1, and of the pictures it is made for.
_KERNEL, _STRIDE, _PADDING = 7, 2, 3
_SIZE, _LEVELS = 224, 255


Blobs = list[np.ndarray]


def to_one_channel(
    layers: Mapping[str, Blobs],
) -> tuple[dict[str, Blobs], Float[np.ndarray, " filter"]]:
    """Input layers that do to a grey picture what the given do to it copied to their channels.

    In test mode; the module's docstring has the formulas.

    Args:
      layers: the blobs as Caffe orders them: "conv1", kernel `[filter, channel, 7, 7]` and bias
        `[filter]`; "data_bn", if there is one, sums of means and of variances `[channel]` and the
        factor `[]` to divide them by; "data_scale", likewise, scale and bias `[channel]`.

    Returns:
      The layers, and how far each filter's output is off at worst, in the border of a 224×224
      picture, as a share of the range of its outputs for pictures of levels 0 to 255.
    """
    kernel, bias = (blob.astype(np.float64) for blob in layers["conv1"])
    mean, variance = np.zeros(kernel.shape[1]), np.ones(kernel.shape[1]) - EPSILON
    scale, shift = np.ones(kernel.shape[1]), np.zeros(kernel.shape[1])
    factor = np.ones(())
    if "data_bn" in layers:
        mean_sum, variance_sum, factor = (blob.astype(np.float64) for blob in layers["data_bn"])
        mean, variance = mean_sum / factor, variance_sum / factor
    if "data_scale" in layers:
        scale, shift = (blob.astype(np.float64) for blob in layers["data_scale"])

    slope = scale / np.sqrt(variance + EPSILON)
    on_picture = np.einsum("ochw,c->ohw", kernel, slope)  # K
    constant = np.einsum("ochw,c->ohw", kernel, shift - slope * mean)  # D
    power = np.square(on_picture).sum()
    ratio = (constant * on_picture).sum() / power if power > 0 else 0.0
    unmatched = constant - ratio * on_picture

    new_mean = mean.mean(keepdims=True) if "data_scale" in layers else np.array([-ratio])
    new_variance = variance.mean(keepdims=True)
    new_scale = np.sqrt(np.square(scale).mean(keepdims=True))
    new_slope = new_scale / np.sqrt(new_variance + EPSILON)
    new_kernel = on_picture / new_slope if power > 0 else on_picture

    grey = {
        "conv1": (new_kernel[:, None], bias + unmatched.sum(axis=(1, 2))),
        "data_bn": (new_mean * factor, new_variance * factor, factor),
        "data_scale": (new_scale, new_slope * (ratio + new_mean)),
    }
    found = {name: [np.asarray(blob, np.float32) for blob in grey[name]] for name in layers}
    return found, _border_error(unmatched, on_picture)


def _border_error(
    unmatched: Float[np.ndarray, "filter 7 7"], on_picture: Float[np.ndarray, "filter 7 7"]
) -> Float[np.ndarray, " filter"]:
    """Each filter's largest sum of `unmatched` over taps outside the picture, as such a share."""
    taps = np.arange(0, _SIZE, _STRIDE)[:, None] - _PADDING + np.arange(_KERNEL)
    inside = np.unique((taps >= 0) & (taps < _SIZE), axis=0).astype(np.float64)
    within = np.einsum("rh,sw,ohw->rso", inside, inside, unmatched)
    largest = np.abs(unmatched.sum(axis=(1, 2)) - within).max(axis=(0, 1))
    spread = _LEVELS * np.abs(on_picture).sum(axis=(1, 2))
    return np.divide(largest, spread, out=np.zeros_like(largest), where=spread > 0)
