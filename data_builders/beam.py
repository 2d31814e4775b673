"""The records of a database by Apache Beam, for collections beyond one machine."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam  # pyright: ignore[reportMissingImports]

from atnet_jax.errors import UserError
from atnet_jax.system.files import write_text_atomically
from atnet_jax.system.kept import KeptRecords
from atnet_jax.system.stopwatch import Stopwatch
from data_builders.jobs import Job, cut_clip, describe_clip

# TFDS sorts by whole numbers. A clip has fewer records than this.
_RECORDS = 1 << 20


class AllRecords(beam.PTransform):
    """Makes a PCollection of keys and records, which TFDS writes in the order of the keys."""

    def __init__(self, jobs: Mapping[str, Job], found: set[str], kept: KeptRecords, errors: Path):
        """What to make.

        Args:
            jobs: The clips by the names that they are kept under, in order.
            found: Names of those that are finished.
            kept: Where they are, and the others go; as what TFDS writes, in a folder that all
                machines see.
            errors: A file that takes up the errors of all clips, if there are any: of an exception
                Beam passes on no more than text.
        """
        super().__init__()
        self._clips = list(enumerate(jobs.items()))
        self._found, self._kept, self._errors = found, kept, errors

    def expand(self, pipeline: Any) -> Any:
        """See `beam.PTransform`."""
        made = (
            pipeline
            | "Clips" >> beam.Create(self._clips)
            # Otherwise a runner may give all to the worker that made the list.
            | "Spread" >> beam.Reshuffle()
            | "Make"
            >> beam.ParDo(_MakeRecords(self._found, self._kept)).with_outputs(
                "errors", main="records"
            )
        )
        _ = (
            made.errors
            | "Gather" >> beam.combiners.ToList()
            | "Tell" >> beam.Map(_fail, path=self._errors)
        )
        return made.records


class _MakeRecords(beam.DoFn):
    def __init__(self, found: set[str], kept: KeptRecords):
        self._found, self._kept = found, kept

    def process(self, element: tuple[int, tuple[str, Job]]) -> Iterator[Any]:
        place, (name, job) = element
        if name in self._found:
            records = self._kept.read(name)
        else:
            records, messages = describe_clip(job, cut_clip(job), Stopwatch())
            if messages:
                yield beam.pvalue.TaggedOutput("errors", (place, messages))
                return
            self._kept.write(name, records)
        for number, (_, record) in enumerate(records):
            yield place * _RECORDS + number, record


def _fail(errors: list[tuple[int, list[str]]], path: Path) -> None:
    if not errors:
        return
    messages = [message for _, messages in sorted(errors) for message in messages]
    write_text_atomically(path, json.dumps(messages))
    raise UserError(f"clips cannot be used; the errors are in {path}")
