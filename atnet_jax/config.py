"""All settings of a run in one table, with their defaults, allowed values and meanings.

Settings without a group define the experiment. The group `data` selects the input data, `recipe`
holds the training settings published with a method, and `engine` changes results at most by
rounding (docs/reference/engine.md).
"""

import copy
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from atnet_jax import models
from atnet_jax.errors import UserError, nearest
from atnet_jax.models import Method
from atnet_jax.names import (
    DATASETS,
    DEFAULT_FLOW,
    FLOWS,
    MACRO_EXPRESSIONS,
    MICRO_EXPRESSIONS,
    SOURCES,
)
from atnet_jax.preprocessing.motion import OPTIONS, all_motions
from atnet_jax.values import (
    Kind,
    anything,
    choice,
    each,
    folder,
    number,
    ranges,
    several,
    switch,
    text,
    whole,
)

# ConfigDict types every field as a union of all possible types; Any spares a cast at each use.
if TYPE_CHECKING:
    Config: TypeAlias = Any
else:
    Config = ConfigDict

RUNS = ("evaluate", "final", "pretrain", "reproduce")
"""Tasks that run one method."""
SUITES = ("table", "leaderboard")
"""Tasks that run several methods."""

# The losses and scores of all epochs stay in memory until the end. The longest published training
# has 3,000 epochs.
_EPOCHS = 100_000
# Larger than every data set.
_BATCH = 10_000


def _flow() -> Kind:
    """Return the kind of names of an optical flow, with the options of its preparation."""
    more = ", ".join(f"_{word}" for word in OPTIONS.values())
    return Kind(
        f"one of {', '.join(FLOWS)}, followed by {more} if prepared with these options",
        choice(*(motion.name for motion in all_motions())).read,
    )


def _method(*, presets: bool = False) -> Kind:
    """Return the kind of method names; `presets` also allows the names of presets."""

    def read(value: Any) -> str:
        return choice(*models.names(), *(models.presets() if presets else ())).read(value)

    more = ", or one of their presets" if presets else ""
    return Kind(f"one of {', '.join(models.names())}{more}", read)


@dataclass(frozen=True)
class Field:
    """A setting.

    Attributes:
        default: The value of the authors' release.
        kind: The allowed values.
        meaning: The description that `atnet train --help` prints, in full sentences.
        tasks: The tasks that have the setting.
    """

    default: Any
    kind: Kind
    meaning: str
    tasks: tuple[str, ...] = (*RUNS, *SUITES)


