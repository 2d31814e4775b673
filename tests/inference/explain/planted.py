"""Networks made by hand: with random weights, or with weights whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np

from atnet_jax import models
from atnet_jax.config import default_config
from atnet_jax.training.trained import Networks, input_shapes


def trained_of(model: str, variables, size: int = 32, **options) -> Networks:
    config = default_config(model)
    config.data.image_size = size
    config.options.update(options)
    network = models.find(model).build_network(config.options.to_dict())
    names = tuple(f"fold {number}" for number in range(len(variables)))
    return Networks(config, network, names, tuple(variables))


def random_variables(model: str, seed: int = 0, size: int = 32, **options):
    """Weights as large as training leaves them, biases that are not zero."""
    trained = trained_of(model, (), size, **options)
    shapes = input_shapes(trained.config)
    inputs = {name: jnp.zeros((2, *shape)) for name, shape in shapes.items()}
    tree = jax.eval_shape(lambda: trained.network.init(jax.random.key(0), inputs, train=False))
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        if name.endswith("kernel"):
            values = rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape)
        elif name.endswith(("bias", "mean")):
            values = rng.normal(0, 0.1, leaf.shape)
        else:
            values = np.zeros(leaf.shape)
        return values.astype(np.float32)

    learnt = {name: tree.get(name, {}) for name in ("params", "batch_stats")}
    return jax.tree_util.tree_map_with_path(fill, learnt)


def random_inputs(trained: Networks, seed: int = 0):
    rng = np.random.default_rng(seed)
    shapes = input_shapes(trained.config)
    draw = {
        "apex": lambda shape: rng.integers(0, 256, shape).astype(np.uint8),
        "adm": lambda shape: clip_adm(rng, shape),
        "flow_map": lambda shape: rng.normal(0, 1, shape).astype(np.float32),
    }
    return {name: draw[name]((1, *shape)) for name, shape in shapes.items()}


def clip_adm(rng, shape):
    """Directions and magnitudes; the window's first and last rows are not the clip's."""
    adm = rng.uniform(0, 1, shape).astype(np.float32)
    adm[..., ::2] = rng.uniform(-3, 3, adm[..., ::2].shape)
    adm[:, : shape[1] // 4] = adm[:, -shape[1] // 8 :] = 0
    return adm


def bright_spot_network(size: int) -> Networks:
    """A spatial stream that sees pixels 32 k to 32 k + 4 of rows and columns, and calls light 1.

    All it does is to hand one channel on, which is the frame at every 32nd pixel, and another that
    is 100. "positive" is what their ratio speaks for.
    """
    variables = jax.tree.map(np.zeros_like, random_variables("spatial", size=size))
    spatial = variables["params"]["spatial"]
    for layer in spatial.values():
        if "scale" in layer:
            layer["scale"][:] = 1
    spatial["conv1"]["kernel"][3, 3, 0, 0] = 1
    spatial["conv1"]["bias"][1] = 100
    for channels in (128, 256, 512):
        for channel in (0, 1):
            kernel = spatial[f"layer_{channels}_1_conv_expand"]["kernel"]
            kernel[0, 0, channel, channel] = 1
    classifier = variables["params"]["classifier"]["Micro_expression"]
    classifier["kernel"][0, 1] = 4
    return trained_of("spatial", [variables], size)
