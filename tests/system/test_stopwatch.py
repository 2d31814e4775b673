import pytest

from atnet_jax.system import stopwatch
from atnet_jax.system.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where a test lets it."""

    class Clock:
        now = 0.0

        def wait(self, seconds: float) -> float:
            self.now += seconds
            return self.now

    clock = Clock()
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: clock.now)
    return clock


def test_a_second_belongs_to_the_innermost_stage(clock):
    watch = Stopwatch()
    clock.wait(1)
    with watch.stage("outer"):
        clock.wait(2)
        with watch.stage("inner"):
            clock.wait(4)
        clock.wait(8)
        with watch.stage("inner"):
            clock.wait(16)
    clock.wait(32)
    assert watch.seconds == {"outer": 10, "inner": 20}


def test_an_error_ends_a_stage(clock):
    watch = Stopwatch()
    with watch.stage("outer"):
        with pytest.raises(ValueError), watch.stage("inner"):
            clock.wait(1)
            raise ValueError
        clock.wait(2)
    assert watch.seconds == {"outer": 2, "inner": 1}


def test_times_add_up(clock):
    watch = Stopwatch()
    watch.add({"a": 1.5})
    watch.add({"a": 1.0, "b": 2.0})
    assert watch.seconds == {"a": 2.5, "b": 2.0}
