"""Every setting of a run in one table: its name, its default, what it can be and what it means.

Settings have groups. The first ones say what is asked; `data` is what is read, `recipe` what a
method publishes of its training, and `engine` what changes no result.
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
from atnet_jax.names import DATASETS, DEFAULT_FLOW, FLOWS, MACRO_EXPRESSIONS, MICRO_EXPRESSIONS
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

# A ConfigDict's fields are typed as a union of all a field may be; the type checker is told Any.
if TYPE_CHECKING:
    Config: TypeAlias = Any
else:
    Config = ConfigDict

RUNS = ("evaluate", "final", "pretrain")
"""Tasks that run one method."""
SUITES = ("table", "leaderboard")
"""Tasks that run several."""

# Every epoch's losses and scores are kept in memory until the end; the longest published training
# has 3,000 epochs.
_EPOCHS = 100_000
# More than any of the data sets holds.
_BATCH = 10_000


def _flow() -> Kind:
    """The name of an optical flow and of what was prepared with it."""
    more = ", ".join(f"_{word}" for word in OPTIONS.values())
    return Kind(
        f"{', '.join(FLOWS)}, followed by {more} where it was prepared so",
        choice(*(motion.name for motion in all_motions())).read,
    )


def _method(*, presets: bool = False) -> Kind:
    """The name of a method, or of a preset of one."""

    def read(value: Any) -> str:
        return choice(*models.names(), *(models.presets() if presets else ())).read(value)

    more = ", or a preset of one" if presets else ""
    return Kind(f"one of {', '.join(models.names())}{more}", read)


@dataclass(frozen=True)
class Field:
    """A setting.

    Attributes:
      default: that of the authors' release.
      kind: what it can be.
      meaning: in sentences.
      tasks: that have it.
    """

    default: Any
    kind: Kind
    meaning: str
    tasks: tuple[str, ...] = (*RUNS, *SUITES)


FIELDS = {
    # --- What is asked ---
    "task": Field(
        "evaluate",
        choice(*RUNS, *SUITES),
        'What is done. "evaluate": a method is trained and tested under a protocol. "final": one'
        ' network of all subjects is trained, for other clips; nothing is left to test. "pretrain":'
        " a network learns from macro-expressions, and its weights are written for init_from."
        ' "table", "leaderboard": several methods are evaluated.',
    ),
    "protocol": Field(
        "cde",
        choice("cde", "hde"),
        '"cde": composite database evaluation, leave one subject out. "hde": holdout database'
        " evaluation, leave one database out.",
        (*RUNS, "table"),
    ),
    "protocols": Field(
        ("cde", "hde"),
        several(choice("cde", "hde")),
        "The protocols of a leaderboard.",
        ("leaderboard",),
    ),
    "model": Field(
        "fusion",
        _method(),
        "The method, a file in atnet_jax/models. Named with the configuration, as in"
        " --config=cde:temporal, it brings its options and its recipe.",
        RUNS,
    ),
    "methods": Field(
        (),
        several(_method(presets=True)),
        "The methods of a table or a leaderboard, or presets of theirs.",
        SUITES,
    ),
    "seeds": Field(
        (0,),
        several(whole(0, 2**31 - 1)),
        "All randomness (initial weights, order, resampling, augmentation, dropout) follows from a"
        " seed and the fold's number. Several seeds are as many runs, trained side by side: each"
        " has a folder of its own in the workdir.",
    ),
    "folds": Field("", ranges(), 'Which folds to run: "" is all; "0:17" is 0 to 16; "3,5" is two.'),
    "init_from": Field(
        "",
        folder(optional=True),
        "Folder of weights that every fold starts from, as `atnet import-caffe` and pre-training"
        ' write it; what it does not hold starts at random. "": everything does.',
    ),
    "selection": Field(
        "last",
        choice("last", "nested"),
        '"last": the network after the last epoch is tested. "nested": that after the epoch with'
        " the highest UF1 on some training subjects, which the fold holds back and does not train"
        " on.",
    ),
    "validation_share": Field(
        0.2,
        number(0, 0.5),
        'The share of each data set\'s training subjects held back, by "nested" and by'
        " pre-training.",
    ),
    "shuffle_labels": Field(
        False,
        switch(),
        "A control: the labels are permuted over all clips before folds are made. A sound pipeline"
        " then scores at chance, 1/3.",
    ),
    "score_every": Field(
        1,
        whole(0, _EPOCHS),
        "The test clips are scored every so many epochs, to report what choosing the epoch on test"
        " subjects would have claimed. 0: only after the last. Training never sees these scores.",
    ),
    "deterministic": Field(
        False, switch(), "A GPU adds in a fixed order, so that a run repeats to the bit; slower."
    ),
    # --- What is read ---
    "data.datasets": Field(
        ("casme2", "samm", "smic"),
        several(choice(*DATASETS)),
        "Prepared data sets (`atnet prepare`) that form the composite; of pre-training, sets of"
        " macro-expressions.",
    ),
    "data.dir": Field("data", folder(), "The folder that they were prepared in."),
    "data.flow": Field(
        DEFAULT_FLOW,
        _flow(),
        "The optical flow that they were prepared with, followed by _circular, _steady and"
        " _stabilised where --circular, --cancel_alternation and --remove_head_motion were given.",
    ),
    "data.image_size": Field(
        224,
        whole(8, 224),
        "Apex frames are prepared at 224×224, the size of the paper. Smaller (112, 56) is faster.",
    ),
    # --- What a method publishes of its training ---
    "recipe.batch_size": Field(16, whole(1, _BATCH), "Clips in a batch."),
    "recipe.num_epochs": Field(50, whole(1, _EPOCHS), "Epochs of a training."),
    "recipe.steps_per_epoch": Field(
        50,
        whole(0, _EPOCHS),
        "Optimiser steps in an epoch; samples run on from one epoch to the next, so that every"
        " batch is full and every fold takes as many steps (the release: 2,500 steps in 50"
        " epochs). 0: an epoch is one pass over the fold's samples, its last batch whatever"
        " remains.",
    ),
    "recipe.optimizer": Field(
        "sgd",
        choice("sgd", "adam", "adamw"),
        '"sgd" has momentum, and orders its terms as Caffe does.',
    ),
    "recipe.learning_rate": Field(0.01, number(0), "That of the first epoch."),
    "recipe.decay_epochs": Field(
        10,
        whole(0, _EPOCHS),
        "The learning rate is multiplied by decay_factor every so many epochs; 0: never.",
    ),
    "recipe.decay_factor": Field(0.1, number(0, 1), "See decay_epochs."),
    "recipe.decay_stops": Field(
        0,
        whole(0, _EPOCHS),
        "After so many epochs the learning rate stays as it is; 0: it goes on.",
    ),
    "recipe.momentum": Field(0.9, number(0, 1), 'Of "sgd" alone.'),
    "recipe.weight_decay": Field(
        5e-6,
        number(0),
        'Of every parameter; "sgd" and "adam" add it to the gradient ("sgd" not to that of the'
        ' classifier\'s bias), "adamw" to the step.',
    ),
    "recipe.bias_learning_rate_factor": Field(
        2.0,
        number(0),
        "Biases (of conv1, of batch normalisation, of the classifier) learn so much faster.",
    ),
    "recipe.balance_classes": Field(
        True,
        switch(),
        "Minority classes are drawn again, with replacement, up to the majority's count.",
    ),
    "recipe.shared_batches": Field(
        False,
        switch(),
        "All folds take the clips in the same order, each leaving out those that it may not see,"
        " so that what depends on the clips alone is computed once for all folds. Only for epochs"
        " of one pass over the clips as they are (steps_per_epoch 0, no balance_classes).",
    ),
    "recipe.precision": Field(
        "float32",
        choice("float32", "tensorfloat32", "bfloat16"),
        'Of products in convolutions and LSTMs; on GPUs and TPUs also "tensorfloat32" (factors'
        ' rounded to 10 bits) and "bfloat16" (to 7 bits; activations of convolutions are kept in'
        " it). Weights, statistics, gates and losses are float32 in each.",
    ),
    "recipe.magnification": Field(
        0.0,
        number(0, 1000),
        "Magnifies the motion in the grey pictures that a method reads, the apex frame and the"
        " frames around it (Eulerian, nothing is learned): so many times its own size is added; 0:"
        " none. What was prepared of the flow stays as it was.",
    ),
    "recipe.augment.probability": Field(
        0.5,
        number(0, 1),
        "Apex frames are mirrored, rotated and shifted, each with this probability; 0 switches all"
        " off, also the augmentation of methods that have one of their own.",
    ),
    "recipe.augment.rotation": Field(
        5.0, number(0, 180), "Angle, uniform between plus and minus this, in degrees."
    ),
    "recipe.augment.shift_kind": Field(
        "intensity",
        choice("intensity", "translation"),
        'The paper\'s "pixel shift": "intensity" adds grey levels (as the release does),'
        ' "translation" moves the picture.',
    ),
    "recipe.augment.shift": Field(
        10.0,
        number(0, 255),
        "The largest shift: grey levels up or down, or pixels (of 224) each way.",
    ),
    # --- What changes no result ---
    "engine.folds_per_batch": Field(
        0,
        whole(0, 1_000_000),
        "Folds (of all seeds) trained at once in one program. 0: chosen for the device; as many as"
        " its memory holds, but on a CPU 1, or 40 that share batches.",
    ),
    "engine.checkpoint_every": Field(
        0,
        whole(0, _EPOCHS),
        "Epochs between checkpoints; 0: five in a training. A killed run goes on from the last one"
        " to the same result.",
    ),
    "engine.keep_networks": Field(
        True,
        switch(),
        "Whether the network of a finished fold is kept. If not, only its scores of the held-out"
        " clips are: a large network (HTNet: 570 MB) need not fill the disk 68 times.",
    ),
    "engine.profile": Field(
        False, switch(), "Writes a profiler trace of one epoch to the workdir."
    ),
}


def default_config(model: str) -> Config:
    """The default settings, with the recipe of the method called `model` laid over them.

    An unknown name is refused when the run starts, by `check`.
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
    """The settings of several methods together; those of the recipe are None: each has its own.

    Args:
      task: "table" or "leaderboard".
      methods: names of methods or presets.
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
    """The settings of one method of a suite.

    Args:
      config: those of the suite.
      protocol: "cde" or "hde".
      method: name of a method or preset.
    """
    settings = default_config(method)
    found = models.find(settings.model)
    network = found.kind == "network"
    own = {"task": "evaluate", "protocol": protocol}
    if not network:  # Without randomness one seed is enough.
        own |= {"seeds": tuple(config.seeds)[:1], "selection": "last"}
    if "apex" not in found.inputs:  # Pre-trained weights are those of the apex frame's stream.
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
        settings.recipe.shared_batches = False  # These are for whole passes over the clips.
    return settings


def splitting(config: Config) -> str:
    """How a run's clips become folds: "cde", "hde" or, with nothing to test, "final"."""
    return "final" if config.task == "final" else config.protocol


