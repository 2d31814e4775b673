"""Imports weights that Caffe trained: `atnet import-caffe --caffemodel=FILE …`.

Writes a folder of weights, which `--config.init_from` takes. Needs no Caffe.
"""

import dataclasses
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.weights import caffe_mapping, caffemodel
from atnet_jax.weights import folder as weights


def import_caffe(path: Path, model: str, out: Path) -> str:
    """Writes the weights of a .caffemodel to the folder `out`, and returns what it made of them.

    Raises:
      UserError: the file cannot be used, or the folder holds something.
    """
    layers, sha256 = caffemodel.read(path)
    try:
        mapped = caffe_mapping.map_layers(layers, model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    about = {"source": path.name, "sha256": sha256, **mapped.about}
    weights.save(out, dataclasses.replace(mapped, about=about))

    imported, absent, ignored = (about[key] for key in ("imported", "absent", "ignored"))
    width = max(map(len, imported))

    def line(name: str) -> str:
        shapes = ("×".join(map(str, blob.shape)) or "1" for blob in layers[name])
        return f"  {name:{width}}  {', '.join(shapes)}"

    return "\n".join(
        [
            f"{len(imported)} layers imported, with the file's shapes:",
            *map(line, imported),
            f"{len(absent)} layers of the network are absent: they keep initial values.",
            *(f"  {name}" for name in absent),
            f"{len(ignored)} layers of the file are ignored: the network has none such.",
            *map(line, ignored),
            *about["notes"],
            f"weights: {out}",
        ]
    )
