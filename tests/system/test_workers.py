import math
import os
import subprocess
import sys

import cv2
import pytest

from atnet_jax.errors import UserError
from atnet_jax.system import cpus
from atnet_jax.system.workers import map_in_order, number_of_processes


class Watched(list):
    """A list that counts how many of its items were taken."""

    taken = 0

    def __iter__(self):
        for item in super().__iter__():
            self.taken += 1
            yield item


def test_results_come_in_order_and_items_are_taken_as_needed():
    # `eval`, as the processes must be able to import the function.
    items = Watched(["__import__('time').sleep(1) or 0", *map(str, range(1, 30))])
    results = map_in_order(eval, items, 2)
    assert next(results) == 0
    assert items.taken == 8
    assert list(results) == list(range(1, 30))


def test_one_worker_is_this_process_with_one_thread_for_opencv():
    threads = cv2.getNumThreads()
    seen = list(map_in_order(lambda _: (os.getpid(), cv2.getNumThreads()), [1, 2], 1))
    assert seen == [(os.getpid(), 1)] * 2
    assert cv2.getNumThreads() == threads


def test_workers_have_one_thread_for_opencv():
    items = ["__import__('os').getpid(), __import__('cv2').getNumThreads()"] * 2
    for process, threads in map_in_order(eval, items, 2):
        assert process != os.getpid()
        assert threads == 1


def test_workers_leave_the_accelerator_and_the_other_cpus_alone(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "no such accelerator")
    cpus = "__import__('atnet_jax.system.cpus').system.cpus.count()"
    item = f"__import__('jax').devices()[0].platform, {cpus}"
    assert list(map_in_order(eval, [item] * 2, 2)) == [("cpu", 1)] * 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no choice of CPUs here")
def test_as_many_workers_as_cpus_that_may_be_used():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert (cpus.count(), number_of_processes(None, 9)) == (1, 1)
    finally:
        os.sched_setaffinity(0, allowed)
    assert (cpus.count(), number_of_processes(None, 9999)) == (len(allowed), len(allowed))
    assert number_of_processes(5, 9999) == 5


def test_an_error_ends_the_others():
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        list(map_in_order(math.sqrt, [1.0, -1.0, *range(20)], 2))


def test_a_dead_worker_is_reported():
    with pytest.raises(UserError, match=r"One of the 2 worker processes was killed"):
        list(map_in_order(os._exit, [3, 3], 2))


def test_a_script_without_a_guard_is_not_run_again_in_every_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from atnet_jax.system.workers import map_in_order\n"
        "print('begun')\n"
        "print(list(map_in_order(eval, ['1 + 1', '2 + 2'], 2)), __file__)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stdout == f"begun\n[2, 4] {script}\n", done.stderr