def check(config: Config) -> Config:
    """The settings as they are meant, after a look at each of them and at what they say together.

    Reads no file and starts nothing.

    Args:
      config: of a run or a suite.

    Returns:
      A copy, in which names that were given as one text with commas are a tuple, and ~ in a
      folder's path is the user's home.

    Raises:
      UserError: a setting is not one of those there are, cannot be what it is, or does not go with
        another. The message is one sentence with its name, its value and what was expected.
    """
    config = copy.deepcopy(config)
    task = _read("task", FIELDS["task"].kind, config.get("task"))
    fields = _fields(task)
    given = {name: value for name, value in flat(config) if name.partition(".")[0] != "options"}
    if missing := sorted(fields.keys() - given.keys()):
        raise UserError(
            f"config.{missing[0]} is missing, which the task {task!r} needs. Begin with a"
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
    """The fields of nested settings with dotted names, in the order they are given."""
    for name, value in settings.items():
        if isinstance(value, Mapping | ConfigDict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def of_result(settings: Mapping[str, Any] | Config) -> dict[str, Any]:
    """Of a run's settings, with dotted names, those that its result depends on.

    The engine's are none, and neither is the folder of the data: the data themselves are.
    """
    return {
        name: value
        for name, value in flat(settings)
        if not name.startswith("engine.") and name != "data.dir"
    }


def restore(settings: Mapping[str, Any]) -> Config:
    """The settings that JSON holds, as `default_config` has them.

    Raises:
      UserError: another version wrote them, or they name no method there is.
    """
    config = default_config(settings["model"])
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in flat(settings)
        if name != "options"  # Empty.
    }
    unknown = sorted(values.keys() - dict(flat(config)).keys())
    try:
        if unknown:
            raise ValueError(f"config.{unknown[0]} is not known")
        config.update_from_flattened_dict(values)
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"The settings are those of another version of this program ({error}). Train again, or"
            f" use that version."
        ) from error
    return check(config)


