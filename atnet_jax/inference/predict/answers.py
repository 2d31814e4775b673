"""Prediction for one clip: options, result, and the steps between them."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.errors import UserError
from atnet_jax.inference.explain import METHODS, Explanation, explain
from atnet_jax.inference.predict import caveats
from atnet_jax.inference.predict.caveats import Caveat
from atnet_jax.inference.predict.footage import Footage, open_footage
from atnet_jax.inference.predict.intervals import Course, Interval, find, given
from atnet_jax.inference.predict.scan import Watched, checked_box, no_face, watch
from atnet_jax.names import CLASSES, DETECTORS, SPOTTERS
from atnet_jax.preprocessing.clip import describe
from atnet_jax.preprocessing.crops import Crops, Excerpt, cut_all
from atnet_jax.preprocessing.face import Box, Face, find_faces, whole_frame
from atnet_jax.preprocessing.motion import motion_named
from atnet_jax.preprocessing.optical_flow import FlowMethod, flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.system.files import shown
from atnet_jax.system.stopwatch import Stopwatch
from atnet_jax.training.method_inputs import inputs_of_clip, reads
from atnet_jax.training.trained import Networks

NOT_FOR = (
    "The scores state how closely the motion of the face resembles each of three classes, as"
    " labelled in laboratory recordings. They do not show what a person feels, thinks or hides."
    " This program is not a lie detector and must not be used to judge people."
)

# Assumed if the frame rate is unknown: that of CASME II and SAMM.
_USUAL_RATE = 200.0
# Maps are averaged over at most this many evenly selected networks, since each takes seconds.
_EXPLAINED = 5
# Most expressions that are scored.
_MOST = 20

# Names of the stages, shown to the user and used as keys of `seconds`.
READING, FACE, SPOTTING, CROPPING = "reading", "face", "spotting", "cropping"
MOTION, NETWORKS, MAPS = "motion", "networks", "maps"


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a prediction.

    Attributes:
        onset: Number of the first frame of the expression; frames of a video count from 0. If
            None, the onset is spotted, and so are the apex and the offset.
        apex: Number of the strongest frame, or None.
        offset: Number of the last frame, or None.
        face: Face detector: "mtcnn", "none" for frames that are already cropped to the face, or ""
            for the detector of the training data.
        box: x0, y0, x1, y1 of the face in pixels of the frame; replaces the detector.
        spotting: Spotting method, one of `SPOTTERS`.
        frame_rate: Frames per second, which replaces the rate in the file.
        abstain_below: No class is predicted if the highest score is lower, 0 to 1.
        explain: Whether to compute maps that explain the scores.
    """

    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    face: str = ""
    box: Box | None = None
    spotting: str = SPOTTERS[0]
    frame_rate: float | None = None
    abstain_below: float = 0.5
    explain: bool = False

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UserError: A value is outside its range.
        """
        for name in ("onset", "apex", "offset"):
            number = getattr(self, name)
            if number is not None and (not isinstance(number, Integral) or number < 0):
                raise UserError(f"{name} is {number!r}, expected a frame number of at least 0.")
        if self.face not in ("", *DETECTORS):
            raise UserError(f"face is {self.face!r}, expected {' or '.join(DETECTORS)}.")
        if self.spotting not in SPOTTERS:
            raise UserError(f"spotting is {self.spotting!r}, expected {' or '.join(SPOTTERS)}.")
        if not 0 <= self.abstain_below <= 1:
            raise UserError(f"abstain_below is {self.abstain_below}, expected 0 to 1.")
        if self.box is not None:
            if len(self.box) != 4:
                raise UserError(f"box is {self.box}, expected four numbers x0, y0, x1, y1.")
            x0, y0, x1, y1 = self.box
            if not (all(map(math.isfinite, self.box)) and x0 < x1 and y0 < y1):
                raise UserError(
                    f"box is {x0:g},{y0:g},{x1:g},{y1:g}, expected x0,y0,x1,y1 in pixels with"
                    " x0 < x1 and y0 < y1."
                )


@dataclasses.dataclass(frozen=True)
class Expression:
    """One expression and its scores.

    Attributes:
        interval: Frames of the expression.
        box: Box of the face, in pixels of the frame.
        scores: Class probabilities, averaged over the networks.
        spread: Standard deviations of the probabilities over the networks.
        votes: Number of networks that give each class the highest score.
        predicted: Index of the predicted class; None if the highest score is too low.
        warnings: Reasons to distrust the scores.
        onset_crop: Face crop of the onset frame.
        features: Features of the clip, the inputs of the networks.
        explanation: Explanation of the highest score; None unless requested.
    """

    interval: Interval
    box: Box
    scores: Float32[np.ndarray, "3"]
    spread: Float32[np.ndarray, "3"]
    votes: tuple[int, ...]
    predicted: int | None
    warnings: list[Caveat]
    onset_crop: UInt8[np.ndarray, "224 224"]
    features: PreparedClip
    explanation: Explanation | None

    @property
    def likeliest(self) -> int:
        """The index of the class with the highest score."""
        return int(self.scores.argmax())

    def to_json(self) -> dict[str, Any]:
        """Return all values except pictures, as JSON-compatible objects."""
        return {
            "onset": self.interval.onset,
            "apex": self.interval.apex,
            "offset": self.interval.offset,
            "spotted": list(self.interval.spotted),
            "box": _edges(self.box),
            "scores": _by_class(self.scores),
            "spread": _by_class(self.spread),
            "votes": dict(zip(CLASSES, self.votes, strict=True)),
            "prediction": None if self.predicted is None else CLASSES[self.predicted],
            "warnings": [dataclasses.asdict(each) for each in self.warnings],
            **({} if self.explanation is None else {"why": _why(self.explanation)}),
        }


@dataclasses.dataclass(frozen=True)
class Answer:
    """The result of a prediction for one clip.

    Attributes:
        clip: Path of the clip, as given.
        frames: Number of frames that can be decoded.
        frame_rate: Frame rate used, in frames per second.
        expressions: Expressions in order of time; empty if none was found.
        course: Strength of motion over the clip; None if nothing was spotted.
        watched: Face that was watched to spot expressions; None if nothing was spotted.
        warnings: Reasons to distrust the whole result.
        model: Method, number of networks, their digest and their training data.
        seconds: Computing time of each stage, in seconds.
    """

    clip: str
    frames: int
    frame_rate: float
    expressions: list[Expression]
    course: Course | None
    watched: Watched | None
    warnings: list[Caveat]
    model: Mapping[str, Any]
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return all values except pictures, as JSON-compatible objects."""
        face = None
        if self.watched is not None:
            face = {"frame": self.watched.frame, "box": _edges(self.watched.box)}
        return {
            "clip": self.clip,
            "frames": self.frames,
            "frame_rate": round(self.frame_rate, 6),
            "face": face,
            "expressions": [expression.to_json() for expression in self.expressions],
            "warnings": [dataclasses.asdict(each) for each in self.warnings],
            "model": dict(self.model),
            "seconds": {stage: round(taken, 3) for stage, taken in self.seconds.items()},
            "note": NOT_FOR,
        }


