import dataclasses

import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.evaluation import statistics
from atnet_jax.evaluation.inflation import inflated_figures
from atnet_jax.evaluation.report.study import compare_all, groups_of, inflation, sort_into_methods
from atnet_jax.evaluation.runs import load_run
from atnet_jax.published import TABLE_METHODS
from tests.evaluation.report.workdirs import clips, predict, write_run


@pytest.fixture
def runs(tmp_path):
    """Writes a run and reads it, under a new name each time."""
    made = []

    def run(method="fusion", **options):
        made.append(load_run(write_run(tmp_path / f"run{len(made)}", method, **options)))
        return made[-1]

    return run


def labels(*runs):
    return [method.label for method in sort_into_methods(runs)]


def test_runs_that_differ_in_the_seed_are_one_method(runs):
    one, two = runs(seed=5), runs(seed=2)
    (method,) = sort_into_methods([one, two])
    assert method.label == "ATNet fusion"
    assert method.seeds == [2, 5]
    values = [run.metrics["samm"]["uf1"] for run in (one, two)]
    assert values[0] != values[1]
    assert method.summary["samm"].uf1.mean == pytest.approx(np.mean(values))
    assert method.summary["samm"].uf1.sd == pytest.approx(np.std(values, ddof=1))


def test_settings_without_effect_do_not_separate_methods(runs):
    here = {
        "data.dir": "/here", "engine.checkpoint_every": 1, "engine.folds_per_batch": 1,
        "init_from": "/w",
    }  # fmt: skip
    weights = "ab" * 32
    one = runs(seed=0, init_from=weights)
    assert labels(one, runs(seed=1, settings=here, init_from=weights)) == ["ATNet fusion"]


def test_methods_are_labelled_with_their_differences(runs):
    base = runs()
    assert labels(base, runs(settings={"recipe.learning_rate": 0.5})) == [
        "ATNet fusion (learning_rate=0.01)",
        "ATNet fusion (learning_rate=0.5)",
    ]
    assert labels(base, runs(options={"fusion": "score"})) == [
        "ATNet fusion (fusion=feature)",
        "ATNet fusion (fusion=score)",
    ]
    assert labels(base, runs(data={"sha256": "f" * 64})) == [
        "ATNet fusion (data=0123456789ab)",
        "ATNet fusion (data=ffffffffffff)",
    ]
    assert labels(base, runs(init_from="ab" * 32)) == [
        "ATNet fusion (weights=abababababab)",
        "ATNet fusion (weights=random)",
    ]
    assert labels(base, runs("temporal"), runs("ststnet"), runs(protocol="hde")) == [
        "ATNet temporal",
        "ATNet fusion",
        "STSTNet",
        "ATNet fusion",
    ]


def test_long_lists_of_differences_are_cut_and_labels_stay_unlike(runs):
    many = {name: 7 for name in ("a", "b", "c", "d", "e")}
    found = labels(runs(), runs(settings=many), runs(settings={**many, "e": 8}))
    assert sorted(found) == [
        "ATNet fusion (a=7, b=7, c=7, and 2 more settings)",
        "ATNet fusion (a=7, b=7, c=7, and 2 more settings, number 2)",
        "ATNet fusion (a=unset, b=unset, c=unset, and 2 more settings)",
    ]


def test_the_same_run_twice_is_refused(runs):
    one, two = runs(), runs(settings={"data.dir": "/elsewhere"})
    with pytest.raises(
        UserError, match=r"run0 and .*run1 hold the same run: cde of fusion, seed 0"
    ):
        sort_into_methods([one, two])


def test_seeds_with_other_clips_are_refused_by_name(runs):
    one, two = runs(seed=0), runs(seed=1, tested=clips(each=3))
    with pytest.raises(UserError, match=r"run0, .*run1: Clip casme2/s0/c3 is predicted for seed 0"):
        sort_into_methods([one, two])


def test_controls_and_partial_runs_say_so(runs):
    shuffled = {"shuffle_labels": True}
    controls = [runs(seed=s, settings=shuffled, data={"sha256": str(s) * 64}) for s in (0, 1)]
    partial = runs(settings={"folds": "0:9"}, data={"clips": 50})
    assert labels(runs(), *controls, partial) == [
        "ATNet fusion",
        "ATNet fusion (control with shuffled labels)",
        "ATNet fusion (only folds 0:9)",
    ]


