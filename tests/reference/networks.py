"""ATNet and Micro-Attention as their prototxt lists them, out of `caffe_layers`.

Inputs are in Caffe's layout: "apex" `[clip, 1, row, column]`, raw grey 0–255, and "adm"
`[clip, 64, 128]`. Layers and blobs have the release's names and shapes.
"""

import numpy as np

from tests.reference.caffe_layers import (
    LSTM,
    Array,
    BatchNorm,
    ChannelMean,
    Concat,
    Convolution,
    Dropout,
    EltwiseProduct,
    EltwiseSum,
    GlobalAveragePooling,
    InnerProduct,
    L2Normalise,
    MaxPooling,
    Net,
    ReLU,
    Scale,
    Sigmoid,
    TimeMean,
)

MODELS = ("fusion", "spatial", "temporal", "micro_attention")
CLASSIFIER = "classifier-Micro_expression"


def _batch_norm(net: Net, name: str, channels: int, bottom: str) -> str:
    """Normalisation, then factor and bias; the release calls the second layer "scale"."""
    normalised = net.add(name, BatchNorm(channels), bottom)
    return net.add(name.replace("bn", "scale"), Scale(channels), normalised)


def _batch_norm_relu(net: Net, name: str, channels: int, bottom: str) -> str:
    scaled = _batch_norm(net, name, channels, bottom)
    return net.add(name.replace("bn", "relu"), ReLU(), scaled)


def _masked(net: Net, mask: str, bottom: str) -> str:
    """bottom · (1 + mask)."""
    product = net.add(f"{mask}_product", EltwiseProduct(), bottom, mask)
    return net.add(f"{mask}_sum", EltwiseSum(), bottom, product)


def _spatial(net: Net, channels: int, attention: bool) -> str:
    """ResNet-10, pre-activation; "attention" adds Micro-Attention's masks. 512 values a clip."""
    top = _batch_norm(net, "data_bn", channels, "apex")
    top = net.add("conv1", Convolution(channels, 64, 7, stride=2, pad=3, bias_term=True), top)
    top = _batch_norm_relu(net, "conv1_bn", 64, top)
    top = net.add("conv1_pool", MaxPooling(3, stride=2), top)
    width = 64
    mask = ""
    for size in (64, 128, 256, 512):
        block = f"layer_{size}_1"
        stride = 1 if size == 64 else 2
        if size == 64:  # The pooled input is already activated, and the shortcut is itself.
            shortcut = top
        else:
            top = _batch_norm_relu(net, f"{block}_bn1", width, top)
            expand = Convolution(width, size, 1, stride)
            shortcut = net.add(f"{block}_conv_expand", expand, top)
        first = net.add(f"{block}_conv1", Convolution(width, size, 3, stride, pad=1), top)
        first = _batch_norm_relu(net, f"{block}_bn2", size, first)
        second = net.add(f"{block}_conv2", Convolution(size, size, 3, pad=1), first)
        top = net.add(f"{block}_sum", EltwiseSum(), second, shortcut)
        if attention:
            seen = net.add(f"mask_Concat_{size}", Concat(), shortcut, first, second)
            mask = net.add(f"mask_Concat_{size}_1x1", Convolution(3 * size, size, 1), seen)
            mask = net.add(f"mask_mean_{size}", ChannelMean(), mask)
            mask = net.add(f"mask_{size}", Sigmoid(), mask)
            if size < 512:
                top = _masked(net, mask, top)
        width = size
    top = _batch_norm_relu(net, "last_bn", 512, top)
    if attention:
        top = _masked(net, mask, top)
    return net.add("global_pool", GlobalAveragePooling(), top)


def _temporal(net: Net) -> str:
    """Two LSTMs and the mean over all steps, rows of zeros included. 512 values a clip."""
    top = net.add("lstm1", LSTM(128, 512), "adm")
    top = net.add("lstm2", LSTM(512, 512), top)
    return net.add("time_mean", TimeMean(), top)


