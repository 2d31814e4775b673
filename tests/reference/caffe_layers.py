"""Caffe's layers, loss and solver in NumPy, forward and backward, as a reference.

Arrays are laid out as in Caffe: pictures `[clip, channel, row, column]`, sequences `[clip, time,
value]`, blobs in Caffe's order and shape. Everything is plain and slow on purpose, in float64
unless a network is built otherwise.
"""

import abc
from collections.abc import Mapping, Sequence

import numpy as np

Array = np.ndarray


class Layer(abc.ABC):
    """One layer. `backward` follows a `forward` and fills `diffs`, the gradients of `blobs`.

    Attributes:
      blobs: learnable arrays and running statistics, in Caffe's order.
      diffs: the loss's gradient for each blob; zero for statistics.
      lr_mult: each blob's factor of the solver's learning rate; 0 marks statistics.
      decay_mult: each blob's factor of the solver's weight decay.
    """

    def __init__(self) -> None:
        self.blobs: list[Array] = []
        self.diffs: list[Array] = []
        self.lr_mult: list[float] = []
        self.decay_mult: list[float] = []

    def add_blob(
        self, shape: Sequence[int], value: float = 0, lr_mult: float = 1, decay_mult: float = 1
    ) -> None:
        self.blobs.append(np.full(shape, value, np.float64))
        self.diffs.append(np.zeros(shape))
        self.lr_mult.append(lr_mult)
        self.decay_mult.append(decay_mult)

    @abc.abstractmethod
    def forward(self, train: bool, *bottoms: Array) -> Array: ...

    @abc.abstractmethod
    def backward(self, top_diff: Array) -> tuple[Array, ...]: ...


def sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))


def softmax(logits: Array) -> Array:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def per_channel(vector: Array, like: Array) -> Array:
    """`vector` shaped to spread over axis 1 of `like`."""
    return vector.reshape(1, -1, *[1] * (like.ndim - 2))