FIELDS = {
    # --- The experiment ---
    "task": Field(
        "evaluate",
        choice(*RUNS, *SUITES),
        'Task of the run. "evaluate" trains and tests one method under a protocol. "final" trains'
        ' one network on all subjects, for use on other clips, without a test. "pretrain" trains a'
        " network on macro-expressions and writes its weights for init_from."
        ' "reproduce" evaluates one method with many seeds, to measure how much of the variance of'
        " the scores each source of randomness brings."
        ' "table" and "leaderboard" evaluate several methods.',
    ),
    "protocol": Field(
        "cde",
        choice("cde", "hde"),
        'Evaluation protocol. "cde" is composite database evaluation (leave one subject out); "hde"'
        " is holdout database evaluation (leave one database out).",
        (*RUNS, "table"),
    ),
    "protocols": Field(
        ("cde", "hde"),
        several(choice("cde", "hde")),
        "Evaluation protocols of a leaderboard.",
        ("leaderboard",),
    ),
    "model": Field(
        "fusion",
        _method(),
        "Method, a file in atnet_jax/models. Select it with the configuration, as in"
        " --config=cde:temporal; this also sets the method's options and recipe.",
        RUNS,
    ),
    "methods": Field(
        (),
        several(_method(presets=True)),
        "Methods, or presets of methods, in a table or a leaderboard.",
        SUITES,
    ),
    "seeds": Field(
        (0,),
        several(whole(0, 2**31 - 1)),
        "Random seeds. All randomness (initial weights, order of clips, resampling, augmentation,"
        " dropout) derives from a seed and the fold's number. Each of several seeds is one run; the"
        " runs train side by side, each in its own folder in the workdir.",
    ),
    "varied": Field(
        SOURCES,
        several(choice(*SOURCES)),
        "Sources of randomness that follow the seed of the run: the order of the clips (and the"
        " resampling of minority classes), the initial weights, the augmentation and the dropout."
        " The others follow fixed_seed.",
        RUNS,
    ),
    "fixed_seed": Field(
        0,
        whole(0, 2**31 - 1),
        "Seed of the sources of randomness that are not in varied.",
        RUNS,
    ),
    "folds": Field(
        "", ranges(), 'Folds to run. "" runs all folds, "0:17" folds 0 to 16, and "3,5" two folds.'
    ),
    "init_from": Field(
        "",
        folder(optional=True),
        "Folder with the initial weights of every fold, written by `atnet import-caffe` or"
        ' pre-training. Parameters that are not in the folder start at random. With "", all'
        " parameters do.",
    ),
    "selection": Field(
        "last",
        choice("last", "nested"),
        'Choice of the tested network. "last" tests the network after the last epoch. "nested"'
        " tests the network after the epoch with the highest UF1 on some training subjects, which"
        " the fold holds back and does not train on.",
    ),
    "validation_share": Field(
        0.2,
        number(0, 0.5),
        "Share of each data set's training subjects held back for validation, by"
        ' selection="nested" and by pre-training.',
    ),
    "shuffle_labels": Field(
        False,
        switch(),
        "If True, the labels are permuted over all clips before the folds are made. In this control"
        " experiment a sound pipeline scores at chance, 1/3.",
    ),
    "score_every": Field(
        1,
        whole(0, _EPOCHS),
        "Epochs between two scorings of the test clips. The report uses these scores to show the"
        " result that choosing the epoch on test subjects would have claimed; training never sees"
        " them. 0 scores the test clips only after the last epoch.",
    ),
    "deterministic": Field(
        False,
        switch(),
        "If True, a GPU adds in a fixed order, so that repeated runs are bit for bit identical."
        " A CPU gives the same bits whatever its model and its number of cores, if it is an x86-64"
        " processor with AVX2 and FMA, and the versions are the same. This is slower.",
    ),
    # --- The input data ---
    "data.datasets": Field(
        ("casme2", "samm", "smic"),
        several(choice(*DATASETS)),
        "Data sets, prepared with `atnet prepare`, that form the composite. Pre-training takes"
        " data sets of macro-expressions.",
    ),
    "data.dir": Field("data", folder(), "Folder that contains the prepared data sets."),
    "data.flow": Field(
        DEFAULT_FLOW,
        _flow(),
        "Optical flow that the data sets were prepared with. The name is followed by _circular,"
        " _steady and _stabilised if `atnet prepare` was given --circular, --cancel_alternation and"
        " --remove_head_motion.",
    ),
    "data.image_size": Field(
        224,
        whole(8, 224),
        "Height and width of apex frames in pixels. Frames are prepared at 224×224, the paper's"
        " size; training is faster on smaller frames (112 or 56).",
    ),
    # --- The training settings published with a method ---
    "recipe.batch_size": Field(16, whole(1, _BATCH), "Number of clips in a batch."),
    "recipe.num_epochs": Field(50, whole(1, _EPOCHS), "Number of training epochs."),
    "recipe.steps_per_epoch": Field(
        50,
        whole(0, _EPOCHS),
        "Optimiser steps in an epoch. Samples continue from one epoch to the next, so that every"
        " batch is full and every fold takes the same number of steps (the release: 2,500 steps in"
        " 50 epochs). 0 makes an epoch one pass over the fold's samples, whose last batch holds"
        " the remaining samples.",
    ),
    "recipe.optimizer": Field(
        "sgd",
        choice("sgd", "adam", "adamw"),
        'Optimiser. "sgd" has momentum and orders its terms as Caffe does.',
    ),
    "recipe.learning_rate": Field(0.01, number(0), "Learning rate of the first epoch."),
    "recipe.decay_epochs": Field(
        10,
        whole(0, _EPOCHS),
        "Interval, in epochs, at which the learning rate is multiplied by decay_factor. 0 keeps the"
        " learning rate constant.",
    ),
    "recipe.decay_factor": Field(
        0.1,
        number(0, 1),
        "Factor by which the learning rate is multiplied every decay_epochs epochs.",
    ),
    "recipe.decay_stops": Field(
        0,
        whole(0, _EPOCHS),
        "Number of epochs after which the learning rate stays constant. 0 lets it decay until the"
        " end.",
    ),
    "recipe.momentum": Field(0.9, number(0, 1), 'Momentum of "sgd"; "adam" and "adamw" ignore it.'),
    "recipe.weight_decay": Field(
        5e-6,
        number(0),
        'Weight decay of every parameter. "sgd" and "adam" add it to the gradient, "adamw" to the'
        ' step. "sgd" exempts the classifier\'s bias.',
    ),
    "recipe.bias_learning_rate_factor": Field(
        2.0,
        number(0),
        "Factor of the learning rate for biases (of conv1, batch normalisation and the"
        " classifier).",
    ),
    "recipe.balance_classes": Field(
        True,
        switch(),
        "If True, clips of minority classes are drawn again, with replacement, until each class has"
        " as many samples as the largest.",
    ),
    "recipe.shared_batches": Field(
        False,
        switch(),
        "If True, all folds take the clips in the same order, and each fold skips the clips that it"
        " may not see. Computations that depend on the clips alone then run once for all folds."
        " This requires epochs of one pass over the clips, without resampling (steps_per_epoch=0,"
        " balance_classes=False).",
    ),
    "recipe.precision": Field(
        "float32",
        choice("float32", "tensorfloat32", "bfloat16"),
        "Precision of products in convolutions and LSTMs. GPUs and TPUs also support"
        ' "tensorfloat32" (factors rounded to 10 bits) and "bfloat16" (factors rounded to 7 bits,'
        " and activations of convolutions stored in bfloat16). Weights, statistics and losses are"
        " always float32.",
    ),
    "recipe.magnification": Field(
        0.0,
        number(0, 1000),
        "Eulerian magnification, without learning, of the motion in the grey pictures that a method"
        " reads: the apex frame and the frames around it. This many times the motion is added to"
        " it; 0 turns magnification off. The prepared optical flow is not magnified.",
    ),
    "recipe.augment.probability": Field(
        0.5,
        number(0, 1),
        "Probability of each augmentation of an apex frame: mirroring, rotation and shift. 0 also"
        " turns off the augmentation that some methods define themselves.",
    ),
    "recipe.augment.rotation": Field(
        5.0,
        number(0, 180),
        "Largest rotation in degrees. The angle is uniform between minus and plus this value.",
    ),
    "recipe.augment.shift_kind": Field(
        "intensity",
        choice("intensity", "translation"),
        'Interpretation of the paper\'s "pixel shift". "intensity" adds grey levels, as the release'
        ' does; "translation" moves the picture.',
    ),
    "recipe.augment.shift": Field(
        10.0,
        number(0, 255),
        "Largest shift in either direction, in grey levels or in pixels of a 224×224 picture.",
    ),
    # --- Settings that change results at most by rounding ---
    "engine.folds_per_batch": Field(
        0,
        whole(0, 1_000_000),
        "Number of folds, of all seeds, trained at once in one program. 0 chooses it for the"
        " device: as many as fit its memory, but on CPUs one per CPU, or 40 if the folds share"
        " batches.",
    ),
    "engine.checkpoint_every": Field(
        0,
        whole(0, _EPOCHS),
        "Epochs between checkpoints. 0 writes five checkpoints in a training. A killed run resumes"
        " from its last checkpoint and gives the same result.",
    ),
    "engine.keep_networks": Field(
        True,
        switch(),
        "If True, the network of every finished fold is kept. If False, only the fold's scores of"
        " the held-out clips are kept, which saves disk space: HTNet takes 570 MB in each of 68"
        " folds.",
    ),
    "engine.profile": Field(
        False, switch(), "If True, a profiler trace of one epoch is written to the workdir."
    ),
}


