"""The page of a reproducibility study, of runs that are written at once."""

import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.evaluation.report import reproducibility, write_reproducibility
from atnet_jax.evaluation.runs import load_run
from tests.evaluation.report.page_reader import check
from tests.evaluation.report.workdirs import clips, predict, write_run

TESTED = clips()
SEEDS = (0, 1, 2, 3)


def write_study(root, protocol="cde", right=0.6):
    """Runs of two sources; another seed changes some predictions."""
    folders = {}
    for number, source in enumerate(("all", "order", "dropout")):
        folders[source] = []
        for seed in SEEDS if source == "all" else SEEDS[1:]:
            varied = ["order", "weights", "dropout"] if source == "all" else [source]
            rows = predict(
                TESTED, protocol=protocol, seed=seed, right=right,
                rng=np.random.default_rng([number, seed]),
            )  # fmt: skip
            settings = {"varied": varied, "fixed_seed": 0}
            folder = root / source / f"seed_{seed}"
            write_run(folder, seed=seed, protocol=protocol, rows=rows, settings=settings)
            folders[source].append(folder)
    return folders


@pytest.fixture(scope="module", params=["cde", "hde"])
def study(request, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("study")
    folders = write_study(tmp_path, request.param)
    write_reproducibility(folders, ["weights"], tmp_path / "report.html")
    runs = {source: [load_run(folder) for folder in own] for source, own in folders.items()}
    for source in ("order", "dropout"):
        runs[source].insert(0, runs["all"][0])
    return request.param, runs, check((tmp_path / "report.html").read_text()), tmp_path


ROWS = {"all": "all together", "order": "order of the clips", "dropout": "dropout"}
TITLES = {"full": "Full", "casme2": "CASME II", "samm": "SAMM", "smic": "SMIC"}


def short(value: float) -> str:
    return (f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}").replace("-", "−")


def test_the_variances_are_those_of_numpy(study):
    protocol, runs, page, _ = study
    groups = [*(["full"] if protocol == "cde" else []), "casme2", "samm", "smic"]
    for metric, name in (("uf1", "UF1"), ("uar", "UAR")):
        _, *table = page.tables[f"Variance of {name} over seeds"]
        expected = []
        for group in groups:
            scores = {k: [run.metrics[group][metric] for run in own] for k, own in runs.items()}
            found = {source: np.var(own, ddof=1) for source, own in scores.items()}
            for source, words in ROWS.items():
                share = f"{short(100 * found[source] / found['all'])} %"
                expected.append(
                    [
                        *(TITLES[group], words, f"{np.mean(scores[source]):.3f}"),
                        *(f"{np.std(scores[source], ddof=1):.4f}", short(1e4 * found[source])),
                        *("–" if source == "all" else share, "4"),
                    ]
                )
            rest = found["all"] - found["order"] - found["dropout"]
            rests = (short(1e4 * rest), f"{short(100 * rest / found['all'])} %")
            expected.append([TITLES[group], "remainder", "–", "–", *rests, "–"])
        # The page merges the names of databases, and intervals follow the numbers.
        rows = [row[-6:] for row in table]
        shown = [[cell.partition(" [")[0] for cell in row] for row in rows]
        assert shown == [row[1:] for row in expected]


def test_clips_that_change_are_counted(study):
    _, runs, page, _ = study
    _, *table = page.tables["Clips whose predicted class depends on the seed"]
    for row, (source, own) in zip(table, runs.items(), strict=True):
        predicted = [[one.predicted for one in run.predictions] for run in own]
        changed = sum(len(set(column)) > 1 for column in zip(*predicted, strict=True))
        assert row[:4] == [ROWS[source], "4 runs", str(changed), str(len(TESTED))]


def test_every_run_is_on_the_page(study):
    protocol, runs, page, _ = study
    table = page.tables["UF1 of every run"]
    assert table[0][2:] == list(ROWS.values())
    group = "full" if protocol == "cde" else "casme2"
    for number, row in enumerate(table[1:5]):
        scores = [f"{own[number].metrics[group]['uf1']:.3f}" for own in runs.values()]
        assert row[-4:] == [str(number), *scores]
    # As dots too: of every run in every row.
    dots = [svg.count("circle") for svg in page.svgs]
    assert dots == [12] if protocol == "cde" else [12] * 3


def test_what_has_no_effect_is_said_and_not_listed(study):
    _, _, page, root = study
    assert "No effect: initial weights." in page.text
    assert "initial weights" not in str(page.tables["Variance of UF1 over seeds"])
    assert "interval over subjects" in page.text
    for name in ("report.md", "report.tex"):
        text = (root / name).read_text()
        assert "remainder" in text and "Variance of UF1 over seeds" in text


def test_runs_that_all_agree_have_no_shares(tmp_path):
    folders = write_study(tmp_path, right=1.0)
    write_reproducibility(folders, [], tmp_path / "report.html")
    page = check((tmp_path / "report.html").read_text())
    first = page.tables["Variance of UF1 over seeds"][1]
    assert first[1:] == ["all together", "1.000", "0.0000", "0 [–]", "–", "4"]
    assert "No effect" not in page.text


@pytest.mark.parametrize(
    ("over_subjects", "over_seeds", "words"),
    [
        (0.2, 0.1, "Subjects matter more"),
        (0.1, 0.2, "Seeds matter more"),
        (0.1, 0.13, "about equally"),
        (0.1, 0.0, "Subjects matter more"),
    ],
)
def test_seeds_and_subjects_are_compared_in_words(over_subjects, over_seeds, words):
    assert words in reproducibility._verdict(over_subjects, over_seeds)


def test_another_file_is_not_overwritten(tmp_path):
    folders = write_study(tmp_path)
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(UserError, match="is not a report"):
        write_reproducibility(folders, [], tmp_path / "report.html")
