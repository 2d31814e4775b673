"""Conversion of a network's three-channel input layers to one channel, for grey pictures.

ImageNet networks read three channels, ours one. For a grey picture x copied to three channels,
`data_bn` and `data_scale` turn channel c into aᶜx + dᶜ with aᶜ = γᶜ/√(vᶜ + ε) and dᶜ = βᶜ − aᶜmᶜ
(mean m, variance v, scale γ, bias β). conv1 then gives, summed over its taps t,

    bias + Σₜ (K[t] xₜ + D[t])    with    K[t] = Σᶜ Wᶜ[t] aᶜ,  D[t] = Σᶜ Wᶜ[t] dᶜ.

One channel with a'x + d', W' = K/a', bias' = bias + Σₜ (D[t] − r K[t]) and r = d'/a' gives the same
result for every a' and r if all taps lie inside the picture. At the border, Caffe pads with zeros
after normalisation, so the results agree only if D[t] = r K[t] for every tap. The choices are:

* r = ⟨D, K⟩/⟨K, K⟩ minimises the difference over all taps and filters. If the normalisations of the
  channels agree or are absent (then W' = Σᶜ Wᶜ), the result is exact including the border.
  Otherwise no single channel gives an exact border.
* m' and v' are the averages over the channels. Running statistics of grey pictures are similar to
  them, so training can continue from them. When training normalises pictures by the batch's
  statistics, conv1 receives the same input as before (exactly, if the channels agree). γ' is the
  root mean square of γ.
* β' = a'(r + m'). Without data_scale, which contains β', m' = −r.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from atnet_jax.models.layers.batch_norm import EPSILON

# Geometry of conv1, and size and grey levels of the pictures for which it is designed.
_KERNEL, _STRIDE, _PADDING = 7, 2, 3
_SIZE, _LEVELS = 224, 255


Blobs = list[np.ndarray]


def to_one_channel(
    layers: Mapping[str, Blobs],
) -> tuple[dict[str, Blobs], Float[np.ndarray, " filter"]]:
    """Return one-channel input layers with the same response to grey pictures as these layers.

    The responses are compared in test mode, with the grey picture copied to all channels of the
    given layers. The module's docstring derives the formulas.

    Args:
        layers: Layer name → blobs in Caffe's order. "conv1" has the kernel `[filter, channel, 7,
            7]` and the bias `[filter]`. "data_bn" (optional) has the sums of means and variances
            `[channel]` and their divisor `[]`. "data_scale" (optional) has the scale and the bias
            `[channel]`.

    Returns:
        The layers, and the largest error of each filter at the border of a 224×224 picture. The
        error is a share of the range of the filter's outputs for grey levels 0 to 255.
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
    """Return each filter's largest sum of `unmatched` over outside taps, relative to its range."""
    taps = np.arange(0, _SIZE, _STRIDE)[:, None] - _PADDING + np.arange(_KERNEL)
    inside = np.unique((taps >= 0) & (taps < _SIZE), axis=0).astype(np.float64)
    within = np.einsum("rh,sw,ohw->rso", inside, inside, unmatched)
    largest = np.abs(unmatched.sum(axis=(1, 2)) - within).max(axis=(0, 1))
    spread = _LEVELS * np.abs(on_picture).sum(axis=(1, 2))
    return np.divide(largest, spread, out=np.zeros_like(largest), where=spread > 0)
