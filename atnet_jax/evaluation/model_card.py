"""The model card of a run, model_card.md: what was trained on what, how well, and for which use.

After Mitchell et al. (Model Cards for Model Reporting, FAT* 2019), with the front matter that model
hubs read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from atnet_jax import models
from atnet_jax.config import flat
from atnet_jax.evaluation import metrics, statistics
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.record import Record
from atnet_jax.evaluation.statistics import Figure
from atnet_jax.names import CLASSES
from atnet_jax.system import files

FILE = "model_card.md"
"""The card's name in its workdir."""

NOT_FOR = (
    "Not for decisions about people: do not use it in hiring, policing, border control, schools,"
    " medicine or lie detection. The classes are the labels that annotators gave laboratory"
    " recordings. A face does not prove what a person feels."
)

# The template is Markdown, so values are not escaped.
_TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
).get_template("model_card.md.jinja")


def render(
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    validation: Mapping[str, float] | None = None,
) -> str:
    """Return the card of a method as Markdown.

    Args:
        records: The records of its runs, one for each seed.
        predictions: The tested clips of all seeds; none after the tasks "final" and "pretrain".
        validation: After the task "pretrain", the metrics of the validation subjects.
    """
    first = records[0]
    method = models.find(first.model)
    summary = statistics.summarise(predictions) if predictions else {}
    return _TEMPLATE.render(
        record=first,
        title=method.title_of(first.options),
        method=method,
        seeds=[record.seed for record in records],
        classes=CLASSES,
        not_for=NOT_FOR,
        recipe=dict(flat(first.config.get("recipe", {}))),
        notes=first.notes,
        validation=validation,
        metrics=metrics.METRICS,
        scores=[
            {
                "group": "all tested clips" if group == "full" else group,
                "clips": found.clips,
                "subjects": found.subjects,
                "figures": [_cell(getattr(found, name)) for name in metrics.METRICS],
            }
            for group, found in summary.items()
        ],
    )


def write(
    workdir: Path,
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    validation: Mapping[str, float] | None = None,
) -> None:
    """Write model_card.md to a workdir; see `render` for the arguments.

    Raises:
        OSError: The folder does not exist or cannot be written to.
    """
    files.write_text_atomically(workdir / FILE, render(records, predictions, validation))


def _cell(figure: Figure) -> str:
    text = f"{figure.mean:.3f}"
    if figure.interval is not None:
        text += " [{:.3f}, {:.3f}]".format(*figure.interval)
    return text
