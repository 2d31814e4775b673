"""Base class of all builders: it turns a user's copy into records, either all or none."""

import abc
import json
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tqdm import tqdm

import atnet_jax
from atnet_jax.data.record import Record
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.face import Box, find_faces, read_boxes
from atnet_jax.preprocessing.frames import read_frames, read_image
from atnet_jax.published import has_subject
from atnet_jax.system.kept import KeptRecords
from atnet_jax.system.stopwatch import Stopwatch
from atnet_jax.system.workers import map_in_order, number_of_processes
from atnet_jax.words import meant, plain
from data_builders.jobs import (
    ADM,
    CUTTING,
    ENCODING,
    FLOW,
    Job,
    cut_clip,
    describe_clip,
    keep,
    name_of,
    recall,
)
from data_builders.source import (
    Entry,
    ErrorList,
    Source,
    SourceError,
    count_classes,
    file_digest,
)

_WRITING, _WAITING = "writing", "waiting for crops"
_BEAM_ERRORS = "errors.json"
# Number of clips whose apex shows whether frames are cropped to the face, and the least share of
# the frame's longer side that a face takes in such frames. In raw frames of CASME II it is at most
# 0.53: the crops show the whole face and are 340 pixels high, the frames 640 wide. No real frames
# were measured.
_TRIED, _SCENE = 3, 0.6


class _Info(tfds.core.DatasetInfo):
    """Information that TFDS does not look up in its bucket of public data.

    The search leaves a temporary folder behind for every new builder.
    """

    def initialize_from_bucket(self) -> None:
        """Do nothing."""


class ExpressionBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base class of the builders.

    All records are in one split, `train`, because the protocols split them by subject. They are
    ordered by dataset, subject and clip.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}

    def __init__(
        self,
        *,
        manual_dir: Path,
        face: str = "mtcnn",
        boxes: Path | None = None,
        leave_out: Sequence[str] = (),
        num_workers: int | None = None,
        beam: bool = False,
        **kwargs: Any,
    ):
        """Construct a builder.

        Args:
            manual_dir: See `prepare.prepare`.
            face: See `prepare.prepare`.
            boxes: See `prepare.prepare`.
            leave_out: See `prepare.prepare`.
            num_workers: See `prepare.prepare`.
            beam: Whether Apache Beam does the work.
            **kwargs: Passed on to TFDS.
        """
        self.manual_dir = manual_dir
        self.face = face
        self.boxes = boxes
        self.leave_out = leave_out
        self.num_workers = num_workers
        self.beam = beam
        super().__init__(**kwargs)
        # This folder is outside of data_dir, which TFDS creates only when the data are complete.
        self.kept = KeptRecords(Path(self.data_dir).parent / "partial")
        self._watch, self._took = Stopwatch(), 0.0

    @abc.abstractmethod
    def features(self) -> tfds.features.FeaturesDict:
        """Return the features of a record."""

    @abc.abstractmethod
    def read_source(self) -> Source:
        """Read the annotation, apply the label rule and find every frame.

        Returns:
            The clips to prepare and the excluded clips.

        Raises:
            UserError: The copy of the database is incomplete or its annotation has errors. One
                message lists the errors of all clips.
        """

    @abc.abstractmethod
    def make_job(self, entry: Entry, box: Box | None) -> Job:
        """Return the job that makes the records of a clip.

        Args:
            entry: The clip.
            box: The face's box if the user gives one. It replaces the detector's box.
        """

    def new_errors(self) -> ErrorList:
        """Return the list for errors of `read_source`, which knows the clips to leave out."""
        return ErrorList(leave_out=self.leave_out)

    @cached_property
    def source(self) -> Source:
        """The clips in the folder and the excluded clips, read once."""
        found = self.read_source()
        if self.face == "none" and self.boxes is None:
            _refuse_scenes(self.name, found)
        return found

    def options(self) -> dict[str, Any]:
        """Return the options that determine the content of the records.

        Raises:
            UserError: The boxes file cannot be read, or `read_source` fails.
        """
        return {
            "face": self.face,
            "boxes": None if self.boxes is None else file_digest(self.boxes),
            "source": self.source.digest(),
        }

    def metadata(self) -> dict[str, Any]:
        """Return the content of metadata.json, which is stored beside the records."""
        subjects: dict[str, set[str]] = {}
        for entry in self.source.entries:
            subjects.setdefault(entry.clip.dataset, set()).add(entry.clip.subject)
        entries = self.source.entries
        comparable = [e for e in entries if has_subject(e.clip.dataset, e.clip.subject)]
        return {
            "options": self.options(),
            "counts": count_classes(entries),
            "comparable": count_classes(comparable),
            "foreign": sorted({e.clip.key for e in entries} - {e.clip.key for e in comparable}),
            "subjects": {dataset: len(names) for dataset, names in sorted(subjects.items())},
            "excluded": [vars(exclusion) for exclusion in self.source.exclusions],
            "notes": [*self.source.notes, *(f"Warning: {text}" for text in self.source.warnings)],
            "atnet_jax_version": atnet_jax.__version__,
        }

    def _info(self) -> tfds.core.DatasetInfo:
        described = self.get_metadata()
        return _Info(
            builder=self,
            description=described.description,
            citation=described.citation,
            features=self.features(),
            # Records are ordered by their names, not by hashes of the names.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """All clips in order, by the names under which their finished records are stored.

        Raises:
            UserError: The boxes file cannot be used, or `read_source` fails.
        """
        boxes = self._read_boxes()
        jobs = (self.make_job(entry, boxes.get(entry.clip.key)) for entry in self.source.entries)
        return {name_of(job, str(self.version)): job for job in jobs}

    @cached_property
    def found(self) -> set[str]:
        """Names of the clips that an earlier run finished. Other remains of it are deleted."""
        return self.kept.find(self.jobs)

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Prepare the data as TFDS does, and resume an interrupted preparation.

        Afterwards, `timing` returns the time it took.

        Args:
            **kwargs: Passed on to TFDS.

        Raises:
            UserError: Some clips cannot be used. The message lists the errors of all clips.
        """
        start = time.perf_counter()
        # The errors of an earlier run would otherwise be reported for this run.
        (self.kept.folder / _BEAM_ERRORS).unlink(missing_ok=True)
        try:
            # Time outside the other stages is spent by TFDS, which writes the records.
            with self._watch.stage(_WRITING):
                super().download_and_prepare(**kwargs)
        except Exception:
            self._raise_errors_of_beam()
            raise
        self._took = time.perf_counter() - start
        self.kept.remove()

    def timing(self) -> str:
        """Return a sentence with the duration of the preparation and the share of each stage."""
        seconds, whole = self._watch.seconds, self._took

        def shares(stages: tuple[str, ...], whole: float) -> str:
            return ", ".join(f"{stage} {seconds[stage] / whole:.0%}" for stage in stages)

        took = f"Preparation took {whole:.0f} s"
        if self.beam:
            return f"{took}."
        processes = number_of_processes(self.num_workers, len(self.jobs) - len(self.found))
        if processes <= 1:
            # The process cuts the clips itself, so waiting is not a separate stage.
            stages = (CUTTING, ENCODING, FLOW, ADM, _WRITING)
            return f"{took}: {shares(stages, sum(seconds[stage] for stage in stages))}."
        return (
            f"{took}. Main process: {shares((FLOW, ADM, _WRITING, _WAITING), whole)}. "
            f"{processes} worker processes: {shares((CUTTING, ENCODING), whole * processes)}."
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # The builders do not download anything.
        assert self.info.metadata is not None
        self.info.metadata.update(self.metadata())
        if self.beam:
            # Beam is an optional dependency, so it is imported only when used.
            from data_builders.beam import AllRecords

            errors = self.kept.folder / _BEAM_ERRORS
            self.kept.folder.mkdir(parents=True, exist_ok=True)
            return {"train": AllRecords(self.jobs, self.found, self.kept, errors)}
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, Record]]:
        """Yield key and record, and raise the errors of all clips at the end."""
        errors, jobs, found = ErrorList(), self.jobs, self.found
        results = map_in_order(
            cut_clip, [job for name, job in jobs.items() if name not in found], self.num_workers
        )
        with tqdm(
            desc=self.name, total=len(jobs), initial=len(found), unit="clip", disable=None
        ) as progress:
            for name, job in jobs.items():
                if name in found:
                    records, notes = recall(self.kept, name)
                    self._add_notes(notes)
                    yield from records
                    continue
                with self._watch.stage(_WAITING):
                    cut = next(results)
                self._watch.add(cut.seconds)
                records, messages = describe_clip(job, cut, self._watch)
                errors.messages += messages
                if not messages:
                    keep(self.kept, name, records, cut.notes)
                    self._add_notes(cut.notes)
                progress.update()
                yield from records
        errors.raise_all(self.name)

    def _add_notes(self, notes: Sequence[str]) -> None:
        """Add the notes on a clip to metadata.json, which is written after the records."""
        assert self.info.metadata is not None
        self.info.metadata["notes"] += notes

    def _raise_errors_of_beam(self) -> None:
        path = self.kept.folder / _BEAM_ERRORS
        if self.beam and path.exists():
            ErrorList(json.loads(path.read_bytes())).raise_all(self.name)

    def _read_boxes(self) -> dict[str, Box]:
        """Return the boxes by the clip's key. A box of an unknown clip is most likely a typo."""
        if self.boxes is None:
            return {}
        boxes = read_boxes(self.boxes)
        known = {entry.clip.key for entry in self.source.entries}
        datasets = {key.partition("/")[0] for key in known}
        known |= {
            f"{dataset}/{exclusion.subject}/{exclusion.clip}"
            for dataset in datasets
            for exclusion in self.source.exclusions
        }
        names = meant(map("/".join, boxes), known)
        here = {plain(dataset) for dataset in datasets}
        unknown = [
            "/".join(key) for key in boxes if plain(key[0]) in here and "/".join(key) not in names
        ]
        if unknown:
            raise UserError(
                f"{self.boxes} has boxes for unknown clips: {', '.join(unknown)}. Expected the "
                f"dataset, subject and clip names that the records use. Correct or remove these "
                f"rows."
            )
        return {names["/".join(key)]: box for key, box in boxes.items() if "/".join(key) in names}


def _refuse_scenes(dataset: str, found: Source) -> None:
    """Raise an error if frames are not cropped to the face, although no detector is used."""
    pictured = [entry for entry in found.entries if entry.clip.frames or entry.apex_image]
    step = max(1, len(pictured) // _TRIED)
    scenes = []
    for entry in pictured[::step][:_TRIED]:
        clip = entry.clip
        try:
            if entry.apex_image is not None:
                image = read_image(entry.apex_image)
            else:
                image = read_frames(clip, [clip.apex])[clip.apex]
        except UserError:  # Preparing the clip will report it.
            continue
        height, width = image.shape
        if faces := find_faces(image):
            side = faces[0].box[2] - faces[0].box[0]
            scenes.append((side / max(width, height), clip.key, f"{side:.0f} of {width}x{height}"))
    if not scenes or max(scenes)[0] >= _SCENE:
        return
    _, key, size = scenes[0]
    message = (
        f"--face=none is for frames that are cropped to the face, but these show more: the face "
        f"in the apex frame of {key} takes only {size} pixels. Use --face=mtcnn, or pass the "
        f"boxes of the faces as --boxes."
    )
    raise SourceError(f"{dataset}: {message}", found, [message])
