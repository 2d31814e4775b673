"""Estimated cost of TPU programs: reading of HLO, and a compilation where libtpu is installed."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from benchmarks import hlo_cost

PROGRAM = """\
HloModule jit_epoch

%body.inner (p: (s32[], f32[16,512])) -> (s32[], f32[16,512]) {
  %dot.1 = f32[16,512]{1,0} fusion(%p), metadata={op_name="jit(epoch)/while/body/jvp(Net)/temporal/lstm1/while/body/dot_general"}, backend_config={"estimated_cycles":"10"}
  %plain = f32[16,512]{1,0:T(8,128)} reduce-window(%dot.1), metadata={op_name="jit(epoch)/while/body/jvp(Net)/spatial/pool/reduce_window"}
  %next = s32[] add(%p, %p)
}

%condition.inner (p: (s32[], f32[16,512])) -> pred[] {
  %constant.1 = s32[]{:T(128)} constant(64)
  ROOT %lt.1 = pred[] compare(%p, %constant.1), direction=LT
}

%body.steps (p: (s32[], f32[16,512])) -> (s32[], f32[16,512]) {
  %while.1 = (s32[], f32[16,512]) while(%p), condition=%condition.inner, body=%body.inner, metadata={op_name="jit(epoch)/while/body/jvp(Net)/temporal/lstm1/while"}
  %fusion.1 = f32[7,7]{1,0} fusion(%p), metadata={op_name="jit(epoch)/while/body/transpose(jvp(Net))/spatial/conv1/conv_general_dilated"}, backend_config={"estimated_cycles":"300"}
  %fusion.2 = f32[7,7]{1,0} fusion(%p), metadata={op_name="jit(epoch)/while/body/add"}, backend_config={"estimated_cycles":"40"}
  %moved = f32[7,7]{1,0} custom-call(%p), custom_call_target="AllocateBuffer"
}

%condition.steps (p: (s32[], f32[16,512])) -> pred[] {
  %constant.2 = s32[]{:T(128)} constant(7)
  ROOT %lt.2 = pred[] compare(%p, %constant.2), direction=LT
}

ENTRY %main (p: f32[16,512]) -> f32[16,512] {
  %copy.1 = f32[16,512]{1,0} copy(%p), backend_config={"estimated_cycles":"5"}
  %while.2 = (s32[], f32[16,512]) while(%copy.1), condition=%condition.steps, body=%body.steps
}
"""  # noqa: E501


def test_cycles_of_loops_and_parts():
    cost = hlo_cost.read(PROGRAM, steps=7, network="Net")
    assert cost.once == 5
    assert cost.step == 64 * 10 + 300 + 40
    assert cost.parts == {
        "temporal/lstm1 forward": 640, "spatial/conv1 backward": 300, "other": 40
    }  # fmt: skip
    assert cost.without_estimate == {"reduce-window": 64 * 16 * 512}


def test_a_program_without_the_loop_is_refused():
    with pytest.raises(ValueError, match="0 loops of 5 rounds"):
        hlo_cost.read(PROGRAM, steps=5, network="Net")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.tpu", *arguments],
        capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},
    )  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_a_missing_compiler_is_reported():
    run = command("--model=sssnet")
    assert run.returncode == 1
    assert run.stderr.endswith(
        "Error: The TPU compiler is not installed. Run pip install '.[tpu]'.\n"
    )


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_folds_fit_into_the_memory_of_the_chips(tmp_path):
    out = tmp_path / "tpu.json"
    run = command("--model=sssnet", "--chips=8", f"--out={out}")
    assert run.returncode == 0, run.stderr
    found = json.loads(out.read_text())
    assert (found["folds"], found["chips"], found["folds_per_chip"]) == (68, 8, 9)
    memory = found["memory_bytes"]
    assert 0 < memory["arguments"] + memory["temporary"] < memory["of_the_device"]
    step = found["step"]
    assert sum(step["parts"].values()) == step["cycles"] > 0
    assert any(name.endswith("backward") for name in step["parts"])
    assert found["evaluation"]["seconds"] > found["evaluation"]["steps"] * step["seconds"]
