"""Variances over seeds against textbook values and plain formulas."""

import numpy as np
import pytest

from atnet_jax.evaluation.variance import Estimate, agreement, remainder, share, variance


def standardised(count: int, deviation: float = 1.0) -> list[float]:
    """Numbers with this standard deviation (n − 1)."""
    values = np.random.default_rng(count).normal(size=count)
    return (values / values.std(ddof=1) * deviation).tolist()


def test_a_variance_has_a_chi_square_interval():
    found = variance(standardised(10, 2.0))
    assert found.value == pytest.approx(4.0)
    # Tables: chi-square with 9 degrees of freedom has the quantiles 2.700 and 19.023.
    assert found.interval == pytest.approx((36 / 19.023, 36 / 2.700), rel=1e-3)


def test_the_interval_of_a_variance_covers_it():
    rng = np.random.default_rng(0)
    intervals = [variance(sample).interval for sample in rng.normal(size=(2000, 6)).tolist()]
    covered = np.mean([low <= 1 <= high for low, high in intervals])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_a_share_has_an_f_interval():
    found = share(standardised(10, 1.0), standardised(10, 2.0))
    assert found.value == pytest.approx(0.25)
    # Table: F with 9 and 9 degrees of freedom exceeds 4.026 with probability 0.025.
    assert found.interval == pytest.approx((0.25 / 4.026, 0.25 * 4.026), rel=1e-3)
    unequal = share(standardised(6), standardised(11))
    # Tables: F(5, 10) exceeds 4.236, and F(10, 5) exceeds 6.619.
    assert unequal.interval == pytest.approx((1 / 4.236, 6.619), rel=1e-3)


def test_equal_scores_have_no_interval():
    same = [0.3] * 10
    assert np.var(same, ddof=1) > 0  # Of rounding alone.
    assert variance(same) == Estimate(0.0, None)
    assert share(same, standardised(3)) == Estimate(0.0, None)
    assert share(standardised(3), same) is None


def test_the_remainder_is_what_the_parts_leave():
    total, part = Estimate(10.0, (6.0, 22.0)), Estimate(4.0, (1.0, 9.0))
    found = remainder(total, [part, Estimate(0.0, None)])
    assert found.value == 6.0
    assert found.interval == pytest.approx(
        (6 - np.hypot(10 - 6, 9 - 4), 6 + np.hypot(22 - 10, 4 - 1))
    )
    assert remainder(part, [total]).value == -6.0
    assert remainder(Estimate(0.0, None), [Estimate(0.0, None)]) == Estimate(0.0, None)


def test_clips_that_change_are_counted():
    predicted = np.array([[0, 1, 2, 0], [0, 1, 1, 0], [0, 2, 2, 0]])
    found = agreement(predicted)
    assert found.changed == 2
    # Of four clips, the pairs of seeds differ in one, one and two.
    assert found.differing == pytest.approx((1 + 1 + 2) / 3 / 4)
