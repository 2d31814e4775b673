"""Preparation of a database with Apache Beam, for collections too large for one machine."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam  # pyright: ignore[reportMissingImports]

from atnet_jax.errors import UserError
from atnet_jax.system.files import write_text_atomically
from atnet_jax.system.kept import KeptRecords
from atnet_jax.system.stopwatch import Stopwatch
from data_builders.jobs import Job, cut_clip, describe_clip, keep, recall

# TFDS sorts records by integer keys. A clip always has fewer records than this.
_RECORDS = 1 << 20


class AllRecords(beam.PTransform):
    """Transform that makes a PCollection of keys and records, which TFDS writes in key order."""

    def __init__(self, jobs: Mapping[str, Job], found: set[str], kept: KeptRecords, errors: Path):
        """Store the clips to process.

        Args:
            jobs: The clips in order, by the names under which their records are stored.
            found: Names of the clips whose records are already stored.
            kept: The store of finished records, which is read and written. Like the output of
                TFDS, it must be in a folder that all machines can access.
            errors: File that receives the errors of all clips, if any. Beam itself passes on only
                the text of an exception.
        """
        super().__init__()
        self._clips = list(enumerate(jobs.items()))
        self._found, self._kept, self._errors = found, kept, errors

    def expand(self, pipeline: Any) -> Any:
        """See `beam.PTransform`."""
        made = (
            pipeline
            | "Clips" >> beam.Create(self._clips)
            # Without this, a runner may give all clips to the worker that made the list.
            | "Spread" >> beam.Reshuffle()
            | "Make"
            >> beam.ParDo(_MakeRecords(self._found, self._kept)).with_outputs(
                "errors", main="records"
            )
        )
        _ = (
            made.errors
            | "Gather" >> beam.combiners.ToList()
            | "Report" >> beam.Map(_fail, path=self._errors)
        )
        return made.records


class _MakeRecords(beam.DoFn):
    def __init__(self, found: set[str], kept: KeptRecords):
        self._found, self._kept = found, kept

    def process(self, element: tuple[int, tuple[str, Job]]) -> Iterator[Any]:
        place, (name, job) = element
        if name in self._found:
            records, _ = recall(self._kept, name)
        else:
            cut = cut_clip(job)
            records, messages = describe_clip(job, cut, Stopwatch())
            if messages:
                yield beam.pvalue.TaggedOutput("errors", (place, messages))
                return
            keep(self._kept, name, records, cut.notes)
        for number, (_, record) in enumerate(records):
            yield place * _RECORDS + number, record


def _fail(errors: list[tuple[int, list[str]]], path: Path) -> None:
    if not errors:
        return
    messages = [message for _, messages in sorted(errors) for message in messages]
    write_text_atomically(path, json.dumps(messages))
    raise UserError(f"Some clips cannot be used. Their errors are listed in {path}.")