def all_but_channels(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


class Convolution(Layer):
    """Blobs: weights `[out, in, row, column]` and, with `bias_term`, a bias of twice the rate."""

    def __init__(
        self,
        inputs: int,
        num_output: int,
        kernel_size: int,
        stride: int = 1,
        pad: int = 0,
        bias_term: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.pad = kernel_size, stride, pad
        self.add_blob((num_output, inputs, kernel_size, kernel_size))
        if bias_term:
            self.add_blob((num_output,), lr_mult=2)

    def forward(self, train: bool, *bottoms: Array) -> Array:
        (x,) = bottoms
        self.padded = np.pad(x, [(0, 0), (0, 0), (self.pad, self.pad), (self.pad, self.pad)])
        window = (self.kernel_size, self.kernel_size)
        windows = np.lib.stride_tricks.sliding_window_view(self.padded, window, axis=(2, 3))
        # [clip, channel, output row, output column, kernel row, kernel column]
        self.windows = windows[:, :, :: self.stride, :: self.stride]
        out = np.tensordot(self.windows, self.blobs[0], ([1, 4, 5], [1, 2, 3]))
        if len(self.blobs) == 2:
            out += self.blobs[1]
        return out.transpose(0, 3, 1, 2)

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        self.diffs[0] = np.tensordot(top_diff, self.windows, ([0, 2, 3], [0, 2, 3]))
        if len(self.blobs) == 2:
            self.diffs[1] = top_diff.sum((0, 2, 3))
        # [clip, output row, output column, channel, kernel row, kernel column]
        window_diffs = np.tensordot(top_diff, self.blobs[0], ([1], [0]))
        padded_diff = np.zeros_like(self.padded)
        rows, columns = (self.stride * size for size in top_diff.shape[2:])
        for i in range(self.kernel_size):
            for j in range(self.kernel_size):
                padded_diff[:, :, i : i + rows : self.stride, j : j + columns : self.stride] += (
                    window_diffs[..., i, j].transpose(0, 3, 1, 2)
                )
        height, width = padded_diff.shape[2:]
        return (padded_diff[:, :, self.pad : height - self.pad, self.pad : width - self.pad],)


class BatchNorm(Layer):
    """Blobs: decayed sums of means and of unbiased variances, and the factor to divide both by."""

    def __init__(
        self, channels: int, eps: float = 1e-5, moving_average_fraction: float = 0.999
    ) -> None:
        super().__init__()
        self.eps, self.moving_average_fraction = eps, moving_average_fraction
        for shape in (channels,), (channels,), (1,):
            self.add_blob(shape, lr_mult=0, decay_mult=0)

    def forward(self, train: bool, *bottoms: Array) -> Array:
        (x,) = bottoms
        mean_sum, variance_sum, factor = self.blobs
        self.train = train
        if train:
            count = x.size // x.shape[1]
            mean = x.mean(all_but_channels(x))
            variance = ((x - per_channel(mean, x)) ** 2).mean(all_but_channels(x))
            unbiased = variance * count / (count - 1)
            for blob, new in (mean_sum, mean), (variance_sum, unbiased), (factor, 1):
                blob *= self.moving_average_fraction
                blob += new
        else:
            scale = 0 if factor[0] == 0 else 1 / factor[0]
            mean, variance = scale * mean_sum, scale * variance_sum
        self.deviation = per_channel(np.sqrt(variance + self.eps), x)
        self.out = (x - per_channel(mean, x)) / self.deviation
        return self.out

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        if not self.train:
            return (top_diff / self.deviation,)
        axes = all_but_channels(top_diff)
        through_mean = top_diff.mean(axes, keepdims=True)
        through_variance = self.out * (top_diff * self.out).mean(axes, keepdims=True)
        return ((top_diff - through_mean - through_variance) / self.deviation,)


class Scale(Layer):
    """Blobs: a factor and a bias for each channel, the bias of twice the rate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.add_blob((channels,), 1)
        self.add_blob((channels,), lr_mult=2)

    def forward(self, train: bool, *bottoms: Array) -> Array:
        (self.x,) = bottoms
        factor, bias = self.blobs
        return self.x * per_channel(factor, self.x) + per_channel(bias, self.x)

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        axes = all_but_channels(top_diff)
        self.diffs = [(top_diff * self.x).sum(axes), top_diff.sum(axes)]
        return (top_diff * per_channel(self.blobs[0], top_diff),)


class ReLU(Layer):
    def forward(self, train: bool, *bottoms: Array) -> Array:
        (x,) = bottoms
        self.positive = x > 0
        return x * self.positive

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        return (top_diff * self.positive,)


class Sigmoid(Layer):
    def forward(self, train: bool, *bottoms: Array) -> Array:
        self.out = sigmoid(*bottoms)
        return self.out

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        return (top_diff * self.out * (1 - self.out),)


class MaxPooling(Layer):
    """Without padding; the output's size is rounded up, so a last window may reach outside."""

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, train: bool, *bottoms: Array) -> Array:
        (x,) = bottoms
        self.shape = x.shape
        k, s = self.kernel_size, self.stride
        height, width = (int(np.ceil((size - k) / s)) + 1 for size in x.shape[2:])
        out = np.empty((*x.shape[:2], height, width), x.dtype)
        self.winners = np.empty((2, *out.shape), int)
        for i in range(height):
            for j in range(width):
                window = x[:, :, i * s : i * s + k, j * s : j * s + k]
                flat = window.reshape(*x.shape[:2], -1)
                out[:, :, i, j] = flat.max(2)
                row, column = np.unravel_index(flat.argmax(2), window.shape[2:])
                self.winners[:, :, :, i, j] = row + i * s, column + j * s
        return out

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        bottom_diff = np.zeros(self.shape, top_diff.dtype)
        clips, channels = np.indices(top_diff.shape)[:2]
        np.add.at(bottom_diff, (clips, channels, *self.winners), top_diff)
        return (bottom_diff,)


class GlobalAveragePooling(Layer):
    def forward(self, train: bool, *bottoms: Array) -> Array:
        (x,) = bottoms
        self.shape = x.shape
        return x.mean((2, 3))

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        pixels = self.shape[2] * self.shape[3]
        return (np.broadcast_to(top_diff[:, :, None, None] / pixels, self.shape),)


class EltwiseSum(Layer):
    def forward(self, train: bool, *bottoms: Array) -> Array:
        a, b = bottoms
        return a + b

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        return top_diff, top_diff


class EltwiseProduct(Layer):
    def forward(self, train: bool, *bottoms: Array) -> Array:
        self.a, self.b = bottoms
        return self.a * self.b

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        return top_diff * self.b, top_diff * self.a


class Concat(Layer):
    """Along axis 1."""

    def forward(self, train: bool, *bottoms: Array) -> Array:
        self.ends = np.cumsum([bottom.shape[1] for bottom in bottoms])
        return np.concatenate(bottoms, 1)

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        return tuple(np.split(top_diff, self.ends[:-1], 1))


class ChannelMean(Layer):
    """Every channel becomes the mean of all: a fixed 1×1 convolution of weights 1/C."""

    def forward(self, train: bool, *bottoms: Array) -> Array:
        (x,) = bottoms
        return np.broadcast_to(x.mean(1, keepdims=True), x.shape)

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        return (np.broadcast_to(top_diff.mean(1, keepdims=True), top_diff.shape),)


class LSTM(Layer):
    """From a zero state. Blobs: W_xc `[4H, in]`, b_c `[4H]`, W_hc `[4H, H]`; gates i, f, o, g."""

    def __init__(self, inputs: int, num_output: int) -> None:
        super().__init__()
        self.num_output = num_output
        for shape in (4 * num_output, inputs), (4 * num_output,), (4 * num_output, num_output):
            self.add_blob(shape)

    def forward(self, train: bool, *bottoms: Array) -> Array:
        (self.x,) = bottoms
        w_xc, b_c, w_hc = self.blobs
        clips, times, _ = self.x.shape
        # The state before each step, and after the last: index t + 1 is after step t.
        self.h = np.zeros((times + 1, clips, self.num_output), self.x.dtype)
        self.c = np.zeros_like(self.h)
        self.gates = []
        from_input = self.x @ w_xc.T + b_c
        for t in range(times):
            i, f, o, g = np.split(from_input[:, t] + self.h[t] @ w_hc.T, 4, 1)
            i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
            self.gates.append((i, f, o, g))
            self.c[t + 1] = f * self.c[t] + i * g
            self.h[t + 1] = o * np.tanh(self.c[t + 1])
        return self.h[1:].transpose(1, 0, 2)

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        w_xc, _, w_hc = self.blobs
        # [time, clip, 4H]: of what goes into the gates.
        d_before = np.empty((*top_diff.shape[1::-1], len(w_xc)), w_xc.dtype)
        d_h = np.zeros_like(self.h[0])
        d_c = np.zeros_like(self.c[0])
        for t in reversed(range(len(self.gates))):
            i, f, o, g = self.gates[t]
            d_h = d_h + top_diff[:, t]
            tanh_c = np.tanh(self.c[t + 1])
            d_c = d_c + d_h * o * (1 - tanh_c**2)
            d_before[t] = np.concatenate(
                [
                    d_c * g * i * (1 - i),
                    d_c * self.c[t] * f * (1 - f),
                    d_h * tanh_c * o * (1 - o),
                    d_c * i * (1 - g**2),
                ],
                1,
            )
            d_h = d_before[t] @ w_hc
            d_c = d_c * f
        self.diffs = [
            np.tensordot(d_before, self.x.transpose(1, 0, 2), ([0, 1], [0, 1])),
            d_before.sum((0, 1)),
            np.tensordot(d_before, self.h[:-1], ([0, 1], [0, 1])),
        ]
        return ((d_before @ w_xc).transpose(1, 0, 2),)


class TimeMean(Layer):
    def forward(self, train: bool, *bottoms: Array) -> Array:
        (x,) = bottoms
        self.shape = x.shape
        return x.mean(1)

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        return (np.broadcast_to(top_diff[:, None] / self.shape[1], self.shape),)


class L2Normalise(Layer):
    """Each clip's vector over its length (equation 7, with the square that its print misses)."""

    def forward(self, train: bool, *bottoms: Array) -> Array:
        (x,) = bottoms
        self.length = np.sqrt((x**2).sum(1, keepdims=True))
        self.out = x / self.length
        return self.out

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        along = (top_diff * self.out).sum(1, keepdims=True)
        return ((top_diff - along * self.out) / self.length,)


class Dropout(Layer):
    """Set `mask`, 1 where a value is kept, before each training step; scaled while training."""

    def __init__(self, dropout_ratio: float) -> None:
        super().__init__()
        self.dropout_ratio = dropout_ratio
        self.mask: Array | None = None

    def forward(self, train: bool, *bottoms: Array) -> Array:
        (x,) = bottoms
        if train:
            assert self.mask is not None and self.mask.shape == x.shape
            self.factor = self.mask / (1 - self.dropout_ratio)
        else:
            self.factor = np.ones_like(x)
        return x * self.factor

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        return (top_diff * self.factor,)


class InnerProduct(Layer):
    """Blobs: weights `[out, in]`, and a bias of twice the rate and without decay."""

    def __init__(self, inputs: int, num_output: int) -> None:
        super().__init__()
        self.add_blob((num_output, inputs))
        self.add_blob((num_output,), lr_mult=2, decay_mult=0)

    def forward(self, train: bool, *bottoms: Array) -> Array:
        (self.x,) = bottoms
        return self.x @ self.blobs[0].T + self.blobs[1]

    def backward(self, top_diff: Array) -> tuple[Array, ...]:
        self.diffs = [top_diff.T @ self.x, top_diff.sum(0)]
        return (top_diff @ self.blobs[0],)


class SoftmaxWithLoss:
    """Mean over the clips of -log(softmax probability of the label)."""

    def forward(self, logits: Array, labels: Array) -> float:
        self.labels, self.probabilities = labels, softmax(logits)
        return float(-np.log(self.probabilities[np.arange(len(labels)), labels]).mean())

    def backward(self) -> Array:
        one_hot = np.eye(self.probabilities.shape[1], dtype=self.probabilities.dtype)[self.labels]
        return (self.probabilities - one_hot) / len(self.labels)


class Net:
    """A directed graph of layers, in the order that they are added; each one's top has its name."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self.bottoms: dict[str, tuple[str, ...]] = {}
        self.tops: dict[str, Array] = {}
        self.loss = SoftmaxWithLoss()

    def add(self, name: str, layer: Layer, *bottoms: str) -> str:
        assert name not in self.layers, name
        self.layers[name] = layer
        self.bottoms[name] = bottoms
        return name

    @property
    def blobs(self) -> dict[str, list[Array]]:
        """Layer name → its blobs, of the layers that have any; to be changed in place."""
        return {name: layer.blobs for name, layer in self.layers.items() if layer.blobs}

    @property
    def learnable(self) -> int:
        """How many numbers the solver learns."""
        return sum(
            blob.size
            for layer in self.layers.values()
            for blob, lr_mult in zip(layer.blobs, layer.lr_mult, strict=True)
            if lr_mult
        )

    def astype(self, dtype: type) -> "Net":
        """Computes in this precision from here on; feed inputs of the same."""
        for layer in self.layers.values():
            layer.blobs = [blob.astype(dtype) for blob in layer.blobs]
        return self

    def forward(self, inputs: Mapping[str, Array], train: bool = False) -> Array:
        """The last layer's top, the logits `[clip, class]`. Training moves running statistics."""
        self.tops = dict(inputs)
        for name, layer in self.layers.items():
            self.tops[name] = layer.forward(train, *(self.tops[b] for b in self.bottoms[name]))
        return self.tops[name]

    def backward(self, top_diff: Array) -> dict[str, Array]:
        """Fills every layer's `diffs` from that of the logits; also the gradient of every top."""
        diffs = {name: np.zeros_like(top) for name, top in self.tops.items()}
        diffs[list(self.layers)[-1]] += top_diff
        for name, layer in reversed(self.layers.items()):
            for bottom, diff in zip(self.bottoms[name], layer.backward(diffs[name]), strict=True):
                diffs[bottom] += diff
        return diffs

    def forward_backward(self, inputs: Mapping[str, Array], labels: Array) -> float:
        """Return the training loss of one batch, and fill `diffs` of every layer."""
        loss = self.loss.forward(self.forward(inputs, train=True), labels)
        self.backward(self.loss.backward())
        return loss


class SGDSolver:
    """SGD with momentum; the policy "step" multiplies the rate by `gamma` every `stepsize`."""

    def __init__(
        self,
        net: Net,
        base_lr: float,
        momentum: float,
        weight_decay: float,
        gamma: float,
        stepsize: int,
    ) -> None:
        self.net, self.base_lr, self.momentum = net, base_lr, momentum
        self.weight_decay, self.gamma, self.stepsize = weight_decay, gamma, stepsize
        self.iteration = 0
        self.history = {
            name: [np.zeros_like(blob) for blob in blobs] for name, blobs in net.blobs.items()
        }

    def step(self, inputs: Mapping[str, Array], labels: Array) -> float:
        """One step; the loss before it."""
        loss = self.net.forward_backward(inputs, labels)
        rate = self.base_lr * self.gamma ** (self.iteration // self.stepsize)
        for name, blobs in self.net.blobs.items():
            layer = self.net.layers[name]
            for k, blob in enumerate(blobs):
                if not layer.lr_mult[k]:
                    continue
                diff = layer.diffs[k] + self.weight_decay * layer.decay_mult[k] * blob
                history = self.history[name][k]
                history *= self.momentum
                history += rate * layer.lr_mult[k] * diff
                blob -= history
        self.iteration += 1
        return loss
