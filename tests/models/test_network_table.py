"""Both tables of docs/reference/network.md match the networks in every row."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax import models
from tests.reference import networks

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "network.md"
SHAPES = {"apex": (224, 224, 1), "adm": (64, 128)}


def section(title: str) -> str:
    text = DOCUMENT.read_text(encoding="utf-8")
    return next(part for part in text.split("\n## ") if title in part.split("\n")[0])


def rows(title: str) -> list[list[str]]:
    lines = [line for line in section(title).split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def shape(cell: str) -> tuple[int, ...]:
    return tuple(int(size) for size in cell.split("×"))


def flax_layers(name: str) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Output shape and parameters of every module that has a name."""
    model = models.find(name).build_network()
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    inputs = {key: jnp.zeros((1, *SHAPES[key])) for key in models.find(name).inputs}
    _, state = jax.eval_shape(
        lambda: model.init_with_output(keys, inputs, train=False, capture_intermediates=True)
    )
    outputs, parameters = {}, {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state["intermediates"]):
        outputs["/".join(p.key for p in path[:-2])] = leaf.shape[1:]
    for path, leaf in jax.tree_util.tree_leaves_with_path(state["params"]):
        layer = "/".join(p.key for p in path[:-1])
        parameters[layer] = parameters.get(layer, 0) + leaf.size
    return outputs, parameters


@pytest.mark.parametrize(
    ("title", "model"), [("ATNet", "fusion"), ("Micro-Attention", "micro_attention")]
)
def test_every_row_is_so(title, model):
    outputs, parameters = flax_layers(model)
    net = networks.fill(networks.build(model), np.random.default_rng(0))
    inputs = {
        "apex": networks.pictures(np.random.default_rng(0), 1, 224, 224),
        "adm": networks.adm_features(np.random.default_rng(0), 1),
    }
    net.forward(inputs)
    listed, released = set(), set()
    for release, _, release_output, release_count, path, output, count in rows(title):
        if names := re.findall(r"`([^`]+)`", release):
            released.update(names)
            learnt = [
                blob
                for name in names
                if type(net.layers[name]).__name__ != "BatchNorm"
                for blob in net.blobs[name]
            ]
            assert sum(blob.size for blob in learnt) == number(release_count), release
            assert net.tops[names[-1]].shape[1:] == shape(release_output), release
        if path:
            path = path.strip("`")
            listed.add(path)
            assert outputs[path] == shape(output), path
            assert parameters.get(path, 0) == number(count), path
    if model == "fusion":
        assert released == set(net.blobs)
        assert listed >= set(parameters)
        assert sum(number(row[3]) for row in rows(title)) == sum(parameters.values())


def test_the_totals_are_so():
    for method, release, here in rows("Totals"):
        name = re.findall(r"`([^`]+)`", method)[0]
        _, parameters = flax_layers(name)
        assert number(release) == number(here) == sum(parameters.values())
        net = networks.build(name)
        learnt = sum(
            blob.size
            for layer, blobs in net.blobs.items()
            if type(net.layers[layer]).__name__ != "BatchNorm"
            for blob in blobs
        )
        assert learnt == number(release)