def default_config(model: str) -> Config:
    """Return the default settings of one method.

    Args:
        model: Name of a method or preset. `check` rejects an unknown name.

    Returns:
        The defaults of all settings, overlaid with the method's options and recipe.
    """
    config: Config = _grouped({name: field.default for name, field in _fields("evaluate").items()})
    config.model, chosen = model, {}
    if model not in models.names():
        config.model, chosen = models.presets().get(model, (model, {}))
    config.options = ConfigDict()
    if config.model in models.names():
        found = models.find(config.model)
        config.options.update({**found.options, **chosen})
        config.recipe.update(found.recipe)
    config.lock()
    return config


def suite_config(task: str, methods: tuple[str, ...]) -> Config:
    """Return the default settings of a suite, which runs several methods.

    Args:
        task: "table" or "leaderboard".
        methods: Names of methods or presets.

    Returns:
        The settings. The recipe's settings are None: each method uses its own recipe.
    """
    config: Config = _grouped(
        {
            name: placeholder(type(field.default)) if name.startswith("recipe.") else field.default
            for name, field in _fields(task).items()
        }
    )
    config.task, config.methods = task, methods
    config.lock()
    return config


def method_config(config: Config, protocol: str, method: str) -> Config:
    """Return the settings of one method of a suite.

    Args:
        config: The settings of the suite.
        protocol: "cde" or "hde".
        method: Name of a method or preset.
    """
    settings = default_config(method)
    found = models.find(settings.model)
    network = found.kind == "network"
    own = {"task": "evaluate", "protocol": protocol}
    if not network:  # Training an SVM is not random, so one seed is enough.
        own |= {"seeds": tuple(config.seeds)[:1], "selection": "last"}
    if "apex" not in found.inputs:  # Pre-trained weights fit only the stream of the apex frame.
        own["init_from"] = ""
    given = {
        name: value
        for name, value in flat(config)
        if value is not None
        and name not in ("methods", "protocols")
        and (network or not name.startswith("recipe."))
        and (name != "recipe.magnification" or _reads_pictures(found))
    }
    settings.update_from_flattened_dict({**given, **own})
    if settings.recipe.steps_per_epoch:
        settings.recipe.shared_batches = False  # Shared batches require whole passes.
    return settings


