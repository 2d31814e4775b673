"""Check whether a copy can give the paper's composite."""

import dataclasses

import pytest

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.published import COMPOSITE, DATABASES
from data_builders.doctor import composite
from data_builders.doctor.composite import judge, read_list
from data_builders.doctor.findings import Checkup
from tests.data_builders.doctor.conftest import clip, found, texts, write_list


def whole_composite():
    """442 clips in the paper's numbers, under names of their own."""
    clips = []
    for database, expected in COMPOSITE.items():
        if database == "full":
            continue
        labels = [label for label, name in enumerate(CLASSES) for _ in range(expected[2 + label])]
        subjects = {
            "casme2": [f"sub{number:02d}" for number in range(1, expected.subjects + 1)],
            "samm": [str(number) for number in range(6, 6 + expected.subjects)],
            "smic": sorted(composite._SMIC_SUBJECTS),
        }[database]
        clips += [
            clip(f"{database}/{subjects[index % len(subjects)]}/c{index}", label)
            for index, label in enumerate(labels)
        ]
    return Checkup(tuple(DATABASES), clips)


NO_MATCH = "The clips do not match the composite:"


def lines(verdicts):
    return [verdict.line for verdict in verdicts.values()]


def test_the_whole_composite_by_numbers():
    checkup = whole_composite()
    checkup.add("jump", checkup.clips[0].key, "a warning does not count")
    verdicts = judge(checkup, None)
    assert [finding.kind for finding in checkup.findings] == ["jump"]
    matching = "The clip counts match the composite. No list of clips was passed."
    assert lines(verdicts) == [
        f"CASME II: 145 usable clips, 145 expected. {matching}",
        f"SAMM: 133 usable clips, 133 expected. {matching}",
        f"SMIC: 164 usable clips, 164 expected. {matching}",
        "The paper's composite: 442 usable clips, 442 expected. The clip counts match.",
    ]
    assert all(verdict.can for verdict in verdicts.values())


def test_clips_that_are_short_too_many_or_of_other_classes():
    checkup = whole_composite()
    positive = [clip for clip in checkup.clips if clip.dataset == "casme2" and clip.label == 1]
    for lost in positive[:2]:
        checkup.clips.remove(lost)
    checkup.clips.append(clip("samm/7/more", 2))
    changed = next(clip for clip in checkup.clips if clip.dataset == "smic" and clip.label == 0)
    checkup.clips[checkup.clips.index(changed)] = dataclasses.replace(changed, label=2)
    verdicts = judge(checkup, None)
    assert lines(verdicts) == [
        f"CASME II: 143 usable clips, 145 expected. {NO_MATCH} 2 clips too few (positive 30 of "
        "32).",
        f"SAMM: 134 usable clips, 133 expected. {NO_MATCH} 1 clip too many (surprise 16 of 15).",
        f"SMIC: 164 usable clips, 164 expected. {NO_MATCH} different class counts (negative 69 of "
        "70, surprise 44 of 43).",
        "The paper's composite: 441 usable clips, 442 expected. It cannot be reproduced because of "
        "CASME II, SAMM, SMIC.",
    ]
    assert [finding.kind for finding in checkup.findings] == ["counts"] * 3


def test_a_subject_that_is_absent():
    checkup = whole_composite()
    checkup.clips = [
        dataclasses.replace(clip, subject="s01") if clip.subject == "s20" else clip
        for clip in checkup.clips
    ]
    verdicts = judge(checkup, None)
    assert verdicts["smic"].line == (
        f"SMIC: 164 usable clips, 164 expected. {NO_MATCH} 15 of 16 subjects."
    )
    assert texts(checkup, "counts") == ["15 of 16 subjects; subjects without clips: s20"]


def test_a_clip_with_errors_does_not_count():
    checkup = whole_composite()
    checkup.add("zero_flow", checkup.clips[0].key, "ADM")
    assert judge(checkup, None)["casme2"].line == (
        f"CASME II: 144 usable clips, 145 expected. {NO_MATCH} 1 clip too few (negative 87 of 88); "
        "1 clip with errors."
    )


def test_a_database_that_was_not_looked_at():
    checkup = whole_composite()
    checkup.databases = ("samm",)
    checkup.clips = [clip for clip in checkup.clips if clip.dataset == "samm"]
    verdicts = judge(checkup, None)
    assert lines(verdicts)[2:] == [
        "SMIC was not checked.",
        "The paper's composite: 133 usable clips, 442 expected. Not checked: CASME II, SMIC.",
    ]
    assert (verdicts["samm"].can, verdicts["smic"].can, verdicts["full"].can) == (True, None, None)