def build(model: str, channels: int = 1) -> Net:
    """The network called `model`; its blobs are zero (scale factors 1) until filled.

    Args:
      model: one of `MODELS`.
      channels: of the apex frame; public ImageNet weights have 3.
    """
    net = Net()
    features = []
    if model in ("fusion", "spatial"):
        features.append(net.add("spatial_norm", L2Normalise(), _spatial(net, channels, False)))
    if model in ("fusion", "temporal"):
        features.append(net.add("temporal_norm", L2Normalise(), _temporal(net)))
    if model == "micro_attention":
        features.append(_spatial(net, channels, True))
    if model == "fusion":
        concatenated = net.add("concat", Concat(), *features)
        features = [net.add("dropout", Dropout(0.5), concatenated)]
    (top,) = features
    net.add(CLASSIFIER, InnerProduct(1024 if model == "fusion" else 512, 3), top)
    return net


def fill(net: Net, rng: np.random.Generator) -> Net:
    """Random weights and running statistics, of the size they have in a trained network.

    Convolutions, LSTMs and their like start as released; what starts at a constant is drawn around
    it, so that nothing is left out by being 0 or 1. The classifier's weights on inputs of unit
    length are larger than released, or the logits would hardly depend on them.
    """
    unit_length = any(isinstance(layer, L2Normalise) for layer in net.layers.values())
    for name, layer in net.layers.items():
        blobs = layer.blobs
        if isinstance(layer, Convolution):
            blobs[0][:] = rng.normal(0, np.sqrt(2 / blobs[0][0].size), blobs[0].shape)
            for bias in blobs[1:]:
                bias[:] = rng.normal(0, 0.5, bias.shape)
        elif isinstance(layer, BatchNorm):
            # Sums of a mean and a variance, as often as the factor says.
            mean, deviation = (128, 50) if name == "data_bn" else (0, 1)
            blobs[2][:] = rng.uniform(20, 900)
            blobs[0][:] = blobs[2] * (mean + deviation * rng.normal(0, 0.3, blobs[0].shape))
            blobs[1][:] = blobs[2] * deviation**2 * rng.uniform(1, 4, blobs[1].shape)
        elif isinstance(layer, Scale):
            blobs[0][:] = rng.uniform(0.7, 1.3, blobs[0].shape)
            blobs[1][:] = rng.normal(0, 0.3, blobs[1].shape)
        elif isinstance(layer, LSTM):
            for blob in blobs:
                blob[:] = rng.normal(0, 0.1, blob.shape)
        elif isinstance(layer, InnerProduct):
            blobs[0][:] = rng.normal(0, 1 if unit_length else 0.05, blobs[0].shape)
            blobs[1][:] = rng.normal(0.2, 0.1, blobs[1].shape)
    return net


def pictures(rng: np.random.Generator, clips: int, height: int, width: int) -> Array:
    """Grey pictures of whole levels 0–255, `[clip, 1, row, column]`, that differ in tone."""
    tone = rng.uniform(60, 190, (clips, 1, 1, 1))
    coarse = rng.normal(0, 40, (clips, 1, height // 8 + 1, width // 8 + 1))
    shapes = coarse.repeat(8, 2).repeat(8, 3)[:, :, :height, :width]
    noise = rng.normal(0, 10, (clips, 1, height, width))
    return np.clip(np.round(tone + shapes + noise), 0, 255)


def adm_features(rng: np.random.Generator, clips: int, rows: int = 64) -> Array:
    """Rows of 64 directions and magnitudes, interleaved, `[clip, row, 128]`; outer ones zero."""
    directions = rng.uniform(-np.pi, np.pi, (clips, rows, 64)) * 0.5
    magnitudes = rng.gamma(2, 0.1, (clips, rows, 64))
    features = np.stack([directions, magnitudes], -1).reshape(clips, rows, 128)
    for clip in range(clips):
        features[clip, : rng.integers(0, rows // 3)] = 0
        features[clip, rng.integers(2 * rows // 3, rows) :] = 0
    return features
