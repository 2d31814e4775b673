"""Scores STSTNet's published PyTorch networks: `atnet score-ststnet --weights=… …`.

The publication's code leaves one file of weights a left-out subject. Each is read into our network,
which scores the clips of that subject, and what comes out is left in a workdir as a run leaves it.
"""

import importlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float32

from atnet_jax import models
from atnet_jax.config import Config, check
from atnet_jax.data.folds import Fold, make_folds
from atnet_jax.errors import UserError
from atnet_jax.evaluation.record import Data, Folds, Record
from atnet_jax.experiments.results import fold_rows, write_results
from atnet_jax.experiments.workdir import claim, command, environment, lock
from atnet_jax.training.method_inputs import load_inputs
from atnet_jax.training.trained import Networks

_SUFFIXES = (".pth", ".safetensors")

# The three streams' numbers of filters; ours has all 16 in one convolution, in this order.
_FILTERS = (3, 5, 8)
_CLASSES, _SIDE = 3, 5
_BATCH_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
_SHAPES: Mapping[str, tuple[int, ...]] = {
    **{f"conv{k}.weight": (count, 3, 3, 3) for k, count in enumerate(_FILTERS, start=1)},
    **{f"conv{k}.bias": (count,) for k, count in enumerate(_FILTERS, start=1)},
    **{
        f"bn{k}.{name}": (count,)
        for k, count in enumerate(_FILTERS, start=1)
        for name in _BATCH_NORM
    },
    "fc.weight": (_CLASSES, sum(_FILTERS) * _SIDE**2),
    "fc.bias": (_CLASSES,),
}
# How many batches the statistics saw; they are no longer changed.
_IGNORED = frozenset(f"bn{k}.num_batches_tracked" for k in (1, 2, 3))

_CHANNELS = (
    "The published maps' blue, green and red are taken for strain, vertical and horizontal flow;"
    " which of green and red is which flow is not documented."
)


def import_torch(config: Config, folder: Path, workdir: Path) -> Path:
    """Scores every subject's clips with the network of their file, and returns the report's path.

    Args:
      config: of STSTNet under CDE: its data.
      folder: holds a file SUBJECT.pth or SUBJECT.safetensors for each subject of the data.
      workdir: where the results go.

    Raises:
      UserError: the data are not prepared, a subject has no file or several, a file does not hold
        the network, or the workdir holds something else.
    """
    config = check(config)
    composite = load_inputs(config)
    folds = make_folds(config.protocol, composite)
    chosen, unused = match_files(folder, folds)
    trained = Networks(
        config=config,
        network=models.find(config.model).build_network(config.options.to_dict()),
        names=tuple(f"fold {fold.number} ({fold.name})" for fold in folds),
        variables=tuple(to_variables(read_state(path), path) for path in chosen),
    )
    notes = (
        f"Nothing was trained here. The clips of each of the {len(chosen)} subjects were scored by"
        f" the network published for them, from the files in {folder}.",
        _CHANNELS,
    )
    if unused:
        names = ", ".join(path.name for path in unused)
        notes += (f"These files are of no subject of the data and were not used: {names}.",)
    parameters = jax.tree.leaves(trained.variables[0]["params"])
    record = Record(
        config=json.loads(config.to_json()),
        data=Data(len(composite.labels), composite.digest()),
        init_from=trained.digest,
        environment=environment(),
        command=command(),
        folds=Folds(tuple(fold.name for fold in folds), tuple(fold.number for fold in folds)),
        notes=notes,
        excluded=composite.excluded,
        preparation=composite.preparation,
        size={"parameters": sum(leaf.size for leaf in parameters)},
    )
    with lock(workdir):
        claim(workdir, record)
        scores = trained.scores(composite.inputs)
        rows = [
            row
            for fold, own in zip(folds, scores, strict=True)
            for row in fold_rows(config.protocol, composite, fold, own[fold.test], config.seeds[0])
        ]
        write_results(workdir, rows, {}, None)
    return workdir / "report.html"


