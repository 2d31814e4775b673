"""Scoring of STSTNet's published PyTorch networks: `atnet score-ststnet --weights=… …`.

The published code writes one file of weights for each left-out subject. This module loads each file
into our network, scores the clips of that subject, and writes the results of a run to a workdir.
"""

import contextlib
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
from atnet_jax.experiments.results import digests_of, fold_rows, write_results
from atnet_jax.experiments.workdir import claim, command, environment, lock
from atnet_jax.system.files import refuse_pointer
from atnet_jax.training.method_inputs import load_inputs
from atnet_jax.training.trained import Networks
from atnet_jax.words import meant, numbered

_SUFFIXES = (".pth", ".safetensors")

# Numbers of filters of the three streams. Our convolution has all 16 filters in this order.
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
# Numbers of batches behind the statistics, which are fixed here.
_IGNORED = frozenset(f"bn{k}.num_batches_tracked" for k in (1, 2, 3))

# PyTorch's DataParallel adds it to the name of every tensor.
_WRAPPER = "module."

_CHANNELS = (
    "The blue, green and red channels of the published maps are interpreted as strain, vertical"
    " flow and horizontal flow. The order of green and red is not documented."
)


def import_torch(config: Config, folder: Path, workdir: Path) -> Path:
    """Score every subject's clips with the published network of that subject.

    Args:
        config: The configuration of STSTNet under CDE, which selects the data.
        folder: Folder with a file SUBJECT.pth or SUBJECT.safetensors for each subject of the data.
        workdir: Folder for the results.

    Returns:
        The path of the report.

    Raises:
        UserError: The data are not prepared, a subject has no file or several, a file does not
            contain the network, or the workdir holds another run or other files.
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
        f"No network was trained in this run. Each subject's clips were scored by the published"
        f" network of that subject ({numbered(len(chosen), 'subject')}), from the files in"
        f" {folder}.",
        _CHANNELS,
    )
    if unused:
        names = ", ".join(path.name for path in unused)
        notes += (f"These files match no subject of the data and were not used: {names}.",)
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
        digests = digests_of(composite, composite.clip_digests(), folds, {})
        write_results(workdir, rows, {}, None, digests)
    return workdir / "report.html"


def match_files(folder: Path, folds: Sequence[Fold]) -> tuple[list[Path], list[Path]]:
    """Match files of weights to the left-out subjects of folds by name, as `words.meant` does.

    Args:
        folder: Folder of the files.
        folds: The folds, each named DATASET/SUBJECT.

    Returns:
        The file of each fold, and the files that match no subject.

    Raises:
        UserError: The folder does not exist or holds no weights, a subject has no file or several,
            or several subjects have the same name.
    """
    if not folder.is_dir():
        raise UserError(
            f"The folder {folder} does not exist. Pass the folder of the published weights."
        )
    files: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix in _SUFFIXES:
            files[path.stem].append(path)
    if not files:
        raise UserError(
            f"{folder} contains no file ending in {' or '.join(_SUFFIXES)}. Pass the folder of the"
            f" published weights."
        )
    people: defaultdict[str, list[str]] = defaultdict(list)
    for fold in folds:
        people[fold.name.partition("/")[2]].append(fold.name)
    if shared := [", ".join(names) for names in people.values() if len(names) > 1]:
        raise UserError(
            f"Files are matched to subjects by name, but several subjects have the same name:"
            f" {'; '.join(shared)}. Rename them in the manifest and prepare it again."
        )
    # SAMM's subject 6 has the published file 006.pth.
    names = meant(files, people)
    by_subject = {names[stem]: paths for stem, paths in files.items() if stem in names}
    if twice := [
        ", ".join(path.name for path in paths) for paths in by_subject.values() if len(paths) > 1
    ]:
        raise UserError(
            f"{folder} contains several files for one subject: {'; '.join(twice)}. Keep one file"
            f" for each subject."
        )
    unused = [path for stem, paths in files.items() if stem not in names for path in paths]
    if missing := [fold.name for fold in folds if fold.name.partition("/")[2] not in by_subject]:
        others = ", ".join(path.name for path in unused) or "none"
        raise UserError(
            f"{folder} contains no file for {len(missing)} of {numbered(len(folds), 'subject')}:"
            f" {', '.join(missing)}. Name each file after its subject, such as"
            f" {missing[0].partition('/')[2]}.pth. Files that match no subject: {others}."
        )
    return [by_subject[fold.name.partition("/")[2]][0] for fold in folds], unused


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict by name.

    Args:
        path: A .safetensors file, or a PyTorch file with any other suffix.

    Raises:
        UserError: The file is unreadable or contains something else, or PyTorch is required but
            not installed.
    """
    with contextlib.suppress(OSError), path.open("rb") as file:  # Reported below.
        refuse_pointer(path, file.read(1024))
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load_file(path)
        except (OSError, safetensors.SafetensorError, TypeError, ValueError, KeyError) as error:
            raise UserError(f"Cannot read {path} as safetensors: {error}.") from error
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        raise UserError(
            f"Reading {path} requires PyTorch, which is not installed. Run `pip install torch`, or"
            " convert the files on a machine with PyTorch:"
            " safetensors.torch.save_file(torch.load(FILE, weights_only=True),"
            ' "SUBJECT.safetensors").'
        ) from error
    try:
        # A .pth file is a pickle. weights_only loads tensors and runs no code from the file.
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): tensor.detach().numpy() for name, tensor in state.items()}
    except Exception as error:  # A damaged or foreign pickle can raise any exception.
        raise UserError(
            f"Cannot read {path} as a state dict of tensors ({type(error).__name__}). Pickles of"
            " whole networks are not read, because they would run code. Save the state_dict() of"
            " the network instead."
        ) from error


def to_variables(state: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Convert the state dict of the PyTorch port to variables of our STSTNet.

    Our network concatenates the port's three streams into one convolution, in order. The port's
    input channels are blue, green, red (strain, v, u); ours are u, v, strain. The port's classifier
    flattens its input as channel, row, column; ours as row, column, channel.

    Args:
        state: Name → array.
        path: Path of the file, for messages.

    Returns:
        The variables {"params": …, "batch_stats": …}.

    Raises:
        UserError: A tensor is missing or unknown, has another shape, or is not of finite decimal
            numbers.
    """
    if state and all(name.startswith(_WRAPPER) for name in state):
        state = {name.removeprefix(_WRAPPER): array for name, array in state.items()}
    found = state.keys() - _IGNORED
    if found != _SHAPES.keys():
        missing = ", ".join(name for name in _SHAPES if name not in found) or "none"
        more = ", ".join(sorted(found - _SHAPES.keys())) or "none"
        raise UserError(
            f"{path} does not contain the tensors of STSTNet. Missing: {missing}. Unknown: {more}."
        )
    for name, shape in _SHAPES.items():
        array = state[name]
        if array.shape != shape:
            raise UserError(f"{path}: {name} has the shape {array.shape}, expected {shape}.")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UserError(
                f"{path}: {name} ({array.dtype}) must contain only finite decimal numbers."
            )

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
