"""Connection between the server and the trained networks, with stand-ins for the networks."""

import types
from pathlib import Path

import pytest

from atnet_jax.errors import UserError
from atnet_jax.inference import predict
from atnet_jax.inference.predict.answers import Answer
from atnet_jax.inference.predict.caveats import Caveat
from atnet_jax.inference.serve import guard, networks

NETWORKS = types.SimpleNamespace(
    config=types.SimpleNamespace(model="fusion"), names=("all subjects",), notes=("a control",)
)


@pytest.fixture
def asked(monkeypatch):
    """Requests to the networks, which answer that they found nothing."""
    asked = []

    def answer(path, trained, options, progress):
        asked.append((path, trained, options))
        progress("reading")
        progress("reading 1/40")
        progress("a stage to come")
        return Answer(
            clip=str(path),
            frames=40,
            frame_rate=200.0,
            expressions=[],
            course=None,
            watched=None,
            warnings=[Caveat("dark", "The face is <dark>.")],
            model={
                "method": "fusion",
                "networks": 1,
                "trained_on": ["casme2"],
                "flow": "farneback",
                "digest": "0" * 64,
            },
            seconds={"reading": 0.5},
        )

    monkeypatch.setattr(networks.trained, "load_networks", lambda workdir: NETWORKS)
    monkeypatch.setattr(networks.predict, "predict_clip", answer)
    return asked


def test_a_clip_and_its_options_reach_the_networks(asked):
    about, answer = networks.prepare("runs/final")
    assert about["networks"] == "1 trained network of the method fusion, from the run final."
    assert about["notes"] == ["a control"]
    assert ".scores" in about["style"]
    path, options = Path("/tmp/upload/clip.avi"), {"apex": 3, "face": "none", "explain": True}
    stages = []
    answer(path, options, "json", stages.append)
    assert asked == [(path, NETWORKS, predict.Options(apex=3, face="none", explain=True))]
    assert stages == ["Reading the frames", "Reading the frames 1/40", "a stage to come"]


def test_the_forms_of_an_answer_do_not_tell_where_the_upload_lay(asked):
    _, answer = networks.prepare("runs/final")
    path = Path("/tmp/upload/clip.avi")
    told = answer(path, {}, "json", lambda stage: None)
    assert told["clip"] == "clip.avi"
    assert told["frames"] == 40
    page = answer(path, {}, "page", lambda stage: None)
    body = answer(path, {}, "body", lambda stage: None)
    assert page.startswith("<!DOCTYPE html>")
    assert body in page
    assert "The face is &lt;dark&gt;." in body
    assert "/tmp" not in page
    # The style of the page is let in, and there is nothing besides that would not be.
    assert guard.policy(page).count("'sha256-") == page.count("<style") == 1
    assert " style=" not in page


def test_a_folder_that_holds_no_run(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        networks.prepare(str(tmp_path))