def predict_clip(
    path: str | os.PathLike[str],
    trained: Networks,
    options: Options = Options(),
    progress: Callable[[str], None] = lambda stage: None,
) -> Answer:
    """Predict the expressions in a clip: face, apex, flow, features, scores.

    Args:
        path: A video file, or a folder of numbered frames.
        trained: The networks.
        options: Options of the prediction.
        progress: Called with the name of each stage as it begins.

    Returns:
        The expressions with their scores and warnings.

    Raises:
        UserError: The clip cannot be read, shows no face or shows no motion, or an option does not
            fit the clip.
    """
    path, stages = Path(path).expanduser(), _Stages(progress)
    with stages.stage(READING):
        footage = open_footage(path, options.frame_rate)
    frames = len(footage.numbers)
    if frames < 2:
        raise UserError(f"{path}: the clip has only one frame. Motion needs at least two.")
    detector = options.face or trained.face or "mtcnn"
    found = [Caveat("networks", note) for note in trained.notes]
    if options.explain and trained.config.model not in METHODS:
        text = f"The scores of {trained.config.model} networks cannot be explained by maps."
        found.append(Caveat("no_maps", text))
        options = dataclasses.replace(options, explain=False)
    rate_given = options.frame_rate is not None
    found += caveats.of_frame_rate(footage.frame_rate, rate_given, _USUAL_RATE)
    if footage.survey is not None:
        found += caveats.of_survey(footage.survey, rate_given)
    frame_rate = footage.frame_rate or _USUAL_RATE

    interval = given(path, options.onset, options.apex, options.offset)
    if interval is not None and interval.offset > footage.numbers[-1]:
        raise UserError(
            f"{path}: offset is {interval.offset}, expected a frame number from"
            f" {footage.numbers[0]} to {footage.numbers[-1]}."
        )
    course, watched = None, None
    if interval is not None:
        intervals = [interval]
    else:
        with stages.stage(FACE):
            watched = watch(footage, options.box, detector)
        with stages.stage(SPOTTING):
            numbers = options.onset, options.apex, options.offset
            intervals, course, more = find(
                watched,
                frame_rate,
                options.spotting,
                numbers,
                lambda read: progress(f"{SPOTTING} {read}/{frames}"),
            )
        found += more

    faces = _faces(footage, intervals, options.box, detector, stages)
    lost = [each for each in intervals if each not in faces]
    if lost and "apex" not in lost[0].spotted:
        raise UserError(no_face(footage, f"the apex frame {lost[0].apex}"))
    if lost:
        where = ", ".join(f"{each.onset}…{each.offset}" for each in sorted(lost, key=_apex)[:_MOST])
        text = f"Left out frames {where}, because no face was found at the apex."
        found.append(Caveat("face_lost", text))
    seen = [each for each in intervals if each in faces]
    if len(seen) > _MOST:
        text = (
            f"{len(seen)} or more intervals look like expressions; only the {_MOST} strongest are"
            " analysed. Speech, chewing or head motion can cause this."
        )
        found.append(Caveat("many_candidates", text))
    seen = sorted(seen[:_MOST], key=_apex)
    if watched is not None and not seen:
        found += watched.warnings
    motion = motion_named(trained.config.data.flow)
    method = flow_method(motion.flow)
    with stages.stage(CROPPING):
        chosen = {each: faces[each] for each in seen}
        cut = _cut(footage, chosen, method.reach, reads(trained.config))
    expressions = []
    for each, crops in cut.items():
        with stages.stage(MOTION):
            features = describe(
                crops, flow=method, key=str(path), frame_rate=frame_rate, **motion.options
            )
        expression = _express(
            trained, options, each, faces[each][1], crops, features, method, stages
        )
        others = (other.span for other in seen if other != each)
        expression.warnings.extend(caveats.of_overlap(each.span, others))
        expressions.append(expression)
    return Answer(
        clip=shown(path),
        frames=frames,
        frame_rate=frame_rate,
        expressions=expressions,
        course=course,
        watched=watched,
        warnings=found,
        model={
            "method": trained.config.model,
            "networks": len(trained.names),
            "digest": trained.digest,
            "trained_on": list(trained.config.data.datasets),
            "flow": trained.config.data.flow,
        },
        seconds=stages.seconds,
    )


