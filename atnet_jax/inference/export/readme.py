"""README.md of an exported folder: how to load it with JAX and NumPy alone."""

from collections.abc import Mapping
from typing import Any

# Tests run it in a process that can import neither this package nor Flax.
LOADER = '''\
import hashlib, io, json, pathlib
import jax, jax.export, numpy as np

def load(folder):
    """signature, and a function: inputs of clips -> probabilities [network, clip, class]."""
    signature = json.loads((pathlib.Path(folder) / "signature.json").read_text("utf-8"))
    def intact(part):
        content = (pathlib.Path(folder) / part["file"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != part["sha256"]:
            raise ValueError(f"{folder}/{part['file']} is damaged, or not of this export")
        return content
    def arrays(part):
        return dict(np.load(io.BytesIO(intact(part)), allow_pickle=False))
    program = jax.jit(jax.export.deserialize(bytearray(intact(signature["program"]))).call)
    networks = [jax.device_put(arrays(part)) for part in signature["networks"]]
    example = arrays(signature["example"])
    def probabilities(inputs):
        return np.stack([program(weights, inputs) for weights in networks])
    error = np.abs(probabilities({i["name"]: example[i["name"]] for i in signature["inputs"]})
                   - example["probabilities"]).max()
    if not error < 1e-4:
        raise ValueError(f"{folder}: the program errs by {error} on its example")
    return signature, probabilities
'''


def text(signature: Mapping[str, Any]) -> str:
    """The page for what `describe` and the files tell, as Markdown."""
    networks, program, versions = (signature[key] for key in ("networks", "program", "versions"))
    inputs = [
        f"| `{each['name']}` | {_shape(each['shape'])} {each['dtype']} | {each['unit']} |"
        f" {each['how']} |"
        for each in signature["inputs"]
    ]
    plural = "s" if len(networks) > 1 else ""
    return "\n".join(
        [
            f"# {signature['model']}: {len(networks)} trained network{plural}",
            "",
            "Names which of three classes a micro-expression clip shows:"
            f" {', '.join(signature['classes'])}.",
            "",
            f"**{signature['not_for']}**",
            "",
            *(f"> {note}\n" for note in signature["notes"]),
            "## Load it",
            "",
            "Needs `pip install jax numpy flatbuffers` and nothing else.",
            "",
            "```python",
            LOADER.rstrip(),
            "```",
            "",
            "```python",
            'signature, probabilities = load(".")',
            "of_networks = probabilities(inputs)    # a dict of the arrays below, of any number of"
            " clips",
            "answer = of_networks.mean(axis=0)      # [clip, class]; classes as in signature"
            '["classes"]',
            "```",
            "",
            "Loading compares every file with its SHA-256 in `signature.json`, and what the program"
            " gives for the clips of `example.npz` (random numbers) with what the networks gave."
            " Each new number of clips is compiled once.",
            "",
            "## Inputs",
            "",
            "| name | shape and type | unit | how it is computed |",
            "|---|---|---|---|",
            *inputs,
            "",
            "## Files",
            "",
            "| file | holds |",
            "|---|---|",
            f"| `{program['file']}` | the program: StableHLO for {', '.join(program['platforms'])},"
            f" written by jax.export of JAX {versions['jax']} |",
            *(f"| `{part['file']}` | the arrays of: {part['name']} |" for part in networks),
            f"| `{signature['example']['file']}` | inputs of clips, and the networks' answers |",
            "| `signature.json` | all of this for programs |",
            "",
            f"JAX promises to read the program for six months after the release of"
            f" {versions['jax']}. The weights are plain NumPy arrays, and the run can be exported"
            " again.",
            "",
        ]
    )


def _shape(shape: list[Any]) -> str:
    return f"[{', '.join(map(str, shape))}]"
