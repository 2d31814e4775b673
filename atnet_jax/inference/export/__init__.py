"""Export of trained networks to a folder that JAX and NumPy load: docs/guides/export.md."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jinja2
import numpy as np

from atnet_jax.errors import UserError
from atnet_jax.inference.export.program import DTYPES, export_program, named_arrays
from atnet_jax.inference.export.signature import describe
from atnet_jax.system import files
from atnet_jax.training.trained import Networks, input_shapes

# The template is Markdown, so values are not escaped.
_README = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
).get_template("README.md.jinja")
_EXAMPLE_CLIPS = 5

# Largest difference between the probabilities of the program and of `Networks.scores`.
_TOLERANCE = 1e-5


def export(trained: Networks, out: Path) -> dict[str, Any]:
    """Write the networks to a new folder; on an error, no folder is left behind.

    The program is first compared with the networks on an example.

    Args:
        trained: The networks.
        out: The folder, which must not exist.

    Returns:
        The content of signature.json.

    Raises:
        UserError: The folder exists or cannot be written.
        RuntimeError: The program differs from a network by more than 1e-5 in probability.
    """
    out = out.expanduser().absolute()
    files.refuse_existing(out)
    program = export_program(trained)
    example = _example(trained)
    scores = trained.scores(example)
    call = jax.jit(program.call)
    for name, variables, expected in zip(trained.names, trained.variables, scores, strict=True):
        error = np.abs(call(named_arrays(variables), example) - expected).max()
        if not error <= _TOLERANCE:
            raise RuntimeError(
                f"The exported program errs by {error} from the network of {name}, limit"
                f" {_TOLERANCE:g}."
            )

    described = describe(trained, program)
    try:
        with files.new_folder(out) as folder:
            described["program"] |= _write(folder / "program.jax_export", program.serialize())
            arrays = {**example, "probabilities": scores}
            described["example"] = _write(folder / "example.npz", _packed(arrays))
            described["networks"] = [
                {"name": name}
                | _write(folder / f"network_{number:03d}.npz", _packed(named_arrays(variables)))
                for number, (name, variables) in enumerate(
                    zip(trained.names, trained.variables, strict=True)
                )
            ]
            files.write_json_atomically(folder / "signature.json", described)
            files.write_text_atomically(folder / "README.md", _README.render(described))
    except OSError as error:
        raise UserError(f"{out}: the networks cannot be written ({error}).") from error
    return described


def _example(trained: Networks) -> dict[str, np.ndarray]:
    """Draw random inputs of the usual shapes and ranges."""
    random = np.random.default_rng(0)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = random.uniform(0, 256, shape) if name == "apex" else random.normal(0, 0.3, shape)
        return values.astype(DTYPES[name])

    shapes = input_shapes(trained.config)
    return {name: draw(name, (_EXAMPLE_CLIPS, *shape)) for name, shape in shapes.items()}


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of an uncompressed .npz file; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _write(path: Path, content: bytes | bytearray) -> dict[str, Any]:
    files.write_bytes_atomically(path, bytes(content))
    checksum = hashlib.sha256(content).hexdigest()
    return {"file": path.name, "bytes": len(content), "sha256": checksum}
