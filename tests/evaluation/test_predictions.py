import dataclasses

import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.evaluation import predictions
from atnet_jax.evaluation.predictions import Prediction

HEADER = (
    "protocol,fold,dataset,subject,clip,label,predicted,"
    "score_negative,score_positive,score_surprise,seed"
)
ROW = "cde,3,casme2,01,EP02_01f,0,2,0.25,0.25,0.5,7"


def prediction(**changes):
    values = {
        "protocol": "cde",
        "fold": 0,
        "dataset": "casme2",
        "subject": "01",
        "clip": "EP02_01f",
        "label": 0,
        "predicted": 0,
        "score_negative": 0.5,
        "score_positive": 0.25,
        "score_surprise": 0.25,
        "seed": 0,
    }
    return Prediction(**{**values, **changes})


def random_predictions(count=300):
    rng = np.random.default_rng(0)
    # Powers spread the scores from 1 down to where float32 has few digits left.
    weights = rng.random((count, 3), dtype=np.float32) ** rng.integers(1, 60, (count, 1))
    scores = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return [
        prediction(
            seed=int(rng.integers(3)),
            fold=int(rng.integers(12)),
            dataset=("smic", "samm")[i % 2],
            subject=f"{i % 7:02d}",
            clip=f"clip {i}",
            label=int(rng.integers(3)),
            predicted=int(scores[i].argmax()),
            score_negative=float(scores[i, 0]),
            score_positive=float(scores[i, 1]),
            score_surprise=float(scores[i, 2]),
        )
        for i in range(count)
    ]


def test_predictions_are_read_back_exactly(tmp_path):
    rows = random_predictions()
    predictions.write(tmp_path / "p.csv", rows)
    back = predictions.read(tmp_path / "p.csv")
    assert sorted(back, key=str) == sorted(rows, key=str)
    for row in back:
        assert row.scores == tuple(float(np.float32(score)) for score in row.scores)
    assert min(min(row.scores) for row in rows) < 1e-12


def test_scores_are_rounded_to_float32():
    row = prediction(score_negative=0.1, score_positive=0.2, score_surprise=0.7)
    assert row.scores == tuple(float(np.float32(score)) for score in (0.1, 0.2, 0.7))
    assert row.score_negative != 0.1


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "@a",
        "-1",
        "+2",
        "\t=1",
        "''=",
        'a "quoted", name',
        "двa 漢",
        "a\nb",
        "a\rb",
        "a\r\nb",
        " a ",
        "'",
    ],
)
def test_names_are_kept_as_they_are(tmp_path, name):
    row = prediction(dataset=name, subject=name, clip=name)
    predictions.write(tmp_path / "p.csv", [row])
    assert predictions.read(tmp_path / "p.csv") == [row]


def test_no_name_is_a_formula_in_a_spreadsheet(tmp_path):
    row = prediction(dataset="=1+1", subject="+2", clip="sub=1")
    predictions.write(tmp_path / "p.csv", [row])
    assert "cde,0,'=1+1,'+2,sub=1,0" in (tmp_path / "p.csv").read_text()


def test_the_order_of_the_rows_given_does_not_matter(tmp_path):
    rows = random_predictions()
    predictions.write(tmp_path / "a.csv", rows)
    predictions.write(tmp_path / "b.csv", reversed(rows))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    order = [
        (row.seed, row.fold, row.dataset, row.subject, row.clip)
        for row in predictions.read(tmp_path / "a.csv")
    ]
    assert order == sorted(order)


def test_the_file_is_plain_csv(tmp_path):
    predictions.write(tmp_path / "p.csv", [prediction(score_negative=0.1, score_surprise=0.65)])
    assert (tmp_path / "p.csv").read_bytes().decode() == (
        f"{HEADER}\ncde,0,casme2,01,EP02_01f,0,0,0.100000001,0.25,0.649999976,0\n"
    )


def test_a_clip_may_recur_under_another_seed_or_protocol_but_not_under_the_same(tmp_path):
    path = tmp_path / "p.csv"
    predictions.write(path, [prediction(), prediction(seed=1), prediction(protocol="hde")])
    assert len(predictions.read(path)) == 3
    with pytest.raises(ValueError, match="casme2/01/EP02_01f is predicted twice"):
        predictions.write(path, [prediction(), prediction(fold=4)])
    with pytest.raises(ValueError, match="no predictions"):
        predictions.write(path, [])
    assert len(predictions.read(path)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 3}, r"label must be one of 0 \(negative\), 1 \(positive\), 2 \(surprise\)"),
        ({"predicted": -1}, "predicted must be one of"),
        ({"fold": -1}, "fold must be 0 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"clip": " "}, "clip is empty"),
        ({"score_negative": float("nan")}, "score_negative must be a probability"),
        ({"score_negative": 1.5}, "score_negative must be a probability"),
        ({"score_negative": 0.6}, "must sum to 1, found 1.1"),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        prediction(**changes)


def test_predictions_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction().label = 1  # pyright: ignore


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no predictions. Expected a header"),
        (f"{HEADER}\n", "contains no predictions. Expected a header"),
        (f"{HEADER.replace('fold', 'Fold')}\n{ROW}\n", "row 1: expected the columns protocol,fold"),
        (f"{HEADER},extra\n{ROW},1\n", "row 1: expected the columns"),
        (f"{HEADER}\n{ROW}\n\n", "row 3: expected 11 cells, found 0"),
        (f"{HEADER}\n{ROW},9\n", "row 2: expected 11 cells, found 12"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "row 3: clip casme2/01/EP02_01f is already in row 2"),
        (f"{HEADER}\n{ROW.replace(',0,2,', ',0.0,2,')}\n", "row 2: label must be a whole number"),
        (f"{HEADER}\n{ROW.replace(',0,2,', ',0,3,')}\n", "row 2: predicted must be one of"),
        (f"{HEADER}\n{ROW.replace('0.5', 'nan')}\n", "row 2: score_surprise must be a decimal"),
        (f"{HEADER}\n{ROW.replace('0.5', '0_5')}\n", "row 2: score_surprise must be a decimal"),
        (f"{HEADER}\n{ROW.replace('0.5', '0.4')}\n", "row 2: the three scores must sum to 1"),
        (f"{HEADER}\n{ROW.replace(',7', ',')}\n", "row 2: seed must be a whole number, found ''"),
        (f"{HEADER}\n{ROW.replace('casme2', '')}\n", "row 2: dataset is empty"),
        (f"{HEADER}\n{ROW.replace('casme2', chr(34) + 'cas')}\n", "row 2: invalid CSV"),
        (f"{HEADER}\n{ROW.replace(',3,', ',' + '9' * 30 + ',')}\n", "row 2: fold must be"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_file_and_row(tmp_path, text, message):
    path = tmp_path / "predictions.csv"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(UserError) as caught:
        predictions.read(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_files_that_are_no_text_or_not_there(tmp_path):
    with pytest.raises(
        UserError, match=r"Cannot read the predictions in .*absent\.csv: No such file"
    ):
        predictions.read(tmp_path / "absent.csv")
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match=r"image\.csv is not UTF-8 text"):
        predictions.read(tmp_path / "image.csv")


def test_a_file_saved_by_a_spreadsheet_program_is_read(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{ROW}\r\n".encode())
    assert predictions.read(path)[0].scores == (0.25, 0.25, 0.5)
