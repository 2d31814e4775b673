"""Training on a CPU with the same bits whatever the processor and its number of cores."""

import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from atnet_jax.config import default_config
from atnet_jax.data.folds import Unit, make_folds
from atnet_jax.errors import UserError
from atnet_jax.experiments.train import make_deterministic
from atnet_jax.system import backend
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.engine import compiler_options, make_trainer
from atnet_jax.training.fixed_order import fixed_order
from benchmarks.task import random_composite
from tests.conftest import REPOSITORY
from tests.models.test_models import NETWORKS


def compiled(fn):
    options = compiler_options("cpu", deterministic=True)
    return jax.jit(fixed_order(fn), compiler_options=options)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("rows, terms, columns", [(3, 5, 2), (1, 128, 61), (784, 37, 64)])
def test_terms_are_added_one_after_another(rows, terms, columns):
    """Each with a fused multiply-add, so that no processor can differ."""
    a, b = normal(0, rows, terms), normal(1, terms, columns)
    expected = np.zeros((rows, columns))
    for k in range(terms):
        term = a[:, k, None].astype(float) * b[k].astype(float)  # Exact in 53 bits.
        expected = (expected + term).astype(np.float32).astype(float)
    found = compiled(lambda a, b: jnp.dot(a, b, precision="highest"))(a, b)
    np.testing.assert_array_equal(found, expected)


def conv2d(x, kernel, **how):
    names = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, **how, dimension_numbers=names, precision="highest")


def product(name):
    return lambda a, b: jnp.einsum(name, a, b, precision="highest")


def recurrence(x, kernel):
    return lax.scan(lambda h, t: (jnp.tanh(product("bh,hk->bk")(h, kernel) + t), h), x[0], x)[0]


@pytest.mark.parametrize(
    "fn, shapes",
    [
        (product("abc,dcbe->eda"), [(3, 40, 50), (6, 50, 40, 7)]),
        (product("uab,ubc->uac"), [(3, 4, 500), (3, 500, 7)]),
        (recurrence, [(5, 2, 150), (150, 150)]),
        (lambda x, k: conv2d(x, k, window_strides=(1, 1), padding="SAME"),
         [(2, 13, 12, 1), (7, 7, 1, 5)]),
        (lambda x, k: conv2d(x, k, window_strides=(2, 1), padding=[(1, 0), (-1, 2)],
                             rhs_dilation=(1, 2)), [(2, 13, 12, 200), (3, 3, 200, 5)]),
        (lambda x, k: conv2d(x, k, window_strides=(1, 1), padding="SAME", feature_group_count=3),
         [(2, 5, 6, 12), (3, 3, 4, 9)]),
        (lambda x, k: lax.conv_general_dilated(x, k, (1, 2, 1), [(1, 1), (0, 2), (1, 0)]),
         [(2, 3, 6, 7, 9), (4, 3, 2, 3, 2)]),
    ],
)  # fmt: skip
def test_products_and_their_gradients(fn, shapes):
    """The results are those of XLA's own products within rounding; gradients too."""
    args = [normal(k, *shape) / 10 for k, shape in enumerate(shapes)]

    def both(*args):
        results, pull_back = jax.vjp(fn, *args)
        return results, pull_back(jnp.cos(results))

    for own, other in zip(
        jax.tree.leaves(compiled(both)(*args)), jax.tree.leaves(jax.jit(both)(*args)), strict=True
    ):
        assert own.shape == other.shape
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=2e-6 * float(abs(other).max()))


def setting(model, size=28):
    config = default_config(model)
    config.deterministic = True
    config.data.image_size = size
    config.recipe.steps_per_epoch = min(config.recipe.steps_per_epoch, 1)
    composite = random_composite(model, 68, size)
    units = [Unit(0, fold, composite.labels) for fold in make_folds("cde", composite)[:2]]
    blocks = BatchPlan(config, units).blocks(units, 0)
    return config, composite, blocks


@pytest.mark.parametrize("model", NETWORKS)
def test_every_network_has_a_fixed_order(model):
    """No product of a training step is left to the library's order."""
    config, composite, blocks = setting(
        model, {"capsule_net": 132, "vgg_magnified": 32}.get(model, 28)
    )
    trainer = make_trainer(config, composite.inputs)
    text = trainer.lower_epoch(composite.inputs, blocks).as_text()
    assert "stablehlo.convolution" not in text
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert products
    for line in products:
        shape = line.rpartition("-> tensor<")[2].split("x")[:-1]
        assert len(shape) == 4 and int(shape[2]) % 48 == int(shape[3]) % 48 == 0, line


_STEP = """
import hashlib, jax, jax.numpy as jnp, numpy as np
from jax import lax
from atnet_jax.experiments.train import make_deterministic
from atnet_jax.training.engine import compiler_options
from atnet_jax.training.fixed_order import fixed_order
rng = np.random.default_rng(0)
x, k, w, v = (rng.standard_normal(s).astype(np.float32) for s in
              ((4, 14, 14, 40), (3, 3, 40, 30), (7 * 7 * 30, 70), (70, 3)))

def loss(params):
    k, w, v = params
    y = lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y = (y - y.mean((0, 1, 2))) * lax.rsqrt(y.var((0, 1, 2)) + 1e-5)
    y = jnp.tanh(jax.nn.relu(y).reshape(4, -1) @ w / 30)
    return -jax.nn.log_softmax(y @ v)[:, 0].mean()

def step(params):
    value, gradients = jax.value_and_grad(loss)(params)
    return value, jax.tree.map(lambda p, g: p - g / (jnp.sqrt(g * g) + 1e-3), params, gradients)

run = jax.jit(fixed_order(step), compiler_options=compiler_options("cpu", deterministic=True))
for _ in range(3):
    value, (k, w, v) = run((k, w, v))
print(hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in (value, k, w, v))).hexdigest())
"""


@pytest.fixture(scope="module")
def digest():
    """Function that trains in a new process, and returns the digest of what it learnt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", "")
        patch.setattr(backend, "has_started", lambda: False)
        make_deterministic(setting("ststnet")[0])
        flags = os.environ["XLA_FLAGS"]

    def run(*emulator, threads=2):
        environment = {
            **os.environ, "XLA_FLAGS": flags, "PJRT_NPROC": str(threads),
            "JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONPATH": str(REPOSITORY),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",  # The program of a real run.
        }  # fmt: skip
        done = subprocess.run([*emulator, sys.executable, "-c", _STEP], env=environment,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_jax_must_not_have_started_without_the_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    config = setting("ststnet")[0]
    jax.devices()
    with pytest.raises(UserError, match=r"Start a new process.* or set XLA_FLAGS='--xla_gpu_det"):
        make_deterministic(config)
    assert os.environ["XLA_FLAGS"] == ""
    config.deterministic = False
    make_deterministic(config)


def test_any_number_of_threads_gives_the_same_bits(digest):
    assert digest(threads=1) == digest(threads=4)


def test_any_processor_gives_the_same_bits(digest):
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("no qemu-x86_64 to play other processors (Debian: qemu-user)")
    here = digest()
    for processor in ("EPYC", "Haswell"):  # Their makers, caches and instructions differ.
        assert digest(emulator, "-cpu", processor) == here, processor
