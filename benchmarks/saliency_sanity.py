"""Whether the maps of `atnet_jax.inference.explain` show what a network has learnt.

    python -m benchmarks.saliency_sanity --workdir=WORKDIR --shuffled=CONTROL --table=sanity.md

After Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity Checks for Saliency Maps, NeurIPS
2018.

- Model parameters: from the classifier down, layer after layer gets the weights of an untrained
  network. A map that shows what was learnt becomes another one: its rank correlation with the
  trained network's falls towards 0.
- Data: CONTROL is a run with the same settings and `--config.shuffle_labels=True`. Its maps, of
  labels that mean nothing, are compared with the trained network's.

Maps of the ADM and of the flow map are also compared without their signs, which is the harder test,
and those of the ADM with the true motion, where the data are those that `atnet synthetic` makes
(`--synthetic=SUBJECTS,CLIPS,SEED`): how often the block of the largest attribution is one of the
16 of 64 that the expression, without the head, moves most from onset to apex (pointing game; Zhang
et al., ECCV 2016), which chance makes 0.25.

Maps are of the class that the trained networks give a clip; the clips are spread over the data.
"""

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from absl import app, flags

from atnet_jax.data import composite as data
from atnet_jax.data import record
from atnet_jax.errors import UserError
from atnet_jax.inference.explain import Explanation, explain
from atnet_jax.preprocessing.adm import BLOCKS
from atnet_jax.preprocessing.face import SIZE
from atnet_jax.training import trained
from atnet_jax.training.trained import Networks, input_shapes
from data_builders.synthetic import clip_specs
from data_builders.synthetic.scene import Scene

# What is randomised, in this order, by how a layer's path starts.
CASCADE = {
    "classifier": ("classifier",),
    "block 512": ("spatial/layer_512", "spatial/last_bn", "spatial/mask_Concat_512"),
    "block 256": ("spatial/layer_256", "spatial/mask_Concat_256"),
    "block 128": ("spatial/layer_128", "spatial/mask_Concat_128"),
    "block 64 and below": ("spatial",),
    "second LSTM": ("temporal/lstm2",),
    "first LSTM": ("temporal",),
    "filters": ("streams", "norm"),
}
_MOVING = 16  # blocks that an expression moves most


def randomised(
    variables: Mapping[str, Any], untrained: Mapping[str, Any], starts: Sequence[str]
) -> dict[str, Any]:
    """A network with an untrained one's weights in the layers whose paths start so."""

    def choose(path: Any, trained_leaf: Any, untrained_leaf: Any) -> Any:
        name = "/".join(str(entry.key) for entry in path)
        return untrained_leaf if name.startswith(tuple(starts)) else trained_leaf

    params = jax.tree_util.tree_map_with_path(choose, variables["params"], untrained["params"])
    return {**variables, "params": params}


