import openpyxl

from data_builders.synthetic import clip_specs
from data_builders.synthetic.action_units import Activation, notation
from data_builders.synthetic.casme2 import Casme2


def test_casme2_sheet(tree):
    folder, specs = tree
    sheet = openpyxl.load_workbook(folder / "casme2" / "CASME2-coding-20140508.xlsx").worksheets[0]
    header, *rows = sheet.iter_rows(values_only=True)
    assert header == (
        "Subject",
        "Filename",
        None,
        "OnsetFrame",
        "ApexFrame",
        "OffsetFrame",
        None,
        "Action Units",
        "Estimated Emotion",
    )
    specs = [spec for spec in specs if spec.dataset == "casme2"]
    for row, spec in zip(rows, specs, strict=True):
        assert row[0] == spec.subject.removeprefix("sub") and isinstance(row[0], str)
        assert str(row[1]) == spec.clip
        assert row[3:6] == (spec.onset, spec.annotated_apex, spec.offset)
        assert row[8] == spec.emotion
    apexes = {row[4] for row in rows}
    assert "/" in apexes
    assert any(row[4] == row[3] for row in rows)
    emotions = {row[8] for row in rows}
    assert {"others", "sadness"} <= emotions and emotions & {"disgust", "repression"}
    assert {type(row[7]) for row in rows} <= {int, str}


def test_casme2_names_that_look_like_numbers(tmp_path):
    Casme2().write_annotation(tmp_path, clip_specs("casme2", 2, 2, 3))
    sheet = openpyxl.load_workbook(tmp_path / "CASME2-coding-20140508.xlsx").worksheets[0]
    names = [row[1] for row in sheet.iter_rows(values_only=True)]
    assert 1102 in names and "0902" in names


def test_samm_sheet(tree):
    folder, specs = tree
    sheet = openpyxl.load_workbook(folder / "samm" / "SAMM_Micro_FACS_Codes_v2.xlsx")["MICRO_ONLY"]
    rows = list(sheet.iter_rows(values_only=True))
    assert any(rows[0])
    assert rows[13] == (
        "Subject",
        "Filename",
        "Inducement Code",
        "Onset Frame",
        "Apex Frame",
        "Offset Frame",
        "Duration",
        "Micro",
        "Action Units",
        "Estimated Emotion",
        "Objective Classes",
        "Notes",
    )
    specs = [spec for spec in specs if spec.dataset == "samm"]
    for number, (row, spec) in enumerate(zip(rows[14:], specs, strict=True), start=15):
        assert row[0] == spec.subject == spec.clip.split("_")[0]
        assert row[1] == spec.clip
        assert row[2] == int(spec.clip.split("_")[1])
        assert row[3:6] == (spec.onset, spec.annotated_apex, spec.offset)
        assert row[6] == f"=F{number}-D{number}+1"
        assert row[9] == spec.emotion
    assert "Other" in {row[9] for row in rows[14:]}


def test_action_units_of_one_side_carry_the_persons_own_side():
    activations = [Activation(12, 0.0, 1.0), Activation(14, 0.5, 0.0), Activation(4, 1.0, 0.7)]
    assert notation(activations) == "L12+R14+4"
