"""Comparison of two runs: the same experiment, and the same result?

The comparison follows the pipeline, from settings to metrics. At each stage, two runs are equal to
the bit, equal within rounding, or different. The first difference is the cause of those after it,
or the nearest to the cause that the runs record.

Rounding: two orders of the same additions in float32 differ. The error of a sum of n rounded terms
grows like √n · 2⁻²⁴ of its size, because rounding errors behave as if they were independent (Higham
and Mary, A New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41, 2019).
Every parameter enters the loss of a step with one product and one addition, and every step adds its
errors to the parameters. After s steps of a network with p parameters, losses and scores therefore
count as equal within rounding up to √(p · s) · 2⁻²⁴, relative to 1 or to the loss if it is larger.
The bound leaves out that training amplifies differences. What exceeds it after steps within it is
rounding that training has amplified, or a cause that the runs do not record.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from atnet_jax.config import flat
from atnet_jax.errors import UserError
from atnet_jax.evaluation import digests, metrics, statistics
from atnet_jax.evaluation.digests import ClipDigests, Digests
from atnet_jax.evaluation.pack import printable
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.record import flatten
from atnet_jax.evaluation.runs import Run
from atnet_jax.names import CLASSES
from atnet_jax.words import numbered

SAME, OTHER_RESULT, OTHER_EXPERIMENT = 0, 3, 4
"""Exit statuses of `atnet compare`."""

State = Literal["equal", "within rounding", "different", "unknown"]

_UNIT_ROUNDOFF = 2.0**-24
_NAMED = 3  # A list names at most this many entries.
_LEVEL = 0.05
_EXPERIMENT = ("settings", "database", "folds")
_NOT_RECORDED, _NONE_IN_COMMON = "not recorded", "no fold in common"


@dataclasses.dataclass(frozen=True)
class Stage:
    """The comparison of one stage of the pipeline.

    Attributes:
        name: Name of the stage.
        state: "unknown" if a run does not record what the comparison needs.
        text: The finding, a phrase without a final stop.
    """

    name: str
    state: State
    text: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The comparison of two runs.

    Attributes:
        stages: The stages, in the order of the pipeline.
        chance: Sentences on whether the results differ by more than chance and other seeds explain.
    """

    stages: tuple[Stage, ...]
    chance: tuple[str, ...]

    @property
    def status(self) -> int:
        """`SAME`, `OTHER_RESULT` or `OTHER_EXPERIMENT`.

        Other versions are not another experiment. A stage that is not recorded counts as equal.
        """
        unequal = {
            stage.name for stage in self.stages if stage.state in ("within rounding", "different")
        }
        if unequal.intersection(_EXPERIMENT):
            return OTHER_EXPERIMENT
        return OTHER_RESULT if unequal - {"versions"} else SAME

    @property
    def first_difference(self) -> Stage | None:
        """The first stage that is not equal to the bit; None if there is none."""
        unequal = (
            stage for stage in self.stages if stage.state in ("within rounding", "different")
        )
        return next(unequal, None)

    def text(self) -> str:
        """Return the comparison as lines for a terminal."""
        lines = [self._summary()]
        first = self.first_difference
        if first is not None:
            lines.append(f"First difference: {first.name}: {first.text}.")
        lines.append("")
        lines += [
            f"  {stage.name:16}{stage.state}{': ' if stage.text else ''}{stage.text}"
            for stage in self.stages
        ]
        lines += ["", *self.chance] if self.chance else []
        return "\n".join(map(printable, lines))

    def _summary(self) -> str:
        states = {stage.name: stage.state for stage in self.stages}
        other = self.status == OTHER_EXPERIMENT
        if states["scores"] == states["metrics"] == "equal":
            result = "the same result to the bit"
        elif states["scores"] == "within rounding" and states["metrics"] == "equal":
            result = "results equal within rounding, not to the bit"
        elif states["metrics"] == "equal":
            result = "other scores, but the same metrics"
        else:
            result = "different results"
        unknown = [name for name, state in states.items() if state == "unknown"]
        more = f" Not compared: {', '.join(unknown)}." if unknown else ""
        return f"{'Different experiments' if other else 'The same experiment'}, {result}.{more}"


