"""Every setting: its allowed values, and the rejection of others in one sentence before a run."""

import importlib
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atnet_jax import models
from atnet_jax.config import (
    FIELDS,
    RUNS,
    check,
    default_config,
    flat,
    method_config,
    of_result,
    restore,
    suite_config,
)
from atnet_jax.data.folds import Fold, Unit
from atnet_jax.errors import UserError
from atnet_jax.experiments import pretrain, suite
from atnet_jax.experiments import run as experiment
from atnet_jax.training.augment import Augmentation
from atnet_jax.training.batches import BatchPlan
from atnet_jax.training.optimizer import learning_rate, make_optimizer

NAN, INF = math.nan, math.inf
NUMBERS = (NAN, INF, -INF, "1", None, (1,))
WHOLE = (*NUMBERS, True, -1, 0.5, 10**20)
SWITCH = (0, 1, None, "True", NAN)
WRONG = {
    "task": ("train", "", 3, None),
    "protocol": ("loso", "CDE", "final", None),
    "protocols": ((), ("loso",), ("cde", "cde"), "final"),
    "model": ("resnet", "", "lbp_top_p4_tim10", 3),
    "methods": ((), ("resnet",), ("ststnet", "ststnet"), ("ststnet", 3)),
    "seeds": ((), (-1,), (0, 0), (12345678901234567890,), (0.5,), ("a",), (True,), "x", None),
    "varied": ((), ("seed",), ("order", "order"), "", None, 3),
    "fixed_seed": WHOLE,
    "folds": ("a", "-1", "1:2:3", "1;2", ",", 3, None, "9999999999"),
    "init_from": (3, None, "a\0b"),
    "selection": ("best", "", None),
    "validation_share": (-0.1, 0.51, *NUMBERS),
    "shuffle_labels": SWITCH,
    "score_every": (100_001, *WHOLE),
    "deterministic": SWITCH,
    "data.datasets": ((), ("casme3",), ("samm", "samm"), ("samm,samm",), "", ("ck_plus",), (1,)),
    "data.dir": ("", None, 3, "https://a.b/c"),
    "data.flow": ("lucas_kanade", "tv_l1_", "steady", "", None, 3),
    "data.image_size": (0, 7, 225, 1000, *WHOLE),
    "recipe.batch_size": (0, 100_000, *WHOLE),
    "recipe.num_epochs": (0, 10**14, *WHOLE),
    "recipe.steps_per_epoch": (-3, 10**6, *WHOLE),
    "recipe.optimizer": ("lion", "SGD", None),
    "recipe.learning_rate": (-0.1, 1e39, *NUMBERS),
    "recipe.decay_epochs": WHOLE,
    "recipe.decay_factor": (-1, 1.5, *NUMBERS),
    "recipe.decay_stops": WHOLE,
    "recipe.momentum": (-0.1, 2, *NUMBERS),
    "recipe.weight_decay": (-1, 1e39, *NUMBERS),
    "recipe.bias_learning_rate_factor": (-1, *NUMBERS),
    "recipe.balance_classes": SWITCH,
    "recipe.shared_batches": SWITCH,
    "recipe.precision": ("float16", "FLOAT32", None),
    "recipe.magnification": (-1, 1001, *NUMBERS),
    "recipe.augment.probability": (-0.1, 7, *NUMBERS),
    "recipe.augment.rotation": (-1, 181, *NUMBERS),
    "recipe.augment.shift_kind": ("colour", "", None),
    "recipe.augment.shift": (-1, 256, *NUMBERS),
    "engine.folds_per_batch": WHOLE,
    "engine.checkpoint_every": WHOLE,
    "engine.keep_networks": SWITCH,
    "engine.profile": SWITCH,
}
OPTIONS = {
    ("fusion", "fusion"): ("other", None, 3),
    ("fusion", "joint"): (1, "yes"),
    ("temporal", "time_pooling"): ("max", None),
    ("lbp_top", "points"): (5, -4, 8.0),
    ("lbp_top", "radii"): ((3, 3), (0, 3, 3), 3),
    ("hoof", "bins"): (0, -3, 1.5, NAN),
    ("hoof", "length"): (1, 10_000),
    ("hoof", "interpolation"): ("cubic",),
    ("fdm", "angle"): (0, 181, NAN, "45"),
    ("mdmo", "weight"): (-0.1, 1.1, INF),
    ("rcn", "variant"): ("b",),
    ("capsule_net", "routings"): (0, -1),
}
CONFIGS = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("[a-z]*.py"))