def seed_of(config: Config, source: str, seed: Any) -> Any:
    """Return the seed of one source of randomness in a run.

    Args:
        config: The settings of the run.
        source: One of `names.SOURCES`.
        seed: Seed of the run, a number or an array.

    Returns:
        `seed` or, if the source is not varied, the fixed seed.
    """
    return seed if source in config.varied else config.fixed_seed


def splitting(config: Config) -> str:
    """Return how clips are split into folds: "cde", "hde" or, for a run without test, "final"."""
    return "final" if config.task == "final" else config.protocol


def check(config: Config) -> Config:
    """Check and convert every setting and their combination, without reading any file.

    Args:
        config: The settings of a run or a suite.

    Returns:
        A converted copy: comma-separated names become tuples, and ~ in the path of a folder becomes
        the user's home folder.

    Raises:
        UserError: A setting is missing or unknown, has a value that is not allowed, or contradicts
            another setting. The message has the setting, its value and the expected values.
    """
    config = copy.deepcopy(config)
    task = _read("task", FIELDS["task"].kind, config.get("task"))
    fields = _fields(task)
    given = {name: value for name, value in flat(config) if name.partition(".")[0] != "options"}
    if missing := sorted(fields.keys() - given.keys()):
        raise UserError(
            f"config.{missing[0]} is missing, but the task {task!r} requires it. Start from a"
            f" configuration of that task, such as --config={_EXAMPLES.get(task, task)}."
        )
    if unknown := sorted(given.keys() - fields.keys()):
        hint = nearest(f"config.{unknown[0]}", [f"config.{name}" for name in fields])
        raise UserError(f"The task {task!r} has no setting config.{unknown[0]}.{hint}")
    meant = {
        name: value
        if value is None and task in SUITES and name.startswith("recipe.")
        else _read(name, fields[name].kind, value)
        for name, value in given.items()
    }
    config.update_from_flattened_dict(meant)
    if task in RUNS:
        _check_options(config)
        _check_method(config)
    _check_datasets(config)
    return config


