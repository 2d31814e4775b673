"""Findings in a record of prepared data."""

import numpy as np
import pytest

from data_builders.doctor.records import Examined, adm_alternation, examine
from tests.data_builders.doctor.conftest import (
    alternating_adm,
    healthy_adm,
    moved,
    png,
    record,
    texture,
)


def adm_with(rows, value):
    adm = healthy_adm()
    adm[rows] = value
    return adm


def window_with(change):
    window = np.stack([moved(texture(0, (224, 224)), 0.3 * n, 0) for n in range(10)])
    change(window)
    return png(window.reshape(-1, 224))


def repeat_frame(window):
    window[6] = window[5]


def shift_frame(window):
    window[6:] = [moved(frame, 12, 0) for frame in window[6:]]


def test_a_healthy_record():
    examined = examine(record())
    assert isinstance(examined, Examined)
    assert examined.found == []
    assert sorted(examined.clip.digests) == ["adm_sha256", "apex_sha256", "flow_map_sha256"]
    assert (examined.clip.onset, examined.clip.apex, examined.clip.offset) == (117, 120, 126)


def test_a_record_of_given_inputs_without_numbers_or_frames():
    unknown = dict.fromkeys(("onset", "apex_frame", "offset"), -1)
    absent = {"has_frames": False, "has_apex": False, "has_flow_map": False, "apex": b""}
    given = record(**unknown, **absent, crop_box=np.zeros(4, np.float32))
    for name in ("frames", "flow", "colour", "landmarks"):  # As in data of an older version.
        del given[name], given[f"has_{name}"]
    examined = examine(given)
    assert isinstance(examined, Examined)
    assert examined.found == []
    assert examined.clip.onset is None
    assert list(examined.clip.digests) == ["adm_sha256"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label": 3}, ("label", "label 3, expected 0, 1 or 2")),
        ({"label": -1}, ("label", "label -1, expected 0, 1 or 2")),
        ({"apex_frame": 117}, ("apex", "onset 117, apex 117, offset 126")),
        ({"apex_frame": 127}, ("apex", "onset 117, apex 127, offset 126")),
        ({"flow": np.full((224, 224, 2), np.inf, np.float32)}, ("not_finite", "flow")),
        ({"colour": b""}, ("unreadable", "the pictures in colour cannot be decoded")),
        ({"colour": png(texture(0, (224, 224)))},
         ("unreadable", "the shape of the pictures in colour is (224, 224)")),
        ({"apex": b"no picture"}, ("unreadable", "the apex picture cannot be decoded")),
        ({"apex": b""}, ("unreadable", "the apex picture cannot be decoded")),
        (
            {"apex": png(np.ones((9, 9), np.uint8))},
            ("unreadable", "the shape of the apex picture is (9, 9)"),
        ),
        ({"frames": b"x"}, ("unreadable", "the frames cannot be decoded")),
        ({"adm": np.zeros((64, 128), np.float32)}, ("zero_flow", "ADM")),
        ({"flow_map": np.zeros((28, 28, 3), np.float32)}, ("zero_flow", "flow map")),
        ({"flow_map": np.full((28, 28, 3), np.inf, np.float32)}, ("not_finite", "flow map")),
        ({"adm": adm_with((30, 3), np.nan)}, ("not_finite", "ADM")),
        ({"crop_box": np.array([0, np.nan, 1, 1], np.float32)}, ("not_finite", "crop box")),
        ({"adm": adm_with([29, 33], 0)}, ("still_rows", "rows 29, 33 of 29…37 have no motion")),
        # The flow of two equal frames, as Farnebäck's method has it.
        ({"adm": adm_with([37], 2e-5)}, ("still_rows", "rows 37 of 29…37 have no motion")),
        (
            {"adm": adm_with([28, 38, 43, 60], 0.1)},
            ("outside_rows", "rows 28, 38, 43, … (4 in all) have values, expected only 29…37"),
        ),
        ({"adm": np.ones((64, 9), np.float32)}, ("unreadable", "the shape of the ADM is (64, 9)")),
        ({"frames": window_with(repeat_frame)}, ("same_frames", "122→123")),
        ({"frames": window_with(shift_frame)}, ("jump", "122→123 are shifted by (+12, +0) pixels")),
    ],
)  # fmt: skip
def test_a_disease_of_a_record(changes, expected):
    examined = examine(record(**changes))
    assert isinstance(examined, Examined)
    assert examined.found == [expected]


def test_an_adm_that_flips_its_sign():
    examined = examine(record(adm=alternating_adm()))
    assert isinstance(examined, Examined)
    assert [kind for kind, _ in examined.found] == ["alternating"]


def test_frames_tell_of_alternation_where_there_is_no_adm():
    def alternate(window):
        window[::2] = [moved(frame, 1, 0) for frame in window[::2]]

    frames = window_with(alternate)
    told = examine(record(frames=frames, has_adm=False))
    assert isinstance(told, Examined)
    assert [kind for kind, _ in told.found] == ["alternating"]
    # Its ADM knows better.
    assert examine(record(frames=frames)).found == []


def test_the_released_smic_clips_alternate_and_no_others(real_data):
    with np.load(real_data / "adm_released.npz") as released:
        lags = {name: adm_alternation(released[name].astype(np.float32)) for name in released}
    assert len(lags) == 10
    smic = [value for name, value in lags.items() if name.startswith("smic")]
    assert len(smic) == 3
    assert all(value is not None and value[0] < -0.75 and value[1] > 0.75 for value in smic)
    assert all(value is None for name, value in lags.items() if not name.startswith("smic"))