def test_differences_in_a_small_list_are_named(tmp_path):
    listed = read_list(
        write_list(
            tmp_path / "list.csv",
            [
                "casme2,sub01,a,1,img59.jpg",
                "casme2,sub01,b,0,img7.jpg",
                "casme2,sub02,c,2,",
                "casme2,sub02,d,0,reg_img0012.jpg",
                "samm,28,028_4_1,0,028_1103.jpg",
            ],
        )
    )
    clips = [clip("casme2/sub01/a", 1, 59), clip("casme2/sub01/b", 2, 7)]
    clips += [clip("casme2/sub02/d", 0, 13), clip("casme2/sub02/e", 0)]
    checkup = Checkup(("casme2",), clips)
    verdicts = judge(checkup, listed)
    told = {(finding.kind, finding.clip, finding.found) for finding in checkup.findings}
    assert {row for row in told if row[0] != "counts"} == {
        ("other_label", "casme2/sub01/b", "label 2, expected 0"),
        ("missing", "casme2/sub02/c", "its class in the list is surprise"),
        ("other_apex", "casme2/sub02/d", "apex 13, expected 12"),
        ("extra", "casme2/sub02/e", "the list does not contain it"),
    }
    assert verdicts["casme2"].line.endswith(
        "; compared with the list: 1 missing, 1 extra, 1 with a different label."
    )


def test_a_list_of_other_clips(tmp_path):
    listed = read_list(write_list(tmp_path / "list.csv", ["CASME2,sub01,a,1,img59.jpg"]))
    checkup = Checkup(("casme2",), [clip("casme2/sub01/a", 1)])
    judge(checkup, listed)
    assert ("other_list", "list") in found(checkup)
    assert texts(checkup, "other_list") == ["it has no clips of casme2"]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (
            "dataset,subject,clip",
            "a,b,c",
            "lacks the column label. Expected dataset,subject,clip,label",
        ),
        ("dataset,subject,clip,label", "a,b,c,3", "row 2: label is '3', expected 0, 1, 2"),
        ("dataset,subject,clip,label", "a,b,,1", "row 2: clip is empty"),
        ("dataset,subject,clip,label", "a,b,c,1\na,b,c,1", "row 3: a/b/c is listed twice"),
        ("dataset,subject,clip,label,apex_frame_file", "a,b,c,1,apex", "is 'apex', expected a fra"),
        ("dataset,subject,clip,label", "", "The list has no clips"),
    ],
)
def test_a_list_that_cannot_be_used(header, row, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_list(write_list(tmp_path / "list.csv", [row], header))
    with pytest.raises(UserError, match=r"nowhere\.csv cannot be read"):
        read_list(tmp_path / "nowhere.csv")


def test_the_real_list(real_data):
    listed = read_list(real_data / "composite442.csv")
    clips = [clip(row.key, row.label, row.apex) for row in listed]
    checkup = Checkup(tuple(DATABASES), clips)
    verdicts = judge(checkup, listed)
    assert checkup.findings == []
    assert lines(verdicts) == [
        "CASME II: 145 usable clips, 145 expected. The clips match the composite's list.",
        "SAMM: 133 usable clips, 133 expected. The clips match the composite's list.",
        "SMIC: 164 usable clips, 164 expected. The clips match the composite's list.",
        "The paper's composite: 442 usable clips, 442 expected. The clips match the list.",
    ]
    # Known error in SAMM's sheet: the copy can give the 442 clips, but notes a different apex.
    (slip,) = [clip for clip in clips if clip.clip == "028_4_1"]
    assert slip.apex == 1103
    clips[clips.index(slip)] = dataclasses.replace(slip, apex=1113)
    # The same numbers under another name: only the list can tell.
    renamed = next(clip for clip in clips if clip.dataset == "smic" and clip.label == 1)
    clips[clips.index(renamed)] = dataclasses.replace(renamed, clip="s00_po_99")
    checkup = Checkup(tuple(DATABASES), clips)
    verdicts = judge(checkup, listed)
    assert found(checkup) == {
        ("other_apex", "samm/28/028_4_1"),
        ("missing", renamed.key),
        ("extra", f"smic/{renamed.subject}/s00_po_99"),
    }
    assert [verdicts[name].can for name in (*DATABASES, "full")] == [True, True, False, False]
    assert verdicts["smic"].line == (
        f"SMIC: 164 usable clips, 164 expected. {NO_MATCH} compared with the list: 1 missing, "
        "1 extra."
    )