def _apex(interval: Interval) -> int:
    return interval.apex


class _Stages(Stopwatch):
    """Stopwatch that reports each stage as it begins."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        super().__init__()
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._progress(name)
        with super().stage(name):
            yield


def _faces(
    footage: Footage, intervals: Sequence[Interval], box: Box | None, detector: str, stages: _Stages
) -> dict[Interval, tuple[Box, list[Face]]]:
    """Find the face of each interval; omit intervals without a face."""
    # As in the preparation of the training data, the face is detected in the apex frame.
    by_apex = {interval.apex: interval for interval in intervals}
    found = {}
    with stages.stage(FACE):
        for frame in footage.frames(by_apex.keys()):
            if box is not None:
                found[by_apex[frame.number]] = checked_box(footage, box, frame), []
            elif detector == "none":
                found[by_apex[frame.number]] = whole_frame(frame.image), []
            elif faces := find_faces(frame.image):
                found[by_apex[frame.number]] = faces[0].box, faces
    return found


def _cut(
    footage: Footage,
    faces: Mapping[Interval, tuple[Box, list[Face]]],
    reach: int,
    inputs: Sequence[str],
) -> dict[Interval, Crops]:
    """Crop the frames of all intervals that `inputs` require."""
    excerpts = [
        Excerpt(each.onset, each.apex, each.offset, box, found[0].landmarks if found else None)
        for each, (box, found) in faces.items()
    ]

    def read(numbers: Sequence[int], colour: bool) -> Iterator[tuple[int, np.ndarray]]:
        return ((each.number, each.image) for each in footage.frames(numbers, colour))

    crops = cut_all(excerpts, read, reach, where=str(footage.path), inputs=inputs)
    return dict(zip(faces, crops, strict=True))


def _express(
    trained: Networks,
    options: Options,
    interval: Interval,
    faces: list[Face],
    crops: Crops,
    features: PreparedClip,
    flow: FlowMethod,
    stages: _Stages,
) -> Expression:
    computed = inputs_of_clip(trained.config, features, flow)
    inputs = {name: computed[name][None] for name in trained.inputs}
    with stages.stage(NETWORKS):
        each = trained.scores(inputs)[:, 0]
    scores, spread = each.mean(axis=0), each.std(axis=0)
    best = int(scores.argmax())
    explanation = None
    if options.explain:
        with stages.stage(MAPS):
            count = len(trained.names)
            chosen = np.unique(np.linspace(0, count - 1, min(count, _EXPLAINED)).round())
            explanation = explain(trained, inputs, best, [int(k) for k in chosen])
    return Expression(
        interval=interval,
        box=crops.crop_box,
        scores=scores,
        spread=spread,
        votes=tuple(np.bincount(each.argmax(axis=1), minlength=len(CLASSES)).tolist()),
        predicted=best if scores[best] >= options.abstain_below else None,
        warnings=[
            *caveats.of_face(faces, crops.crop_box, crops.at([crops.apex])[0]),
            *caveats.of_motion(crops, features.frame_rate),
            *caveats.of_scores(scores, options.abstain_below, float(spread[best]), len(each)),
        ],
        onset_crop=crops.at([crops.onset])[0],
        features=features,
        explanation=explanation,
    )


def _edges(box: Box) -> list[float]:
    return [round(edge, 1) for edge in box]


def _by_class(values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(CLASSES, values, strict=True)}


def _why(explanation: Explanation) -> dict[str, Any]:
    """Return the numbers of an explanation; its maps are only drawn as pictures."""
    return {
        "class": CLASSES[explanation.class_index],
        "networks": explanation.networks,
        "shares": explanation.shares,
        "contributions": explanation.contributions,
        "completeness_error": explanation.completeness_error,
    }
