"""Execute notebooks and store their outputs: `make notebooks`.

python docs/run_notebooks.py [NOTEBOOK…]
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

GUIDES = Path(__file__).parent / "guides"


def execute(path: Path) -> nbformat.NotebookNode:
    """Execute a notebook in an empty folder.

    Args:
        path: The notebook, which stays as it is.

    Returns:
        The notebook with its outputs, without progress bars and times.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell fails; the message shows it.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            # Printed text arrives in pieces of any length; the pieces become one output.
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    return notebook


if __name__ == "__main__":
    for given in sys.argv[1:] or sorted(map(str, GUIDES.glob("*.ipynb"))):
        print(given, flush=True)
        nbformat.write(execute(Path(given)), given)