def with_value(config, name, value):
    with config.ignore_type():
        config.update_from_flattened_dict({name: value})
    return config


def run(config, workdir):
    """Starts what the task is, as the command does."""
    if config.task in RUNS:
        start = pretrain.pretrain if config.task == "pretrain" else experiment.train_and_evaluate
    else:
        start = suite.run_leaderboard if config.task == "leaderboard" else suite.run
    start(config, workdir)


def refused(config, workdir) -> str:
    """The sentence that a run is refused with."""
    with pytest.raises(UserError) as error:
        run(config, workdir)
    message = str(error.value)
    assert "\n" not in message and message.endswith((".", "?"))
    assert not workdir.exists()
    return message


@pytest.mark.parametrize("name", FIELDS)
def test_invalid_settings_are_rejected_by_name(name, tmp_path):
    field = FIELDS[name]
    for value in WRONG[name]:
        if "evaluate" in field.tasks:
            config = default_config("fusion")
        else:
            config = suite_config("leaderboard", ("ststnet",))
        message = refused(with_value(config, name, value), tmp_path / "run")
        # An integer in a float's place became one as it was set.
        assert re.match(rf"config\.{re.escape(name)} is .*, expected .*\.$", message), value


def test_the_same_settings_are_refused_in_a_suite(tmp_path):
    for name in ("recipe.learning_rate", "recipe.augment.shift_kind", "data.image_size", "seeds"):
        config = with_value(suite_config("table", ("ststnet",)), name, "wrong")
        assert f"config.{name} is 'wrong'" in refused(config, tmp_path / "run")


@pytest.mark.parametrize(("model", "option"), OPTIONS)
def test_invalid_options_are_rejected_by_name(model, option, tmp_path):
    for value in OPTIONS[model, option]:
        config = with_value(default_config(model), f"options.{option}", value)
        message = refused(config, tmp_path / "run")
        assert re.match(rf"config\.options\.{option} is .*, expected .*\.$", message), value


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("ststnet", {"recipe.steps_per_epoch": 1}, r"steps_per_epoch is 1, but shared batches"
         r" \(part of the recipe of ststnet\) require"),
        ("ststnet", {"recipe.balance_classes": True}, "balance_classes is True, but shared"),
        ("spatial", {"recipe.shared_batches": True}, "steps_per_epoch is 50, but shared batches"
         " require"),
        ("ststnet", {"recipe.magnification": 5}, "magnification is 5, but ststnet reads flow_map"),
        ("hoof", {"init_from": "weights"}, "init_from is 'weights', but hoof is not a neural"),
        ("hoof", {"selection": "nested"}, "selection is 'nested', but hoof is not a neural"),
        ("hoof", {"task": "final"}, "'final', but hoof classifies features with"),
        ("fusion", {"task": "final", "selection": "nested"}, "holds none back"),
        ("fusion", {"task": "final", "protocol": "hde"}, "protocol is 'hde', but the task"),
        ("fusion", {"task": "final", "engine.keep_networks": False}, "keep_networks is False"),
        ("fusion", {"selection": "nested", "validation_share": 0.0}, "validation_share is 0.0"),
        ("spatial", {"task": "pretrain"}, "datasets is .*expected pictures of macro-expressions"),
        ("fusion", {"data.datasets": ("mug",)}, "expected clips of micro-expressions"),
        ("fusion", {"task": "pretrain", "data.datasets": ("mug",)}, "fusion reads apex, adm"),
        ("spatial", {"task": "pretrain", "data.datasets": ("mug",), "seeds": (0, 1)},
         r"seeds is \(0, 1\), but pre-training uses one seed"),
        ("spatial", {"task": "pretrain", "data.datasets": ("mug",), "folds": "0:3"},
         r"folds is '0:3', but pre-training accepts only ''\."),
        ("spatial", {"task": "pretrain", "data.datasets": ("mug",), "shuffle_labels": True},
         "shuffle_labels is True"),
        ("spatial", {"task": "pretrain", "data.datasets": ("mug",), "recipe.magnification": 5.0},
         r"recipe\.magnification is 5\.0"),
        ("capsule_net", {"data.image_size": 56}, "at least 129×129 pixels"),
        ("fusion", {"task": "table"}, r"methods is missing, .* --config=table2\.$"),
        ("fusion", {"model": "temporal"}, "options is .*, but the options of temporal are"),
    ],
)  # fmt: skip
def test_contradictory_settings_are_rejected(model, changes, message, tmp_path):
    config = default_config(model)
    config.update_from_flattened_dict(changes)
    assert re.search(message, refused(config, tmp_path / "run"))