# The configurations that are not called as their task.
_EXAMPLES = {"evaluate": "cde", "table": "table2"}


def _fields(task: str) -> dict[str, Field]:
    return {name: field for name, field in FIELDS.items() if task in field.tasks}


def _grouped(values: Mapping[str, Any]) -> Config:
    """Dotted names as groups within groups."""
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
    """A setting's value as it is meant."""
    try:
        return kind.read(value)
    except ValueError as error:
        raise UserError(f"config.{name} is {value!r}, expected {kind.words}.") from error


def _check_options(config: Config) -> None:
    """Refuses options that the method has not, or that it cannot have so."""
    declared = models.find(config.model).option_types
    kinds = {name: _kind(type_) for name, type_ in declared.items()}
    options = config.options
    given = options.to_dict() if isinstance(options, ConfigDict) else options
    if not isinstance(given, dict) or set(given) != set(kinds):
        raise UserError(
            f"config.options is {given!r}, but the options of {config.model} are"
            f" {', '.join(kinds) or 'none'}: name the method with the"
            f" configuration, as in --config=cde:{config.model}, not with"
            f" --config.model."
        )
    for name, kind in kinds.items():
        options[name] = _read(f"options.{name}", kind, config.options[name])


def _kind(declared: Any) -> Kind:
    """What an option can be, from the type that its method declares."""
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
    """Whether it reads the grey pictures whose motion can be magnified."""
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
    """Refuses settings of a run that do not go with its task, its method or each other."""
    recipe, model = config.recipe, config.model
    method = models.find(model)
    network, inputs = method.kind == "network", ", ".join(method.inputs)
    if not network:
        if config.task != "evaluate":
            raise UserError(
                f"config.task is {config.task!r}, but {model} is features and an SVM, which are"
                f" only evaluated: name a network."
            )
        for name, wanted in (("init_from", ""), ("selection", "last")):
            if config[name] != wanted:
                raise UserError(f"config.{name} is {config[name]!r}, but {model} is no network.")
    if recipe.magnification and not _reads_pictures(method):
        raise UserError(
            f"config.recipe.magnification is {recipe.magnification:g}, but {model} reads"
            f" {inputs}: it is for methods that read the apex frame or frames."
        )
    if network and recipe.shared_batches and (recipe.steps_per_epoch or recipe.balance_classes):
        name = "steps_per_epoch" if recipe.steps_per_epoch else "balance_classes"
        own = method.recipe.get("shared_batches", False)
        whose = f"which are part of the recipe of {model}, " if own else ""
        raise UserError(
            f"config.recipe.{name} is {recipe[name]!r}, but shared batches, {whose}need epochs of"
            f" one pass over the clips as they are: leave it at {type(recipe[name])(0)!r}, or also"
            f" set config.recipe.shared_batches=False."
        )
    if network:  # Which may refuse the size of the pictures.
        method.build_network(config.options.to_dict()).input_shapes(config.data.image_size)
    if config.task == "evaluate":
        if config.selection == "nested" and not config.validation_share:
            raise UserError(
                "config.validation_share is 0.0, but config.selection='nested' needs subjects to"
                " choose the epoch by: hold more back, up to 0.5."
            )
        return
    if config.protocol != "cde":
        raise UserError(
            f"config.protocol is {config.protocol!r}, but the task {config.task!r} tests nothing:"
            f" leave it at 'cde'."
        )
    if config.task == "final":
        if config.selection == "nested":
            raise UserError(
                "config.selection is 'nested', but the task 'final' trains on all subjects and"
                " holds none back to choose an epoch by: leave it at 'last'."
            )
        if not config.engine.keep_networks:
            raise UserError(
                "config.engine.keep_networks is False, but the network is all that the task"
                " 'final' makes: leave it at True."
            )
        return
    if method.inputs != ("apex",):
        raise UserError(
            f"config.task is 'pretrain', which is on single pictures, but {model} reads"
            f" {inputs}: pre-train spatial or micro_attention; fusion takes the weights"
            f" of spatial."
        )
    if len(config.seeds) > 1:
        raise UserError(f"config.seeds is {config.seeds!r}, but pre-training has one.")
    only = {"folds": "", "shuffle_labels": False, "recipe.magnification": 0.0, "score_every": 1}
    for name, value in {**only, "engine.keep_networks": True}.items():
        given = dict(flat(config))[name]
        if given != value:
            raise UserError(f"config.{name} is {given!r}, but pre-training takes {value!r} only.")
