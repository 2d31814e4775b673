"""Sanity checks of the maps of `atnet_jax.inference.explain`: dependence on trained weights.

    python -m benchmarks.saliency_sanity --workdir=WORKDIR --shuffled=CONTROL --table=sanity.md

The checks follow Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity Checks for Saliency Maps,
NeurIPS 2018.

- Model parameters: layer after layer, from the classifier downwards, receives the weights of an
  untrained network. If a map depends on the trained weights, its rank correlation with the map of
  the trained network falls towards 0.
- Data: CONTROL is a run with the same settings and `--config.shuffle_labels=True`. Its maps, learnt
  from meaningless labels, are compared with the maps of the trained network.

Maps of the ADM and of the flow map are also compared without signs, which is the harder test. For
data from `atnet synthetic` (`--synthetic=SUBJECTS,CLIPS,SEED`), maps of the ADM are also compared
with the true motion (pointing game; Zhang et al., ECCV 2016): the score is how often the block with
the largest attribution is among the 16 of 64 blocks that the expression, without the head, moves
most from onset to apex. Chance is 0.25.

Maps explain the class that the trained network predicts. The clips are evenly spaced in the data.
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

# Layers to randomise, in this order, by the start of their path.
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
_MOVING = 16  # number of blocks with the largest motion


def randomised(
    variables: Mapping[str, Any], untrained: Mapping[str, Any], starts: Sequence[str]
) -> dict[str, Any]:
    """Return variables with untrained weights in some layers.

    Args:
        variables: Variables of the trained network.
        untrained: Variables of an untrained network.
        starts: Starts of the paths of the layers to replace.
    """

    def choose(path: Any, trained_leaf: Any, untrained_leaf: Any) -> Any:
        name = "/".join(str(entry.key) for entry in path)
        return untrained_leaf if name.startswith(tuple(starts)) else trained_leaf

    params = jax.tree_util.tree_map_with_path(choose, variables["params"], untrained["params"])
    return {**variables, "params": params}


def maps(explanation: Explanation) -> dict[str, np.ndarray]:
    """Return the maps to compare, by name."""
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
    """Return Spearman's rank correlation, with mean ranks for ties; 0 if a map is constant."""
    ranks = []
    for values in (first.ravel(), second.ravel()):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
        ranks.append(rank - rank.mean())
    length = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / length if length else 0.0


def moving_blocks(spec: Any, crop_box: Sequence[float]) -> np.ndarray:
    """Return the length of the expression's motion in each block, from onset to apex.

    Args:
        spec: Specification of a synthetic clip.
        crop_box: Face crop x0, y0, x1, y1 in the frame, in pixels.

    Returns:
        Lengths in pixels of the frame, float32 `[8, 8]`.
    """
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
    """Return `moving_blocks` of each clip."""
    subjects, clips, seed = map(int, made_with)
    specs, boxes = {}, {}
    for name in networks.config.data.datasets:
        for spec in clip_specs(name, subjects, clips, seed):
            specs[name, spec.subject.lstrip("0"), spec.clip] = spec  # SAMM writes subject 6 as 006.
        builder = record.prepared(networks.config.data.dir, name, networks.config.data.flow)
        for key, clip in record.read_records(builder, ()):
            boxes[key] = clip["crop_box"]
    if missing := [key for key in keys if key not in specs]:
        raise UserError(
            f"--synthetic={','.join(made_with)} does not generate the clip {missing[0]}. Pass the"
            " subjects, clips and seed of the data."
        )
    return [moving_blocks(specs[key], boxes[key]) for key in keys]


def _stages(params: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the starts of paths of all randomised layers, by the last randomised layer."""
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
    """Return only the first network of a run."""
    networks = trained.load_networks(workdir)
    return dataclasses.replace(networks, names=networks.names[:1], variables=networks.variables[:1])


def main(argv: Sequence[str]) -> None:
    """Run the benchmark."""
    try:
        _main(argv)
    except UserError as error:
        sys.exit(f"{error}")


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Workdir of a finished run of a network.", required=True)
    flags.DEFINE_string("shuffled", None, "Workdir of the same run with shuffled labels.")
    flags.DEFINE_integer("clips", 8, "Number of clips.", lower_bound=1)
    flags.DEFINE_list("synthetic", None, "SUBJECTS,CLIPS,SEED of the synthetic data.")
    flags.DEFINE_string("table", None, "Also write the table to this file.")


if __name__ == "__main__":
    _define_flags()
    app.run(main)
