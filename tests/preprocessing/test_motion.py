import pytest

from atnet_jax.errors import UserError
from atnet_jax.names import FLOWS
from atnet_jax.preprocessing.motion import Motion, all_motions, motion_named


def test_every_motion_has_a_unique_name_and_is_found_by_it():
    motions = all_motions()
    assert len(motions) == 8 * len(FLOWS)
    assert [motion_named(motion.name) for motion in motions] == motions
    assert [motion.name for motion in motions[: len(FLOWS)]] == list(FLOWS)


def test_options_show_in_name_and_command():
    motion = Motion("paper", cancel_alternation=True, remove_head_motion=True)
    assert motion.name == "paper_steady_stabilised"
    assert motion.flags == "--flow=paper --cancel_alternation --remove_head_motion"
    assert motion.options == {
        "circular": False,
        "cancel_alternation": True,
        "remove_head_motion": True,
    }


def test_an_unknown_name_lists_methods_and_words():
    with pytest.raises(UserError, match=r"'paper_round'. .* paper, .*_circular, _steady, _stab"):
        motion_named("paper_round")