def match_files(folder: Path, folds: Sequence[Fold]) -> tuple[list[Path], list[Path]]:
    """The file of each fold's left-out subject, by its name, and the files of nobody.

    Raises:
      UserError: the folder holds no weights, a subject has no file, or it is not clear which.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of weights.")
    files: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix in _SUFFIXES:
            files[path.stem].append(path)
    if not files:
        raise UserError(f"{folder} holds no file ending in {' or '.join(_SUFFIXES)}.")
    people: defaultdict[str, list[str]] = defaultdict(list)
    for fold in folds:
        people[fold.name.partition("/")[2]].append(fold.name)
    if shared := [", ".join(names) for names in people.values() if len(names) > 1]:
        raise UserError(
            f"Files are named by subjects, but several subjects have one name: {'; '.join(shared)}."
            " Rename them in the manifest and prepare it again."
        )
    if twice := [
        ", ".join(path.name for path in paths)
        for subject, paths in files.items()
        if subject in people and len(paths) > 1
    ]:
        raise UserError(f"{folder} holds several files for one subject: {'; '.join(twice)}.")
    unused = [path for stem, paths in files.items() if stem not in people for path in paths]
    if missing := [fold.name for fold in folds if fold.name.partition("/")[2] not in files]:
        others = ", ".join(path.name for path in unused) or "none"
        raise UserError(
            f"{folder} holds no file for {len(missing)} of {len(folds)} subjects:"
            f" {', '.join(missing)}. A file is named as its subject, such as"
            f" {missing[0].partition('/')[2]}.pth. Files of nobody: {others}."
        )
    return [files[fold.name.partition("/")[2]][0] for fold in folds], unused


def read_state(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name, as PyTorch or safetensors wrote it.

    Raises:
      UserError: the file cannot be read, holds something else, or PyTorch is needed and not there.
    """
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load_file(path)
        except (OSError, safetensors.SafetensorError, TypeError, ValueError, KeyError) as error:
            raise UserError(f"{path} cannot be read as safetensors: {error}") from error
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        raise UserError(
            f"Reading {path} takes PyTorch, which is not installed: pip install torch, or convert"
            " the files where it is (safetensors.torch.save_file(torch.load(FILE,"
            ' weights_only=True), "SUBJECT.safetensors")).'
        ) from error
    try:
        # A .pth is a pickle: only tensors are taken from it, no code is run.
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): tensor.detach().numpy() for name, tensor in state.items()}
    except Exception as error:  # Whatever a damaged or foreign pickle leads to.
        raise UserError(
            f"{path} cannot be read as a state dict of tensors ({type(error).__name__}). A whole"
            " network is a pickle that would run code, and is not read: save its state_dict()."
        ) from error


def to_variables(state: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """The variables of our STSTNet, {"params": …, "batch_stats": …}, from the port's state dict.

    The port's three streams are one convolution here, in their order. Their input's channels are
    blue, green, red: strain, v and u, ours u, v, strain. The classifier reads channel, row, column
    there, and row, column, channel here.

    Args:
      state: name → array.
      path: of the file, for messages.

    Raises:
      UserError: a tensor is missing, unknown, of another shape or no finite decimal numbers.
    """
    found = state.keys() - _IGNORED
    if found != _SHAPES.keys():
        missing = ", ".join(name for name in _SHAPES if name not in found) or "none"
        more = ", ".join(sorted(found - _SHAPES.keys())) or "none"
        raise UserError(
            f"{path} does not hold STSTNet's tensors. Missing: {missing}. Unknown: {more}."
        )
    for name, shape in _SHAPES.items():
        array = state[name]
        if array.shape != shape:
            raise UserError(f"{path}: {name} has the shape {array.shape}, expected {shape}.")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UserError(f"{path}: {name} ({array.dtype}) is not of finite decimal numbers.")

    def of_streams(layer: str, name: str) -> Float32[np.ndarray, "16 *rest"]:
        parts = [state[f"{layer}{k}.{name}"] for k in (1, 2, 3)]
        return np.concatenate(parts).astype(np.float32)

    kernel = of_streams("conv", "weight")[:, ::-1]
    norm = {ours: of_streams("bn", theirs) for theirs, ours in _BATCH_NORM.items()}
    flat = state["fc.weight"].astype(np.float32)
    classifier = flat.reshape(_CLASSES, sum(_FILTERS), _SIDE, _SIDE).transpose(2, 3, 1, 0)
    return {
        "params": {
            "streams": {
                "kernel": kernel.transpose(2, 3, 1, 0).reshape(-1, sum(_FILTERS)),
                "bias": of_streams("conv", "bias"),
            },
            "norm": {name: norm[name] for name in ("scale", "bias")},
            "classifier": {
                "kernel": classifier.reshape(-1, _CLASSES),
                "bias": state["fc.bias"].astype(np.float32),
            },
        },
        "batch_stats": {"norm": {name: norm[name] for name in ("mean", "var")}},
    }
