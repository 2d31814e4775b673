"""A run's config.json: read back as written, or rejected in one sentence."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from atnet_jax.config import default_config
from atnet_jax.data.composite import Exclusion
from atnet_jax.errors import UserError
from atnet_jax.evaluation.record import (
    FILE,
    Data,
    Environment,
    Folds,
    Part,
    Record,
    read,
    run_folders,
)
from atnet_jax.evaluation.runs import load_run
from atnet_jax.experiments.merge import merge
from atnet_jax.experiments.workdir import claim
from atnet_jax.training import trained

HERE = Environment("1 × cpu", {"atnet_jax": "0.2.0", "jax": "0.10.1"}, None)
THERE = Environment("1 × gpu", {"atnet_jax": "0.2.0"}, {"commit": "abc", "modified": None})


@pytest.fixture
def whole() -> Record:
    """A record in which every field holds something."""
    return Record(
        config=json.loads(default_config("ststnet").to_json()),
        data=Data(33, "0123456789abcdef" * 4),
        init_from="ab" * 32,
        environment=HERE,
        command="python -m atnet_jax.main --config=configs/cde.py:ststnet",
        folds=Folds(("casme2/s1", "samm/s1", "smic/ß"), (0, 2)),
        notes=("Control run.",),
        excluded=(Exclusion("samm", "006/1", "no apex"),),
        preparation={"casme2": {"face": "mtcnn"}},
        size={"parameters": 1683},
        merged=(Part("/runs/a", "0", HERE, "…"), Part("/runs/b", "2", THERE, "…")),
    )


def test_a_record_is_read_back(whole, tmp_path):
    whole.write(tmp_path)
    assert read(tmp_path) == whole
    assert (whole.protocol, whole.model, whole.seed) == ("cde", "ststnet", 0)
    assert (whole.is_partial, whole.selection) == (True, "0,2")


READERS = {
    "resume": lambda run, new: claim(run, new),
    "report": lambda run, _: load_run(run),
    "merge": lambda run, _: merge([run], run.parent / "out"),
    "predict and export": lambda run, _: trained.load_networks(run),
    "read": lambda run, _: read(run),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_run_of_version_0_1_0_is_refused_by_all_who_read_it(reader, whole, tmp_path):
    """Its records had no number."""
    run = tmp_path / "run"
    run.mkdir()
    old = {
        "config": {"protocol": "cde", "model": "ststnet", "seeds": [0], "learning_rate": 0.1},
        "data": {"clips": 3, "sha256": "0"},
        "init_from": None,
        "environment": {"device": "1 × cpu", "versions": {"atnet_jax": "0.1.0"}, "git": None},
        "command": "python -m atnet_jax.main",
        "folds": {"all": [[0, "casme2/s1"]], "run": [0]},
    }
    (run / FILE).write_text(json.dumps(old))
    with pytest.raises(UserError) as refused:
        reader(run, whole)
    assert str(refused.value) == (
        f"{run} was created by atnet_jax 0.1.0, whose settings have other names. Open it with that"
        " version, or train again in a new --workdir."
    )
    assert sorted(tmp_path.iterdir()) == [run]


def test_a_folder_without_a_record_holds_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(UserError, match=rf"^{folder} holds no run: it has no config\.json\."):
            read(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": 3}, "config must be an object, found a whole number"),
        ({"config": {"model": "ststnet"}}, r"config\.task must be a string, found null"),
        (
            {
                "config": {
                    "task": "evaluate",
                    "protocol": "cde",
                    "model": "ststnet",
                    "options": {},
                    "seeds": [0, 1],
                }
            },
            r"config\.seeds must be one seed",
        ),
        ({"data": {"clips": 36}}, r"data\.sha256 is missing"),
        ({"data": {"clips": True, "sha256": ""}}, r"data\.clips must be a whole number, found"),
        ({"init_from": 3}, "init_from must be a string"),
        ({"environment": []}, "environment must be an object, found a list"),
        ({"notes": ["a", 3]}, r"notes\[1\] must be a string, found a whole number"),
        ({"excluded": [{"dataset": "a", "clip": "b"}]}, r"excluded\[0\]\.reason is missing"),
        ({"command": None}, "command must be a string, found null"),
        ({"folds": {"names": ["a"], "run": [1]}}, r"folds\.run must be ascending numbers of"),
        ({"format": 1, "environment": {}}, "format must be 2"),
    ],
)
def test_errors_in_a_record_are_named(changes, message, whole, tmp_path):
    whole.write(tmp_path)
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**content, **changes}))
    with pytest.raises(UserError) as refused:
        read(tmp_path)
    assert refused.match(rf"^{tmp_path / FILE} is damaged or is not the record of a run: {message}")
    assert refused.match("Restore the file, or train again in a new --workdir")


@pytest.mark.parametrize(
    "content", [b"", b'{"config": {"model": "stst', b"\xff\xfe", b"[]", b"{}", b"[" * 100_000]
)
def test_other_files_are_rejected_and_left_unchanged(content, whole, tmp_path):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(UserError, match="is damaged or is not the record of a run"):
        claim(tmp_path, whole)
    assert (tmp_path / FILE).read_bytes() == content


def places(value: Any, above: tuple = ()) -> Iterator[tuple]:
    """The ways to all values inside a JSON value."""
    if isinstance(value, dict | list):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*above, key)
            yield from places(below, (*above, key))


def damaged(content: dict) -> Iterator[bytes]:
    """Each value left out or replaced; the whole file cut and overwritten at some places."""
    for place in places(content):
        for other in (None, True, -1, 1.5, float("nan"), "\ud800", [], {}, ...):
            mutant = copy.deepcopy(content)
            inside = mutant
            for key in place[:-1]:
                inside = inside[key]
            if other is ...:
                del inside[place[-1]]
            else:
                inside[place[-1]] = other
            yield json.dumps(mutant).encode()
    data = json.dumps(content).encode()
    rng = random.Random(0)
    for _ in range(200):
        cut = rng.randrange(len(data))
        yield data[:cut]
        yield data[:cut] + rng.randbytes(3) + data[cut + 3 :]


def test_damage_of_any_kind_is_a_user_error(whole, tmp_path):
    """A small record: of the settings, those that a reader looks at."""
    settings = {
        name: whole.config[name] for name in ("task", "protocol", "model", "seeds", "options")
    }
    config = {**settings, "folds": "0,2", "shuffle_labels": False}
    run = tmp_path / "run"
    run.mkdir()
    Record(**{**vars(whole), "config": config}).write(run)
    (run / "checkpoints").touch()  # A workdir in which nothing was trained takes another run.
    refused = accepted = 0
    for content in damaged(json.loads((run / FILE).read_text())):
        (run / FILE).write_bytes(content)
        try:
            assert read(run).identity()
        except UserError:
            refused += 1
            others = READERS
        else:
            accepted += 1
            others = READERS if accepted % 50 == 0 else {}
        for name, reader in others.items():
            try:
                reader(run, whole)
            except UserError:
                continue
            assert name == "read", f"{name} of an unfinished run of other settings: {content}"
    assert refused > 500
    assert accepted > 50


def test_runs_are_found_in_the_order_of_their_seeds(tmp_path):
    for folder in ("b/seed_10", "b/seed_2", "a"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / FILE).write_text("{}")
    found = [path.relative_to(tmp_path).as_posix() for path in run_folders(tmp_path)]
    assert found == ["a", "b/seed_2", "b/seed_10"]


def test_the_environment_of_an_earlier_version_is_read(whole, tmp_path):
    whole.write(tmp_path)
    content = json.loads((tmp_path / FILE).read_text())
    for name in ("processor", "platform", "threads", "xla_flags"):
        assert content["environment"].pop(name) is None
    (tmp_path / FILE).write_text(json.dumps(content))
    assert read(tmp_path) == whole