@dataclasses.dataclass(frozen=True)
class _Pair:
    """Two runs to compare, of the same seed if both have it."""

    first: Run
    second: Run
    digests: tuple[Digests | None, Digests | None]

    @property
    def runs(self) -> tuple[Run, Run]:
        return self.first, self.second

    def common_folds(self) -> list[int]:
        """Return the numbers of the folds that both have under the same name."""
        one, two = (run.record.folds for run in self.runs)
        return [fold for fold in one.run if fold in two.run and one.names[fold] == two.names[fold]]

    @functools.cached_property
    def _steps_per_epoch(self) -> int:
        settings = dict(flat(self.first.record.config))
        steps, batch = (settings.get(f"recipe.{own}") for own in ("steps_per_epoch", "batch_size"))
        if isinstance(steps, int) and steps > 0:
            return steps
        # One pass over at most all clips.
        return -(-self.first.record.data.clips // max(batch if isinstance(batch, int) else 1, 1))

    def bound(self, epochs: int) -> float:
        """Return the bound of rounding after a number of epochs; for 0, after the first step."""
        size = max(self.first.record.size.values(), default=1)
        return rounding_bound(size, epochs * self._steps_per_epoch)

    def unit(self, fold: int) -> str:
        """Return the name of a fold of both runs."""
        seeds = dict.fromkeys(run.seed for run in self.runs)
        name = self.first.record.folds.names[fold]
        return f"fold {fold} ({name}, seed {'/'.join(map(str, seeds))})"


def rounding_bound(parameters: int, steps: int) -> float:
    """Return the largest difference after `steps` steps that counts as rounding; see the module.

    Args:
        parameters: Number of the network's parameters.
        steps: Number of optimiser steps, at least 1.
    """
    additions = max(parameters, 1) * max(steps, 1)
    return _UNIT_ROUNDOFF * math.sqrt(min(additions, 2**48))  # At most 1: a file may say anything.


def compare_runs(first: Sequence[Run], second: Sequence[Run]) -> Comparison:
    """Compare two runs, each of one or several seeds.

    Runs with the same seed are compared. Without a common seed, they are compared in ascending
    order of their seeds.

    Args:
        first: The runs of one method, one for each seed, in ascending order of the seeds.
        second: Likewise.

    Returns:
        The stages of the comparison, and whether chance explains the difference of the results.

    Raises:
        UserError: digests.json of a run is damaged or belongs to another run.
    """
    pairs = [
        _Pair(one, two, (_digests(one), _digests(two))) for one, two in _matched(first, second)
    ]
    stages = [
        _settings(pairs, first, second),
        _versions(pairs),
        _database(pairs),
        _folds(pairs),
        *_steps(pairs),
        _scores(pairs),
        _metrics(pairs),
    ]
    chance = () if _alike(pairs) else tuple(_chance(pairs, first, second))
    return Comparison(tuple(stages), chance)


def _matched(first: Sequence[Run], second: Sequence[Run]) -> list[tuple[Run, Run]]:
    by_seed = {run.seed: run for run in second}
    common = [(run, by_seed[run.seed]) for run in first if run.seed in by_seed]
    return common or list(zip(first, second, strict=False))


def _digests(run: Run) -> Digests | None:
    """Return the digests of a run; check that they belong to its predictions."""
    found = digests.read(run.workdir)
    if found is None:
        return None
    path = run.workdir / digests.FILE
    labels = {clip.key: clip.label for clip in found.clips}
    problem = None
    if len(labels) != run.record.data.clips:
        contained = numbered(len(labels), "clip")
        problem = f"it contains {contained}, but the data have {run.record.data.clips}"
    if sorted(map(int, found.folds)) != list(run.record.folds.run):
        problem = "it contains other folds than config.json"
    for row in run.predictions:
        if labels.get(_key(row)) != row.label:
            problem = f"clip {'/'.join(_key(row))} is missing or has another label"
            break
    if problem:
        raise UserError(
            f"{path} does not match predictions.csv and config.json: {problem}. Restore the files"
            f" of the same run."
        )
    return found


# Settings, versions, database and folds.


def _settings(pairs: Sequence[_Pair], first: Sequence[Run], second: Sequence[Run]) -> Stage:
    found: dict[str, None] = {}
    seeds = [[run.seed for run in runs] for runs in (first, second)]
    if seeds[0] != seeds[1]:
        one, two = (", ".join(map(str, own)) for own in seeds)
        compared = sorted({pair.first.seed for pair in pairs}.intersection(seeds[1]))
        only = f" (compared: {', '.join(map(str, compared))})" if compared else ""
        found[f"seeds: {one} → {two}{only}"] = None
    engine: dict[str, None] = {}
    for pair in pairs:
        one, two = (
            {
                name: value
                for name, value in run.record.identity().items()
                if name not in ("seeds", "data.clips", "data.sha256")
            }
            for run in pair.runs
        )
        found |= dict.fromkeys(_differences(one, two))
        one, two = (
            dict(flatten({"engine": run.record.config.get("engine", {})})) for run in pair.runs
        )
        engine |= dict.fromkeys(_differences(one, two))
    harmless = [f"{text} (changes results by rounding at most)" for text in engine]
    return Stage("settings", "different" if found else "equal", "; ".join([*found, *harmless]))


def _versions(pairs: Sequence[_Pair]) -> Stage:
    found: dict[str, None] = {}
    absent: dict[str, None] = {}
    remark = ""
    for pair in pairs:
        one, two = (
            {
                name.removeprefix("versions."): value
                for name, value in flatten(dataclasses.asdict(run.record.environment))
                if value != "null" and name != "git.modified"
            }
            for run in pair.runs
        )
        both = one.keys() & two.keys()
        found |= dict.fromkeys(
            _differences(*({name: own[name] for name in own if name in both} for own in (one, two)))
        )
        absent |= dict.fromkeys(name for name in (*one, *two) if name not in both)
        if any((run.record.environment.git or {}).get("modified") for run in pair.runs):
            remark = "code was modified after its commit, so it may differ"
    unknown = f"only one run records {', '.join(absent)}" if absent else ""
    state: State = "different" if found else "unknown" if absent else "equal"
    return Stage("versions", state, "; ".join(filter(None, [*found, unknown, remark])))


def _database(pairs: Sequence[_Pair]) -> Stage:
    """Compare the clips by their digests, or all data by one if a run lacks digests by clip."""
    clips = pairs[0].first.record.data.clips
    same = all(len({run.record.data.sha256 for run in pair.runs}) == 1 for pair in pairs)
    found: dict[str, None] = {}
    inputs: set[str] = set()
    for pair in pairs:
        one, two = pair.digests
        if one is None or two is None:
            if same:
                return Stage(
                    "database", "equal", f"{numbered(clips, 'clip')}, by the digest of all data"
                )
            missing = "first" if one is None else "second"
            return Stage(
                "database",
                "different",
                f"the {missing} run, of an earlier version, has no digests by clip, so the clips"
                f" cannot be named",
            )
        inputs |= {name for clip in one.clips for name in clip.inputs}
        differences = list(_clip_differences(one.clips, two.clips))
        if bool(differences) == (pair.first.record.data.sha256 == pair.second.record.data.sha256):
            raise UserError(
                f"{digests.FILE} and the digest of all data in config.json contradict each other in"
                f" {pair.first.workdir} or {pair.second.workdir}. Restore the files of the same"
                f" run."
            )
        found |= dict.fromkeys(differences)
    if not found:
        text = f"{numbered(clips, 'clip')}, {', '.join(sorted(inputs))} and labels"
        return Stage("database", "equal", text)
    prepared: dict[str, None] = {}
    for pair in pairs:
        one, two = (run.record.preparation for run in pair.runs)
        both = one.keys() & two.keys()  # Clips of the other databases are named above.
        own = [dict(flatten({name: side[name] for name in sorted(both)})) for side in (one, two)]
        prepared |= dict.fromkeys(f"prepared with {text}" for text in _differences(*own))
    return Stage("database", "different", "; ".join([*found, *prepared]))


def _clip_differences(first: Sequence[ClipDigests], second: Sequence[ClipDigests]) -> Iterator[str]:
    """Yield phrases on the clips that differ, one for each kind of difference."""
    one, two = ({clip.key: clip for clip in clips} for clips in (first, second))
    for here, there, where in ((one, two, "first"), (two, one, "second")):
        if only := sorted(here.keys() - there.keys()):
            yield f"{_clips(only, len(here))} only in the {where}"
    both = sorted(one.keys() & two.keys())
    if relabelled := [key for key in both if one[key].label != two[key].label]:
        key = relabelled[0]
        classes = " → ".join(CLASSES[clips[key].label] for clips in (one, two))
        example = f" ({classes})" if len(relabelled) == 1 else ""
        yield f"label of {_clips(relabelled, len(both))}{example}"
    names = sorted({name for clips in (one, two) for key in both for name in clips[key].inputs})
    for name in names:
        changed = [key for key in both if one[key].inputs.get(name) != two[key].inputs.get(name)]
        if changed:
            yield f"{name} of {_clips(changed, len(both))}"


def _folds(pairs: Sequence[_Pair]) -> Stage:
    count = 0
    for pair in pairs:
        one, two = (run.record.folds for run in pair.runs)
        if one.names != two.names:
            text = f"{len(one.names)} → {numbered(len(two.names), 'fold')}"
            if len(one.names) == len(two.names):
                place = [a == b for a, b in zip(one.names, two.names, strict=True)].index(False)
                text = f"fold {place}: {one.names[place]} → {two.names[place]}"
            return Stage("folds", "different", text)
        if one.run != two.run:
            one, two = (run.record.selection for run in pair.runs)
            return Stage("folds", "different", f"folds run: {one} → {two}")
        for fold in pair.common_folds():
            count += 1
            tested = [
                [_key(row) for row in run.predictions if row.fold == fold] for run in pair.runs
            ]
            clips = [own.folds[str(fold)].clips for own in pair.digests if own is not None]
            if sorted(tested[0]) != sorted(tested[1]) or len(set(clips)) > 1:
                return Stage("folds", "different", f"clips of {pair.unit(fold)}")
    return Stage("folds", "equal", _count(count, "fold"))


# Numbers.


@dataclasses.dataclass(frozen=True)
class _Number:
    """A number of both runs.

    Attributes:
        where: Fold or clip, in words.
        epoch: Number of the epoch; 0 for a stage without epochs.
        first: The first run's number.
        second: The second run's number.
        bound: Largest difference that counts as rounding.
    """

    where: str
    epoch: int
    first: float
    second: float
    bound: float

    @property
    def difference(self) -> float:
        return abs(self.first - self.second)

    @property
    def excess(self) -> bool:
        return self.difference > self.bound


def _steps(pairs: Sequence[_Pair]) -> Iterator[Stage]:
    """Yield the stages of a training in steps; none for methods without steps."""
    if not any(run.curves for pair in pairs for run in pair.runs):
        return
    units = [(pair, fold) for pair in pairs for fold in pair.common_folds()]
    starts = [
        (pair.unit(fold), *(None if own is None else own.folds[str(fold)] for own in pair.digests))
        for pair, fold in units
    ]
    yield _start([(where, one and one.start, two and two.start) for where, one, two in starts])
    bounds = [pair.bound(0) for pair, _ in units]
    yield _numbers(
        "first step",
        "loss of the first step",
        [
            _Number(where, 0, one.first_loss, two.first_loss, bound * max(1, one.first_loss))
            if one and two and one.first_loss is not None and two.first_loss is not None
            else None
            for (where, one, two), bound in zip(starts, bounds, strict=True)
        ],
    )
    yield _numbers("epochs", "loss by epoch", list(_losses(units)))


def _start(units: Sequence[tuple[str, str | None, str | None]]) -> Stage:
    name = "initial weights"
    known = [unit for unit in units if unit[1] is not None and unit[2] is not None]
    changed = [where for where, one, two in known if one != two]
    if changed:
        text = f"{len(changed)} of {_count(len(known), 'fold')}, the first is {changed[0]}"
        return Stage(name, "different", text)
    if len(known) < len(units) or not units:
        return Stage(name, "unknown", _NOT_RECORDED if units else _NONE_IN_COMMON)
    return Stage(name, "equal", _count(len(units), "fold"))


def _losses(units: Iterable[tuple[_Pair, int]]) -> Iterator[_Number | None]:
    for pair, fold in units:
        one, two = (run.curves.get(fold) for run in pair.runs)
        if one is None or two is None:
            yield None
            continue
        for epoch, first, second in zip(one.epoch, one.loss, two.loss, strict=False):
            bound = pair.bound(epoch) * max(1, abs(first))
            yield _Number(pair.unit(fold), epoch, first, second, bound)


def _numbers(name: str, what: str, numbers: Sequence[_Number | None]) -> Stage:
    """Compare numbers; None stands for one that a run does not record."""
    known = [number for number in numbers if number is not None]
    unequal = [number for number in known if number.difference > 0]
    excess = [number for number in unequal if number.excess]
    folds = len({number.where for number in known})
    if excess:
        return Stage(name, "different", _excess(known, unequal, excess))
    if unequal:
        largest = max(unequal, key=lambda number: number.difference)
        begin = f" from epoch {min(number.epoch for number in unequal)}" if largest.epoch else ""
        return Stage(
            name,
            "within rounding",
            f"{len({number.where for number in unequal})} of {_count(folds, 'fold')} differ{begin},"
            f" by at most {largest.difference:.1e} (bound {largest.bound:.1e})",
        )
    if len(known) < len(numbers) or not known:
        return Stage(name, "unknown", _NOT_RECORDED if numbers else _NONE_IN_COMMON)
    return Stage(name, "equal", f"{what}, {_count(folds, 'fold')}")


def _excess(known: Sequence[_Number], unequal: Sequence[_Number], excess: Sequence[_Number]) -> str:
    """Describe the first number that differs by more than rounding, and what precedes it."""
    place = min(number.epoch for number in excess)
    first = max((n for n in excess if n.epoch == place), key=lambda number: number.difference)
    text = f"{first.where}: {first.first:.6g} → {first.second:.6g}"
    if not place:
        return f"from the start, {text}"
    begin = min(number.epoch for number in unequal)
    before = []
    if begin > 1:
        before.append(f"to the bit until epoch {begin - 1}")
    if place > begin:
        before.append(f"within rounding until epoch {place - 1}")
    until = f"equal {', '.join(before)}; " if before else ""
    return f"{until}from epoch {place}, {text}"


def _scores(pairs: Sequence[_Pair]) -> Stage:
    clips, unequal, excess, answers, largest, only = 0, 0, 0, 0, 0.0, 0
    for pair in pairs:
        one, two = ({_key(row): row for row in run.predictions} for run in pair.runs)
        only += len(one.keys() ^ two.keys())
        epochs = max((curve.epoch[-1] for curve in pair.first.curves.values()), default=0)
        bound = pair.bound(epochs)
        for key in sorted(one.keys() & two.keys()):
            difference = max(
                abs(a - b) for a, b in zip(one[key].scores, two[key].scores, strict=True)
            )
            clips += 1
            unequal += difference > 0
            excess += difference > bound
            answers += one[key].predicted != two[key].predicted
            largest = max(largest, difference)
    parts = []
    if unequal:
        parts.append(
            f"{unequal} of {_count(clips, 'clip')}, by at most {largest:.2g}; the predicted class"
            f" of {answers or 'none'}"
        )
    elif answers:
        parts.append(f"predicted classes of {_count(answers, 'clip')}, with equal scores")
    if only:
        parts.append(f"{_count(only, 'clip')} tested by one run only")
    state: State = "equal"
    if excess or answers or only:
        state = "different"
    elif unequal:
        state = "within rounding"
    return Stage("scores", state, ", ".join(parts) or _count(clips, "clip"))


def _metrics(pairs: Sequence[_Pair]) -> Stage:
    """Compare the metrics of all clips, then of each database; text gives means over the seeds."""
    groups = list(pairs[0].first.metrics)  # All clips come first.
    found = {}
    for group in groups:
        found[group] = np.array(
            [
                [[run.metrics[group][name] for name in metrics.METRICS] for run in pair.runs]
                for pair in pairs
                if all(group in run.metrics for run in pair.runs)
            ]
        )
        values = found[group]
        if not len(values) or np.any(values[:, 0] != values[:, 1]):
            return Stage("metrics", "different", _means(group, values))
    return Stage("metrics", "equal", _means(groups[0], found[groups[0]]))


def _means(group: str, values: np.ndarray) -> str:
    """Return the means over seeds of `[seed, run, metric]` in words, once if both are equal."""
    if not len(values):
        return f"{group} is tested by one run only"
    parts = []
    for name, (one, two) in zip(metrics.METRICS, values.mean(axis=0).T, strict=True):
        change = "" if one == two else f" → {two:.3f}"
        parts.append(f"{name if name == 'accuracy' else name.upper()} {one:.3f}{change}")
    return ("" if group == "full" else f"{group}: ") + ", ".join(parts)


# Chance and other seeds.


def _alike(pairs: Sequence[_Pair]) -> bool:
    """Return whether all predicted classes are equal."""
    return all(
        {_key(row): row.predicted for row in pair.first.predictions}
        == {_key(row): row.predicted for row in pair.second.predictions}
        for pair in pairs
    )


def _chance(pairs: Sequence[_Pair], first: Sequence[Run], second: Sequence[Run]) -> Iterator[str]:
    """Yield what another seed would give, and the paired test over subjects."""
    if any(pair.first.protocol != pair.second.protocol for pair in pairs):
        yield "Scores under different protocols cannot be compared."
        return
    values = [[float(run.metrics["full"]["uf1"]) for run in runs] for runs in (first, second)]
    spread = statistics.seed_spread(*values)
    one, two = (_count(len(own), "seed") for own in values)
    if spread is None:
        yield (
            "Each run holds one seed, so what another seed would give is unknown. To find out,"
            " train both with several seeds, as --config.seeds=0,1,2,3,4."
        )
    else:
        inside = abs(spread.difference) <= spread.limit
        yield (
            f"Other seeds: UF1 differs by {_signed(spread.difference)} between the means of {one}"
            f" and {two}. With a standard deviation of {spread.sd:.3f} over seeds, such means"
            f" differ by up to {spread.limit:.3f} in 95 % of cases: the difference is"
            f" {'within' if inside else 'larger than'} what other seeds give."
        )
    rows: list[list[Prediction]] = [[], []]
    for number, pair in enumerate(pairs):  # The test pairs predictions by their seed.
        for own, run in zip(rows, pair.runs, strict=True):
            own += [dataclasses.replace(row, seed=number) for row in run.predictions]
    try:
        tests = statistics.compare(*rows)
    except UserError as error:
        yield f"The paired test is not possible. {error}"
        return
    p = tests.uf1.p
    verdict = (
        "the runs differ systematically over subjects"
        if p < _LEVEL
        else "no systematic difference over subjects is found"
    )
    yield (
        f"Paired permutation test over {_count(tests.subjects, 'subject')}: UF1"
        f" {_signed(-tests.uf1.difference)}, p = {p:.2g}; UAR {_signed(-tests.uar.difference)},"
        f" p = {tests.uar.p:.2g}: {verdict}. McNemar's test over {_count(tests.clips, 'clip')}:"
        f" only the first is right on {tests.mcnemar.only_first}, only the second on"
        f" {tests.mcnemar.only_second}, p = {tests.mcnemar.p:.2g}."
    )


# Words.


def _differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Return the entries that differ, as "name: value → value"."""
    return [
        f"{name}: {' → '.join(own.get(name, 'nothing') or 'empty' for own in (first, second))}"
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    ]


def _key(row: Prediction) -> tuple[str, str, str]:
    return row.dataset, row.subject, row.clip


def _clips(keys: Sequence[tuple[str, str, str]], total: int) -> str:
    """Return "2 of 36 clips (a/b/c, a/b/d)"; "all 36 clips" needs no names."""
    if len(keys) == total > 1:
        return f"all {numbered(total, 'clip')}"
    return f"{len(keys)} of {_count(total, 'clip')} ({_listed(['/'.join(key) for key in keys])})"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _signed(value: float) -> str:
    return f"{value:+z.3f}".replace("-", "−")
