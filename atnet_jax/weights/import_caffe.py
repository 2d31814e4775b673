"""Imports weights that Caffe trained: `atnet import-caffe --caffemodel=FILE …`.

Writes a folder of weights, which `--config.init_from` takes. Needs no Caffe.
"""

from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.weights import caffe_mapping, caffemodel
from atnet_jax.weights import folder as weights


def import_caffe(path: Path, model: str, out: Path) -> str:
    """Writes the weights of a .caffemodel to the folder `out`, and returns what it made of them.

    Raises:
      UserError: the file cannot be used, or the folder holds something.
    """
    source = caffemodel.read(path)
    try:
        mapped = caffe_mapping.map_layers(source.layers, model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    about = {
        "source": path.name,
        "sha256": source.sha256,
        "model": model,
        "imported": mapped.imported,
        "absent": mapped.absent,
        "ignored": mapped.ignored,
        "notes": mapped.notes,
    }
    weights.save(out, weights.Weights(mapped.params, mapped.batch_stats, about))

    def shapes(name: str) -> str:
        return ", ".join("×".join(map(str, blob.shape)) or "1" for blob in source.layers[name])

    width = max(map(len, mapped.imported))
    lines = [f"{len(mapped.imported)} layers imported, with the file's shapes:"]
    lines += [f"  {name:{width}}  {shapes(name)}" for name in mapped.imported]
    lines += [f"{len(mapped.absent)} layers of the network are absent: they keep initial values."]
    lines += [f"  {name}" for name in mapped.absent]
    lines += [f"{len(mapped.ignored)} layers of the file are ignored: the network has none such."]
    lines += [f"  {name:{width}}  {shapes(name)}" for name in mapped.ignored]
    return "\n".join([*lines, *mapped.notes, f"weights: {out}"])