def test_an_invalid_method_rejects_the_whole_table(tmp_path):
    config = suite_config("table", ("ststnet", "capsule_net"))
    config.data.image_size = 56
    assert "129×129" in refused(config, tmp_path / "run")


def test_an_unknown_setting_is_rejected_with_the_nearest_name(tmp_path):
    config = default_config("fusion")
    with config.unlocked():
        config.recipe.learning_rat = 1.0
    message = refused(config, tmp_path / "run")
    assert "no setting config.recipe.learning_rat. Did you mean config.recipe.learning_r" in message


def test_strings_are_converted(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = default_config("fusion")
    config.data.update(datasets=("casme2, samm",), dir="~/data")
    config.init_from, config.folds, config.recipe.momentum = "~", "0:3, 5", 0
    meant = check(config)
    assert meant.data.datasets == ("casme2", "samm")
    assert (meant.data.dir, meant.init_from) == (f"{tmp_path}/data", str(tmp_path))
    assert meant.folds == "0:3,5"
    assert isinstance(meant.recipe.momentum, float)
    assert config.data.datasets == ("casme2, samm",)  # The given configuration does not change.


@pytest.mark.parametrize("name", CONFIGS)
def test_the_ready_made_configurations_are_valid(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert check(config) == config
    for protocol in ("cde", "hde"):
        for method in config.get("methods", ()):
            check(method_config(config, protocol, method))


@pytest.mark.parametrize("name", [*models.names(), *models.presets()])
def test_the_defaults_of_every_method_are_valid(name):
    config = default_config(name)
    assert check(config) == config
    assert restore(json.loads(config.to_json())) == config


def test_every_setting_is_described():
    assert list(FIELDS) == list(WRONG)
    for field in FIELDS.values():
        assert field.meaning.endswith(".") and field.kind.words
    for name, default in flat(default_config("fusion")):
        if not name.startswith("options."):
            assert name in WRONG, default


def test_engine_settings_and_data_folder_are_no_part_of_the_result():
    config = default_config("fusion")
    kept = of_result(config)
    left_out = {name for name, _ in flat(config)} - kept.keys()
    assert left_out == {name for name in FIELDS if name.startswith("engine.")} | {"data.dir"}


@pytest.mark.parametrize("other", [{"num_epochs": 800}, {"directions": "circular"}])
def test_settings_of_another_version_are_rejected_with_advice(other):
    config = {**json.loads(default_config("ststnet").to_json()), **other}
    with pytest.raises(UserError, match=r"another version .*Train again, or use that version"):
        restore(config)


# A value of any sort, and often one that the setting can have.
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 300), st.floats(), st.floats(0, 1),
    st.text(max_size=8), st.tuples(), st.tuples(st.integers(-2, 9)), st.tuples(st.text(max_size=5)),
    st.lists(st.integers(0, 5), max_size=3),
)  # fmt: skip
NAMES = st.sampled_from(
    ["cde", "hde", "nested", "last", "adam", "adamw", "sgd", "bfloat16", "translation", "final",
     "dis_steady", "0:3", "samm,smic", "~/data", "score", "linear"],
)  # fmt: skip
METHODS = ("fusion", "temporal", "ststnet", "lbp_top", "hoof")


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.data())
def test_any_settings_are_rejected_in_a_sentence_or_work(data):
    config = default_config(data.draw(st.sampled_from(METHODS)))
    names = [name for name, _ in flat(config)]
    for name in data.draw(st.lists(st.sampled_from(names), max_size=4, unique=True)):
        with_value(config, name, data.draw(st.one_of(ANYTHING, NAMES)))
    try:
        meant = check(config)
    except UserError as error:
        assert str(error).endswith(".")
        return
    assert check(meant) == meant
    assert restore(json.loads(meant.to_json())) == meant
    for epoch in (0, meant.recipe.num_epochs - 1):
        rate = learning_rate(meant, epoch)
        assert math.isfinite(rate) and rate >= 0
    state = make_optimizer(meant, rate).init({"classifier": {"bias": np.zeros(3, np.float32)}})
    assert state is not None
    Augmentation(**meant.recipe.augment)
    labels = np.arange(12) % 3
    nothing = np.zeros(0, np.intp)
    fold = Fold(0, "samm/006", np.arange(3, 12), nothing, np.arange(3))
    plan = BatchPlan(meant, [unit := Unit(meant.seeds[0], fold, labels)])
    if plan.steps * meant.recipe.batch_size < 100_000:
        assert sum(len(block.labels) for block in plan.blocks([unit], 0)) == plan.steps
