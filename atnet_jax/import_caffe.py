"""Imports weights that Caffe trained: `python -m atnet_jax.import_caffe --caffemodel=FILE …`.

Writes a folder of weights, which `--config.init_from` takes. Needs no Caffe.
"""

import sys
from pathlib import Path

from absl import app, flags, logging

from atnet_jax import caffe_mapping, caffemodel, weights
from atnet_jax.errors import UserError


def import_caffe(path: Path, model: str, out: Path) -> str:
    """Writes the weights of a .caffemodel to the folder `out`, and returns what it made of them.

    Args:
      path: the file.
      model: the network to read it as, one of `caffe_mapping.MODELS`.
      out: a new or empty folder.

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


def _define_flags() -> None:
    flags.DEFINE_string("caffemodel", None, "The binary .caffemodel.", required=True)
    flags.DEFINE_enum("model", None, caffe_mapping.MODELS, "The network.", required=True)
    flags.DEFINE_string("out", None, "New folder for the weights.", required=True)


def main(arguments: list[str]) -> int:
    """Runs the command line."""
    if len(arguments) > 1:
        print(f"unexpected argument {arguments[1]!r}; options start with --", file=sys.stderr)
        return 1
    values = flags.FLAGS
    logging.set_verbosity(logging.WARNING)  # Orbax tells a page for every checkpoint.
    try:
        report = import_caffe(
            Path(values.caffemodel).expanduser(), values.model, Path(values.out).expanduser()
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    return 0


if __name__ == "__main__":
    _define_flags()
    app.run(main)