def test_methods_come_in_the_order_of_the_papers_table(runs):
    found = [runs(name) for name in ("ststnet", *reversed(TABLE_METHODS))]
    methods = sort_into_methods(found)
    assert [method.paper_row for method in methods[:3]] == [
        "LBP-TOP {3,3,3,4} TIM 10",
        "LBP-TOP {3,3,3,8} TIM 10",
        "LBP-TOP {3,3,3,4} TIM 64",
    ]
    assert [method.label for method in methods[-3:]] == [
        "ATNet temporal",
        "ATNet fusion",
        "STSTNet",
    ]
    assert len(methods) == 13


def test_groups_are_those_of_the_papers_table_and_then_others(runs):
    databases = ("smic", "lab", "casme2")
    cde = sort_into_methods([runs(tested=clips(databases=databases))])
    assert groups_of("cde", cde) == ["full", "casme2", "smic", "lab"]
    assert groups_of("hde", cde) == ["casme2", "smic", "lab"]


def test_all_pairs_are_compared_on_all_clips(runs):
    methods = sort_into_methods([runs(), runs("temporal", right=0.9), runs("ststnet", right=0.2)])
    pairs, refused = compare_all(methods)
    assert not refused
    assert [(pair.first.label, pair.second.label, pair.group) for pair in pairs] == [
        ("ATNet temporal", "ATNet fusion", "full"),
        ("ATNet temporal", "STSTNet", "full"),
        ("ATNet fusion", "STSTNet", "full"),
    ]
    assert pairs[1].tests == statistics.compare(methods[0].predictions, methods[2].predictions)


def test_hde_compares_on_each_database_held_out(runs):
    methods = sort_into_methods([runs(protocol="hde"), runs("temporal", protocol="hde")])
    pairs, _ = compare_all(methods)
    assert [pair.group for pair in pairs] == ["casme2", "samm", "smic"]
    of_samm = [[row for row in m.predictions if row.dataset == "samm"] for m in methods]
    assert pairs[1].tests == statistics.compare(*of_samm)
    assert pairs[1].tests.clips == 12


def test_methods_with_different_test_clips_are_not_compared(runs):
    other_label = [(*row[:3], (row[3] + 1) % 3) if row[2] == "c0" else row for row in clips()]
    for second, reason in (
        (runs("temporal", tested=clips(each=5)), "Clip casme2/s0/c4 is in the first predictions"),
        (runs("spatial", tested=other_label), r"Clip casme2/s0/c0 (seed 0) is"),
        (runs("ststnet", seed=1), "no seed in common"),
    ):
        pairs, refused = compare_all(sort_into_methods([runs(), second]))
        assert pairs == []
        assert len(refused) == 1
        assert reason in refused[0]
        assert second.paper_row is None or f"First {second.paper_row}, second" in refused[0]


def test_inflation_is_the_mean_over_seeds(runs):
    both = [runs(seed=seed, epochs=5) for seed in (0, 1)]
    (method,) = sort_into_methods(both)
    found = inflation(method, ["full", "samm"])
    singles = [inflated_figures(run.predictions, run.epoch_scores) for run in both]
    for kind in ("honest", "picked_once", "picked_by_fold"):
        uf1, uar = getattr(found["samm"], kind)
        expected = [getattr(single, kind)["samm"] for single in singles]
        assert uf1 == pytest.approx(np.mean([scores["uf1"] for scores in expected]))
        assert uar == pytest.approx(np.mean([scores["uar"] for scores in expected]))
    assert found["full"].picked_by_fold[0] > found["full"].honest[0]


def test_inflation_needs_the_scores_of_every_seed(runs):
    (method,) = sort_into_methods([runs(seed=0, epochs=5), runs(seed=1)])
    assert inflation(method, ["full"]) == {}


def test_epoch_scores_of_another_run_are_refused_by_name(runs):
    run, other = runs(epochs=5), runs("temporal", rows=predict(clips(), right=0.1), epochs=5)
    run = dataclasses.replace(run, epoch_scores=other.epoch_scores)
    (method,) = sort_into_methods([run])
    with pytest.raises(UserError, match=r"run0: The scores of fold"):
        inflation(method, ["full"])