def maps(explanation: Explanation) -> dict[str, np.ndarray]:
    """The maps to be compared, by name."""
    found = {}
    if explanation.grad_cam is not None and explanation.occlusion is not None:
        found |= {"Grad-CAM": explanation.grad_cam, "occlusion": explanation.occlusion}
    for name, values in (("ADM", explanation.adm), ("flow map", explanation.flow_map)):
        if values is not None:
            total = values.sum(axis=0) if values.ndim == 3 else values
            found |= {f"{name}, summed over time" if values.ndim == 3 else name: total}
            found |= {f"{name}, without signs": np.abs(values)}
    return found


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, with mean ranks for ties; 0 where a map is the same everywhere."""
    ranks = []
    for values in (first.ravel(), second.ravel()):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
        ranks.append(rank - rank.mean())
    length = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / length if length else 0.0


def moving_blocks(spec: Any, crop_box: Sequence[float]) -> np.ndarray:
    """How far the expression moves each block of the face crop from onset to apex, `[8, 8]`."""
    scene = Scene(spec)
    still = tuple(
        dataclasses.replace(drift, amplitudes=0 * drift.amplitudes) for drift in scene.motion.head
    )
    scene.motion = dataclasses.replace(scene.motion, head=still, parity=(0.0, 0.0))
    length = np.hypot(*np.moveaxis(scene.true_flow(spec.onset, spec.apex), -1, 0))
    x0, y0, x1, y1 = crop_box
    matrix = np.array([[SIZE / (x1 - x0), 0, 0], [0, SIZE / (y1 - y0), 0]])
    matrix[:, 2] = -matrix[0, 0] * x0, -matrix[1, 1] * y0
    crop = cv2.warpAffine(length.astype(np.float32), matrix, (SIZE, SIZE))
    return cv2.resize(crop, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)


def _untrained(networks: Networks) -> dict[str, Any]:
    inputs = {name: jnp.zeros((1, *x)) for name, x in input_shapes(networks.config).items()}
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.device_get(jax.jit(lambda: networks.network.init(keys, inputs, train=False))())


def _true_motion(
    networks: Networks, keys: Sequence[record.Key], made_with: Sequence[str]
) -> list[np.ndarray]:
    """How far the expression moves the blocks of each of these clips."""
    subjects, clips, seed = map(int, made_with)
    specs, boxes = {}, {}
    for name in networks.config.data.datasets:
        for spec in clip_specs(name, subjects, clips, seed):
            specs[name, spec.subject.lstrip("0"), spec.clip] = spec  # SAMM's folder 006 is its 6.
        builder = record.prepared(networks.config.data.dir, name, networks.config.data.flow)
        for key, clip in record.read_records(builder, ()):
            boxes[key] = clip["crop_box"]
    if missing := [key for key in keys if key not in specs]:
        raise UserError(f"--synthetic={','.join(made_with)} makes no clip {missing[0]}.")
    return [moving_blocks(specs[key], boxes[key]) for key in keys]


def _stages(params: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """How the paths of all randomised layers start, by the last layer that joined them."""
    names = [
        "/".join(str(entry.key) for entry in path)
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    stages, starts = {}, ()
    for stage, more in CASCADE.items():
        if any(name.startswith(more) for name in names):
            starts += more
            stages[stage] = starts
    return stages


def _row(name: str, values: Mapping[str, Sequence[float]]) -> str:
    cells = []
    for numbers in values.values():
        error = np.std(numbers, ddof=1) / np.sqrt(len(numbers)) if len(numbers) > 1 else 0.0
        cells.append(f"{np.mean(numbers):.2f} ± {error:.2f}")
    return f"| {name} | {' | '.join(cells)} |"


def _main(_: Sequence[str]) -> None:
    networks = _first(Path(flags.FLAGS.workdir))
    others = {}
    untrained = _untrained(networks)
    for stage, starts in _stages(networks.variables[0]["params"]).items():
        variables = randomised(networks.variables[0], untrained, starts)
        others[f"random: {stage}"] = dataclasses.replace(networks, variables=(variables,))
    if flags.FLAGS.shuffled:
        others["trained on shuffled labels"] = _first(Path(flags.FLAGS.shuffled))

    config = networks.config
    clips = data.load_composite(
        config.data.dir,
        config.data.datasets,
        config.data.flow,
        networks.inputs,
        config.data.image_size,
    )
    chosen = np.linspace(0, len(clips.labels) - 1, flags.FLAGS.clips).round().astype(int)
    inputs = [{name: x[k : k + 1] for name, x in clips.inputs.items()} for k in chosen]
    motion: list[np.ndarray] = []
    if flags.FLAGS.synthetic and "adm" in networks.inputs:
        keys = [(clips.dataset[k], clips.subject[k], clips.clip[k]) for k in chosen]
        motion = _true_motion(networks, keys, flags.FLAGS.synthetic)
    classes = [int(networks.scores(each)[0, 0].argmax()) for each in inputs]
    right = np.mean(np.array(classes) == clips.labels[chosen])
    found, seconds = {}, []
    for name, each in tqdm.tqdm({"as trained": networks, **others}.items()):
        found[name] = []
        for clip, class_index in zip(inputs, classes, strict=True):
            start = time.perf_counter()
            found[name].append(maps(explain(each, clip, class_index)))
            seconds.append(time.perf_counter() - start)

    compared = list(found["as trained"][0])
    lines = [
        f"{config.model}, {config.data.image_size} pixels, {len(chosen)} clips, {right:.0%} of"
        f" which the network gets right; {np.median(seconds):.1f} s an explanation.",
        "",
        f"| rank correlation with the map as trained | {' | '.join(compared)} |",
        "|---" * (len(compared) + 1) + "|",
    ]
    for name in others:
        pairs = list(zip(found["as trained"], found[name], strict=True))
        values = {m: [rank_correlation(one[m], two[m]) for one, two in pairs] for m in compared}
        lines.append(_row(name, values))
    if motion:
        lines += ["", "| largest attribution is where the expression moves |  |", "|---|---|"]
        for name, each in found.items():
            hits = [
                float((m > m.flat[one["ADM, summed over time"].argmax()]).sum() < _MOVING)
                for one, m in zip(each, motion, strict=True)
            ]
            lines.append(_row(name, {"hits": hits}))
        hits = []
        for clip, m in zip(inputs, motion, strict=True):
            most = clip["adm"][0, :, 1::2].sum(axis=0).argmax()
            hits.append(float((m > m.flat[most]).sum() < _MOVING))
        lines.append(_row("(largest measured motion)", {"hits": hits}))
    text = "\n".join(lines) + "\n"
    print(text)
    if flags.FLAGS.table:
        Path(flags.FLAGS.table).write_text(text, encoding="utf-8")


def _first(workdir: Path) -> Networks:
    """A run's first network."""
    networks = trained.load_networks(workdir)
    return dataclasses.replace(networks, names=networks.names[:1], variables=networks.variables[:1])


def main(argv: Sequence[str]) -> None:
    """Entry point."""
    try:
        _main(argv)
    except UserError as error:
        sys.exit(f"{error}")


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Finished run of a network.", required=True)
    flags.DEFINE_string("shuffled", None, "The same with shuffled labels.")
    flags.DEFINE_integer("clips", 8, "How many clips.", lower_bound=1)
    flags.DEFINE_list("synthetic", None, "How the synthetic data were made.")
    flags.DEFINE_string("table", None, "Where to write the table; it is printed, too.")


if __name__ == "__main__":
    _define_flags()
    app.run(main)
