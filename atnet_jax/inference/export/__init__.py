"""Trained networks as a folder that JAX and NumPy alone can load; see docs/export.md."""

import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from atnet_jax.errors import UserError
from atnet_jax.inference.export import readme
from atnet_jax.inference.export.program import DTYPES, export_program, named_arrays, serialise
from atnet_jax.inference.export.signature import describe
from atnet_jax.system import files
from atnet_jax.training.trained import Trained, input_shapes

PROGRAM = "program.jax_export"
SIGNATURE = "signature.json"
EXAMPLE = "example.npz"
README = "README.md"

_EXAMPLE_CLIPS = 5

# Between the program's probabilities and those of `Trained.scores`.
_TOLERANCE = 1e-5


def export(trained: Trained, out: Path) -> dict[str, Any]:
    """Writes the networks to a new folder, which is complete or not there at all.

    The program is applied to an example first, and compared with the networks themselves.

    Args:
      trained: the networks.
      out: the folder.

    Returns:
      What signature.json holds.

    Raises:
      UserError: there is something of that name, or it cannot be written.
    """
    out = out.expanduser().absolute()
    files.refuse_existing(out)
    program = export_program(trained)
    serialised = serialise(program)
    example = _example(trained)
    scores = trained.scores(example)
    call = jax.jit(program.call)
    for name, variables, expected in zip(trained.names, trained.variables, scores, strict=True):
        error = np.abs(call(named_arrays(variables), example) - expected).max()
        if not error <= _TOLERANCE:
            raise RuntimeError(f"The program errs by {error} from the network of {name}.")

    described = describe(trained, program)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir(parents=True)
        described["program"] |= _write(temporary / PROGRAM, serialised)
        described["example"] = _write(
            temporary / EXAMPLE, _packed({**example, "probabilities": scores})
        )
        described["networks"] = [
            {"name": name}
            | _write(temporary / f"network_{number:03d}.npz", _packed(named_arrays(variables)))
            for number, (name, variables) in enumerate(
                zip(trained.names, trained.variables, strict=True)
            )
        ]
        files.write_json_atomically(temporary / SIGNATURE, described)
        files.write_text_atomically(temporary / README, readme.text(described))
        os.rename(temporary, out)
    except OSError as error:
        raise UserError(f"{out}: the networks cannot be written ({error}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return described


def _example(trained: Trained) -> dict[str, np.ndarray]:
    """Inputs of clips that look like nothing: random numbers of the usual size."""
    random = np.random.default_rng(0)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = random.uniform(0, 256, shape) if name == "apex" else random.normal(0, 0.3, shape)
        return values.astype(DTYPES[name])

    shapes = input_shapes(trained.config)
    return {name: draw(name, (_EXAMPLE_CLIPS, *shape)) for name, shape in shapes.items()}


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of an uncompressed .npz file without pickle; equal arrays, equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> dict[str, Any]:
    files.write_bytes_atomically(path, content)
    return {
        "file": path.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
