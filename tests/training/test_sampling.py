import numpy as np
import pytest

from atnet_jax.training.sampling import epoch_batches, one_pass

LABELS = np.array([0] * 10 + [1] * 4 + [2] * 3)


def test_balanced_pass_has_every_clip_and_equal_classes():
    samples = one_pass(LABELS, True, seed=0, fold=3, number=0)
    assert np.bincount(LABELS[samples]).tolist() == [10, 10, 10]
    assert set(samples) == set(range(17))
    majority = samples[LABELS[samples] == 0]
    assert len(set(majority)) == 10  # The largest class is not resampled.


def test_plain_pass_is_a_permutation():
    samples = one_pass(LABELS, False, seed=0, fold=3, number=0)
    assert sorted(samples) == list(range(17))
    assert samples.tolist() != sorted(samples)


def test_draws_depend_on_seed_fold_and_number_alone():
    def draw(**changes):
        return one_pass(LABELS, True, **{"seed": 1, "fold": 2, "number": 3, **changes}).tolist()

    assert draw() == draw()
    assert draw(seed=0) != draw()
    assert draw(fold=0) != draw()
    assert draw(number=0) != draw()


def batches(epoch: int, steps: int) -> list[np.ndarray]:
    return epoch_batches(
        LABELS, epoch=epoch, batch_size=8, steps=steps, balance=True, seed=0, fold=0
    )


def test_fixed_steps_cut_one_endless_row_of_passes():
    row = np.concatenate([one_pass(LABELS, True, 0, 0, k) for k in range(10)])
    for steps in (1, 5, 11):
        cut = np.concatenate([b for epoch in range(3) for b in batches(epoch, steps)])
        assert np.array_equal(cut, row[: 3 * steps * 8])
        assert [len(b) for b in batches(2, steps)] == [8] * steps


@pytest.mark.parametrize("epoch", [0, 5])
def test_whole_passes_end_with_the_remaining_samples(epoch):
    cut = batches(epoch, 0)
    assert [len(b) for b in cut] == [8, 8, 8, 6]
    assert np.array_equal(np.concatenate(cut), one_pass(LABELS, True, 0, 0, epoch))