def flat(settings: Mapping[str, Any] | Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each nested setting, in their order."""
    for name, value in settings.items():
        if isinstance(value, Mapping | ConfigDict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def of_result(settings: Mapping[str, Any] | Config) -> dict[str, Any]:
    """Return the settings that the result of a run depends on, by dotted name.

    The group `engine` and the location of the data are left out.
    """
    return {
        name: value
        for name, value in flat(settings)
        if not name.startswith("engine.") and name != "data.dir"
    }


def restore(settings: Mapping[str, Any]) -> Config:
    """Return the settings that were stored as JSON, in the form of `default_config`.

    Args:
        settings: The parsed JSON, nested as in `default_config`.

    Raises:
        UserError: Another version of this program wrote the settings, or their method is unknown.
    """
    config = default_config(settings["model"])
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in flat(settings)
        if name != "options"  # Empty.
    }
    try:
        _update_known(config, values)
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"The settings were written by another version of this program ({error}). Train again,"
            f" or use that version."
        ) from error
    return check(config)


# A configuration of each task that has no configuration of its name.
_EXAMPLES = {"evaluate": "cde", "table": "table2"}


def _update_known(config: Config, values: Mapping[str, Any]) -> None:
    """Set settings by dotted name; raise a ValueError if one does not exist."""
    if unknown := sorted(values.keys() - dict(flat(config)).keys()):
        raise ValueError(f"config.{unknown[0]} does not exist")
    config.update_from_flattened_dict(values)


def _fields(task: str) -> dict[str, Field]:
    return {name: field for name, field in FIELDS.items() if task in field.tasks}


def _grouped(values: Mapping[str, Any]) -> Config:
    """Return settings with dotted names as nested groups."""
    config: Config = ConfigDict()
    for name, value in values.items():
        *groups, own = name.split(".")
        place = config
        for group in groups:
            if group not in place:
                place[group] = ConfigDict()
            place = place[group]
        place[own] = value
    return config


def _read(name: str, kind: Kind, value: Any) -> Any:
    """Return the converted value of a setting."""
    try:
        return kind.read(value)
    except ValueError as error:
        raise UserError(f"config.{name} is {value!r}, expected {kind.words}.") from error


def _check_options(config: Config) -> None:
    """Convert the method's options; reject unknown options and values that are not allowed."""
    declared = models.find(config.model).option_types
    kinds = {name: _kind(type_) for name, type_ in declared.items()}
    options = config.options
    given = options.to_dict() if isinstance(options, ConfigDict) else options
    if not isinstance(given, dict) or set(given) != set(kinds):
        raise UserError(
            f"config.options is {given!r}, but the options of {config.model} are"
            f" {', '.join(kinds) or 'none'}. Select the method with the configuration, as in"
            f" --config=cde:{config.model}, not with --config.model."
        )
    for name, kind in kinds.items():
        options[name] = _read(f"options.{name}", kind, config.options[name])


def _check_sources(config: Config) -> None:
    """Reject a separation of the sources of randomness that the run cannot make."""
    study = config.task == "reproduce"
    if not study and set(config.varied) == set(SOURCES):
        return
    # These choices follow the seed of the run too, but are none of the sources.
    for name, wanted in (("selection", "last"), ("shuffle_labels", False)):
        if config[name] != wanted:
            raise UserError(
                f"config.{name} is {config[name]!r}, but sources of randomness can be separated"
                f" only with {wanted!r}, because the seed would change more than them. Leave it at"
                f" {wanted!r}."
            )
    if not study:
        return
    if len(config.varied) < 2:
        raise UserError(
            f"config.varied is {config.varied!r}, but the task 'reproduce' compares sources of"
            f" randomness. Name at least two of {', '.join(SOURCES)}."
        )
    if len(config.seeds) < 2 or config.fixed_seed not in config.seeds:
        raise UserError(
            f"config.seeds is {config.seeds!r} and config.fixed_seed is {config.fixed_seed!r}, but"
            f" the task 'reproduce' requires at least two seeds, one of them the fixed seed. Pass"
            f" such seeds."
        )


def _kind(declared: Any) -> Kind:
    """Return the allowed values of an option from its declared type."""
    if typing.get_origin(declared) is typing.Annotated:
        return declared.__metadata__[0]
    if typing.get_origin(declared) is typing.Literal:
        return choice(*typing.get_args(declared))
    if typing.get_origin(declared) is tuple:
        return each([_kind(one) for one in typing.get_args(declared)])
    # Whole numbers among the options are counts and distances.
    known = {bool: switch(), int: whole(1, 1000), float: number(0), str: text()}
    return known.get(declared, anything())


def _reads_pictures(method: Method) -> bool:
    """Return whether a method reads grey pictures, whose motion can be magnified."""
    return not {"apex", "frames"}.isdisjoint(method.inputs)


def _check_datasets(config: Config) -> None:
    known = MACRO_EXPRESSIONS if config.task == "pretrain" else MICRO_EXPRESSIONS
    if not set(config.data.datasets) <= set(known):
        kind = "pictures of macro-" if config.task == "pretrain" else "clips of micro-"
        raise UserError(
            f"config.data.datasets is {config.data.datasets!r}, expected {kind}expressions for the"
            f" task {config.task!r}: {', '.join(known)}."
        )


def _check_method(config: Config) -> None:
    """Reject settings that contradict the task, the method or another setting."""
    recipe, model = config.recipe, config.model
    method = models.find(model)
    network, inputs = method.kind == "network", ", ".join(method.inputs)
    if not network:
        if config.task != "evaluate":
            raise UserError(
                f"config.task is {config.task!r}, but {model} classifies features with an SVM and"
                f" supports only the task 'evaluate'. Choose a neural network."
            )
        for name, wanted in (("init_from", ""), ("selection", "last")):
            if config[name] != wanted:
                raise UserError(
                    f"config.{name} is {config[name]!r}, but {model} is not a neural network. Leave"
                    f" it at {wanted!r}."
                )
    if recipe.magnification and not _reads_pictures(method):
        raise UserError(
            f"config.recipe.magnification is {recipe.magnification:g}, but {model} reads"
            f" {inputs}. Only the apex frame and frames can be magnified. Leave it at 0."
        )
    if network and recipe.shared_batches and (recipe.steps_per_epoch or recipe.balance_classes):
        name = "steps_per_epoch" if recipe.steps_per_epoch else "balance_classes"
        own = method.recipe.get("shared_batches", False)
        whose = f" (part of the recipe of {model})" if own else ""
        raise UserError(
            f"config.recipe.{name} is {recipe[name]!r}, but shared batches{whose} require epochs of"
            f" one pass over the clips, without resampling. Set it to {type(recipe[name])(0)!r}, or"
            f" also set config.recipe.shared_batches=False."
        )
    if network:  # A network may reject the size of the pictures.
        method.build_network(config.options.to_dict()).input_shapes(config.data.image_size)
    _check_sources(config)
    if config.task in ("evaluate", "reproduce"):
        if config.selection == "nested" and not config.validation_share:
            raise UserError(
                "config.validation_share is 0.0, but config.selection='nested' requires held-back"
                " subjects to choose the epoch. Set a larger share, up to 0.5."
            )
        return
    if config.protocol != "cde":
        raise UserError(
            f"config.protocol is {config.protocol!r}, but the task {config.task!r} has no test."
            f" Leave it at 'cde'."
        )
    if config.task == "final":
        if config.selection == "nested":
            raise UserError(
                "config.selection is 'nested', but the task 'final' trains on all subjects and"
                " holds none back to choose an epoch. Leave it at 'last'."
            )
        if not config.engine.keep_networks:
            raise UserError(
                "config.engine.keep_networks is False, but the network is the only output of the"
                " task 'final'. Leave it at True."
            )
        return
    if method.inputs != ("apex",):
        raise UserError(
            f"config.task is 'pretrain', which trains on single pictures, but {model} reads"
            f" {inputs}. Pre-train spatial or micro_attention; fusion can start from the weights"
            f" of spatial."
        )
    if len(config.seeds) > 1:
        raise UserError(
            f"config.seeds is {config.seeds!r}, but pre-training uses one seed. Pass one seed."
        )
    only = {"folds": "", "shuffle_labels": False, "recipe.magnification": 0.0, "score_every": 1}
    for name, value in {**only, "engine.keep_networks": True}.items():
        given = dict(flat(config))[name]
        if given != value:
            raise UserError(f"config.{name} is {given!r}, but pre-training accepts only {value!r}.")
