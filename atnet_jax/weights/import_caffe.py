"""Import of weights that Caffe trained: `atnet import-caffe --caffemodel=FILE …`.

The import writes a folder of weights for `--config.init_from`. It does not need Caffe.
"""

import dataclasses
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.weights import caffe_mapping, caffemodel
from atnet_jax.weights import folder as weights
from atnet_jax.words import numbered


def import_caffe(path: Path, model: str, out: Path) -> str:
    """Write the weights of a .caffemodel to a folder and return a report.

    Args:
        path: The binary .caffemodel.
        model: Name of the network, one of `CAFFE_MODELS`.
        out: New or empty folder for the weights.

    Returns:
        Imported, absent and ignored layers, and notes, one per line.

    Raises:
        UserError: The file cannot be used, or the folder is not empty.
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
            f"{numbered(len(imported), 'layer')} imported, with the file's shapes:",
            *map(line, imported),
            f"Absent from the file, with initial values: {numbered(len(absent), 'layer')}.",
            *(f"  {name}" for name in absent),
            f"Ignored, since the network has no such layer: {numbered(len(ignored), 'layer')}.",
            *map(line, ignored),
            *about["notes"],
            f"weights: {out}",
        ]
    )
