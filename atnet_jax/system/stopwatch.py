"""Measurement of the time that each stage takes."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """Time of one thread by stage; nested time counts for the innermost stage only.

    Attributes:
        seconds: Seconds by name of the stage.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stage, self._since = "", 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of the block to the stage `name`."""
        outer = self._change(name)
        try:
            yield
        finally:
            self._change(outer)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add the seconds of another stopwatch, by name of the stage."""
        for stage, time_taken in seconds.items():
            self.seconds[stage] += time_taken

    def _change(self, name: str) -> str:
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] += now - self._since
        outer, self._stage, self._since = self._stage, name, now
        return outer
