"""Estimated cost of GPU programs: reading of HLO, and a compilation where JAX can do it."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from benchmarks import hlo_cost

# A forward convolution in two groups, its gradients, and a loop of 64 rounds in one of 7 rounds.
PROGRAM = """\
HloModule jit_epoch

%body.inner (p.1: (s32[], f32[16,512])) -> (s32[], f32[16,512]) {
  %dot.1 = f32[16,512]{1,0} fusion(%p.1), kind=kCustom, metadata={op_name="jit(epoch)/while/body/jvp(Net)/temporal/lstm1/while/body/dot_general"}, backend_config={"reification_cost":[{"end_to_end_cycles":10.5,"exec_time_us":8.1,"name":""},{"end_to_end_cycles":0,"name":"sol"}]}
}

%condition.inner (p.2: (s32[], f32[16,512])) -> pred[] {
  ROOT %compare.1 = pred[] fusion(%p.2), kind=kLoop, calls=%compare
}

%body.steps (p.3: (s32[], f32[16,512])) -> (s32[], f32[16,512]) {
  %x.1 = bf16[16,8,8,64]{3,2,1,0} bitcast(%p.3)
  %kernel.1 = bf16[128,3,3,32]{3,2,1,0} bitcast(%p.3)
  %conv.1 = (bf16[16,4,4,128]{3,2,1,0}, u8[0]{0}) custom-call(%x.1, %kernel.1), window={size=3x3 stride=2x2}, dim_labels=b01f_o01i->b01f, feature_group_count=2, custom_call_target="__cudnn$convForward", backend_config={"reification_cost":[]}
  %y.1 = bf16[16,4,4,128]{3,2,1,0} get-tuple-element(%conv.1), index=0
  %conv.2 = (bf16[128,3,3,32]{3,2,1,0}, u8[0]{0}) custom-call(%x.1, %y.1), window={size=3x3 stride=2x2}, dim_labels=b01f_o01i->b01f, feature_group_count=2, custom_call_target="__cudnn$convBackwardFilter", backend_config={"reification_cost":[]}
  %conv.3 = (bf16[16,8,8,64]{3,2,1,0}, u8[0]{0}) custom-call(%y.1, %kernel.1), window={size=3x3 stride=2x2}, dim_labels=b01f_o01i->b01f, feature_group_count=2, custom_call_target="__cudnn$convBackwardInput", backend_config={"reification_cost":[]}
  %gemm.1 = f32[16,512]{1,0} custom-call(%p.3, %p.3), custom_call_target="__cublas$gemm", backend_config={"reification_cost":[{"end_to_end_cycles":0,"exec_time_us":10,"name":"sol"}]}
  %while.1 = (s32[], f32[16,512]) while(%p.3), condition=%condition.inner, body=%body.inner, backend_config={"known_trip_count":{"n":"64"}}
}

ENTRY %main (p: f32[16,512]) -> f32[16,512] {
  %while.2 = (s32[], f32[16,512]) while(%p), condition=%condition.inner, body=%body.steps, backend_config={"known_trip_count":{"n":"7"}}
}
"""  # noqa: E501


def test_estimates_and_calls_without_one():
    cost = hlo_cost.read(PROGRAM, steps=7, network="Net")
    assert cost.step == 64 * 10
    assert cost.parts == {"temporal/lstm1 forward": 640}
    assert cost.without_estimate["__cublas$gemm"] == 16 * 512
    assert cost.without_estimate["__cudnn$convForward"] == 16 * 4 * 4 * 128
    kinds = [kind for kind, _, _ in hlo_cost.kernels_of_a_step(PROGRAM, steps=7)]
    assert kinds == [
        *("__cudnn$convForward", "__cudnn$convBackwardFilter", "__cudnn$convBackwardInput"),
        *("__cublas$gemm", "fusion"),
    ]


def test_operations_of_convolutions():
    found = hlo_cost.convolutions(PROGRAM, steps=7, flops=989e12, bandwidth=3.352e12)
    values = [16 * 8 * 8 * 64, 128 * 3 * 3 * 32, 16 * 4 * 4 * 128]
    assert list(found) == ["convForward", "convBackwardFilter", "convBackwardInput"]
    for total in found.values():
        assert total.calls == 1
        # Each of the 16·4·4·128 outputs takes 3·3 places of the 32 channels of its group.
        assert total.operations == 2 * (16 * 4 * 4 * 128) * (3 * 3 * 32)
        assert total.bytes == 2 * sum(values)
        assert total.least_seconds == total.bytes / 3.352e12 > total.operations / 989e12


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},
    )  # fmt: skip


PLUGIN = importlib.util.find_spec("jax_cuda12_plugin")


@pytest.mark.skipif(PLUGIN is not None, reason="JAX's CUDA plugin is installed")
def test_a_missing_compiler_is_reported():
    run = command("--model=sssnet")
    assert run.returncode == 1
    assert run.stderr.endswith(
        "Error: The GPU compiler is not installed. Run pip install '.[gpu-compiler]'.\n"
    )


@pytest.mark.skipif(PLUGIN is None, reason="JAX's CUDA plugin is not installed")
def test_a_network_is_compiled_without_a_gpu(tmp_path):
    out = tmp_path / "gpu.json"
    run = command("--model=sssnet", "--folds_at_once=2", f"--out={out}")
    assert run.returncode == 0, run.stderr
    found = json.loads(out.read_text())
    assert (found["folds"], found["folds_at_once"]) == (68, 2)
    memory = found["memory_bytes"]
    assert 0 < memory["arguments"] + memory["temporary"] < memory["of_the_device"]
    step = found["step"]
    assert sum(step["parts"].values()) == pytest.approx(step["estimated_seconds"])
    assert any(name.endswith("backward") for name in step["parts"])
    calls = sum(total["calls"] for total in step["convolutions"].values())
    assert 0 < calls < sum(step["kernels"].values())
