"""Estimated cycles of a compiled TPU or GPU program, read from the text of its HLO.

The compiler writes an estimate of the cycles of most instructions into the program. This module
multiplies the estimate of an instruction by the rounds of the loops around it, and adds up the
estimates by part of the network. Instructions without an estimate are listed, not guessed: a form
of a layer that seems cheap may only lack estimates, as `reduce-window` does.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_OPERATION = re.compile(r"(?:^|[\s)}])([a-z][a-z\-]*)\(")
# On a TPU, and on a GPU. There, zero stands for calls of a library, which this model does not know.
_ESTIMATE = re.compile(
    r'(?:"estimated_cycles":"|"reification_cost":\[\{"end_to_end_cycles":(?=[1-9]))(\d+)'
)
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_NAME = re.compile(r'op_name="([^"]*)"')
_LOOP = re.compile(r"condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_CALLED = re.compile(r"(?:to_apply|calls|branch_computations|true_computation|false_computation)=")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_ARRAY = re.compile(r"([a-z]+\d+)\[([\d,]*)\]")
_CONVOLUTION = re.compile(r"custom-call\(%?([\w.\-]+), %?([\w.\-]+).*dim_labels=\w+_(\w+)->")
_BOUND = re.compile(r"s32\[\]\S* constant\((\d+)\)")
# Instructions that move nothing or are part of another instruction's estimate.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "opt-barrier"),
    *("while", "call", "conditional", "after-all", "partition-id", "replica-id"),
    *("copy-start", "copy-done", "slice-start", "slice-done"),
    *("async-start", "async-update", "async-done"),
    *("AllocateBuffer", "ConcatBitcast"),
}


@dataclasses.dataclass(frozen=True)
class Cost:
    """Estimated cost of a program.

    Attributes:
        once: Cycles outside the loop over steps.
        step: Cycles of one round of the loop over steps.
        parts: Cycles of one step by part of the network and direction, largest first.
        without_estimate: Values that instructions without an estimate return in one step, by kind.
            Scalars and copies between memories that run beside other work are left out.
    """

    once: int
    step: int
    parts: dict[str, int]
    without_estimate: dict[str, int]


@dataclasses.dataclass
class Convolutions:
    """The convolutions of one kind in one optimiser step.

    Attributes:
        calls: Number of calls of cuDNN.
        operations: Multiplications and additions, those with inserted zeros included.
        bytes: Size of operands and results.
        least_seconds: Sum of the least times of the calls at the peaks of the chip.
    """

    calls: int = 0
    operations: int = 0
    bytes: int = 0
    least_seconds: float = 0.0


def read(text: str, steps: int, network: str) -> Cost:
    """Read the cost of a training program.

    Args:
        text: HLO of the compiled program, from `compiled.as_text()`.
        steps: Rounds of the loop over optimiser steps. No other loop may have this many rounds.
        network: Name of the network's class, with which the names of its operations begin.

    Returns:
        The cost.

    Raises:
        ValueError: The program has no loop, or several, with this number of rounds.
    """
    computations, entry = _computations(text)
    parts: collections.Counter[str] = collections.Counter()
    missing: collections.Counter[str] = collections.Counter()
    for line, rounds in _executed(computations, _loop_over_steps(computations, steps)):
        if found := _ESTIMATE.search(line):
            parts[part_of(line, network)] += rounds * int(found[1])
        elif kind := _kind(line):
            missing[kind] += rounds * _values(line)
    step = sum(parts.values())
    whole = sum(
        rounds * int(found[1])
        for line, rounds in _executed(computations, entry)
        if (found := _ESTIMATE.search(line))
    )
    without = {kind: values for kind, values in missing.most_common() if values}
    return Cost(whole - steps * step, step, dict(parts.most_common()), without)


def kernels_of_a_step(text: str, steps: int) -> Iterator[tuple[str, str, int]]:
    """Yield the instructions of one optimiser step that compute or move arrays.

    Args:
        text: HLO of the compiled program.
        steps: Rounds of the loop over optimiser steps.

    Yields:
        The kind of an instruction, its line, and how often a step executes it.

    Raises:
        ValueError: The program has no loop, or several, with this number of rounds.
    """
    computations, _ = _computations(text)
    for line, rounds in _executed(computations, _loop_over_steps(computations, steps)):
        if kind := _kind(line):
            yield kind, line, rounds


def convolutions(text: str, steps: int, flops: float, bandwidth: float) -> dict[str, Convolutions]:
    """Count the convolutions of one step on a GPU by kind: forward, or a kind of gradient.

    Args:
        text: HLO of the compiled program.
        steps: Rounds of the loop over optimiser steps.
        flops: Peak of operations per second.
        bandwidth: Peak of bytes per second.

    Returns:
        The counts by cuDNN's name of the operation, such as "convBackwardFilter".

    Raises:
        ValueError: The program has no loop, or several, with this number of rounds.
    """
    # Operands are given by name: an instruction's name, and the array or arrays that it returns.
    arrays = dict(
        re.findall(r"^\s+(?:ROOT )?%([\w.\-]+) = (.*?) [a-z][\w\-]*\(", text, re.MULTILINE)
    )
    totals = collections.defaultdict[str, Convolutions](Convolutions)
    for kind, line, rounds in kernels_of_a_step(text, steps):
        if not kind.startswith("__cudnn$conv") or not (found := _CONVOLUTION.search(line)):
            continue
        result = line.split(" custom-call(")[0].split(" = ")[1]
        (sizes, moved) = zip(*map(_size, (arrays[found[1]], arrays[found[2]], result)), strict=True)
        # Each output (in a gradient: its gradient) meets the kernel's values of one channel.
        if "BackwardFilter" in kind:
            outputs, kernel = sizes[1], sizes[2]
        elif "BackwardInput" in kind:
            outputs, kernel = sizes[0], sizes[1]
        else:
            outputs, kernel = sizes[2], sizes[1]
        operations = 2 * math.prod(outputs) * math.prod(kernel) // kernel[found[3].index("o")]
        total = totals[kind.removeprefix("__cudnn$")]
        total.calls += rounds
        total.operations += rounds * operations
        total.bytes += rounds * sum(moved)
        total.least_seconds += rounds * max(operations / flops, sum(moved) / bandwidth)
    return dict(totals)


def part_of(line: str, network: str) -> str:
    """Return the layer and direction of an instruction, such as "spatial/conv1 backward".

    Args:
        line: The instruction.
        network: Name of the network's class.

    Returns:
        The part; "other" outside the network: gathering, augmentation, optimiser, copies.
    """
    found = _NAME.search(line)
    if not found:
        return "other"
    name = found[1]
    backward = "transpose(" in name
    plain = re.sub(r"jit\([^)]*\)|(?:vmap|jvp|transpose|remat)\(|\)", "", name)
    words = [
        word
        for word in plain.split("/")
        if word and word not in ("while", "body", "cond", "closed_call", "shard_map", "checkpoint")
    ]
    classes = (network, "TemporalStream")
    starts = [place for place, word in enumerate(words) if word.split(".")[0] in classes]
    if not starts:
        return "other"
    layers = words[starts[0] : -1]
    layers = ["temporal", *layers[1:]] if layers[:1] == ["TemporalStream"] else layers[1:]
    return f"{'/'.join(layers[:2]) or 'head'} {'backward' if backward else 'forward'}"


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Return the instructions of each computation, and the name of the entry."""
    computations: dict[str, list[str]] = {}
    entry = current = ""
    for line in text.split("\n"):
        if found := _COMPUTATION.match(line):
            current = found[2]
            computations[current] = []
            entry = current if found[1] else entry
        elif line.startswith("  ") and current:
            computations[current].append(line)
    return computations, entry


def _loop_over_steps(computations: dict[str, list[str]], steps: int) -> str:
    """Return the name of the body of the only loop with this number of rounds."""
    inside = [
        found[2]
        for lines in computations.values()
        for line in lines
        if (found := _loop(line)) and _rounds(line, computations[found[1]]) == steps
    ]
    if len(inside) != 1:
        raise ValueError(f"The program has {len(inside)} loops of {steps} rounds, expected one.")
    return inside[0]


def _loop(line: str) -> re.Match[str] | None:
    """Match the names of the condition and the body if an instruction is a loop."""
    return _LOOP.search(line) if " while(" in line else None


def _rounds(line: str, condition: list[str]) -> int:
    """Return the rounds of a loop: those noted, or the bound that its condition compares with."""
    if found := _TRIPS.search(line):
        return int(found[1])
    bounds = [int(bound) for line in condition for bound in _BOUND.findall(line)]
    if len(bounds) != 1:
        raise ValueError(f"Expected one bound in the condition of a loop, found {bounds}.")
    return bounds[0]


def _executed(computations: dict[str, list[str]], name: str) -> Iterator[tuple[str, int]]:
    """Yield the instructions that a computation executes, and how often."""
    for line in computations[name]:
        yield line, 1
        if found := _loop(line):
            rounds = _rounds(line, computations[found[1]])
            for inner, often in _executed(computations, found[2]):
                yield inner, rounds * often
        elif _operation(line) in ("call", "conditional", "async-start"):
            names = re.findall(r"%([\w.\-]+)", _CALLED.split(line, maxsplit=1)[-1].split("}")[0])
            for called in dict.fromkeys(names[:2]):
                if called in computations:
                    yield from _executed(computations, called)


def _values(line: str) -> int:
    """Return the number of values of an instruction's results, without scalars."""
    found = _INSTRUCTION.match(line)
    operation = _OPERATION.search(found[2]) if found else None
    results = found[2][: operation.start(1)] if found and operation else ""
    shapes = re.findall(r"\w+\[([\d,]+)\]", results)
    return sum(math.prod(int(size) for size in shape.split(",")) for shape in shapes)


def _kind(line: str) -> str | None:
    """Return the kind of an instruction that computes or moves an array, otherwise None."""
    kind = _operation(line)
    if kind == "custom-call" and (target := _TARGET.search(line)):
        kind = target[1]
    return None if kind in _FREE else kind


def _operation(line: str) -> str | None:
    found = _INSTRUCTION.match(line)
    operation = _OPERATION.search(found[2]) if found else None
    return operation[1] if operation else None


def _size(arrays: str) -> tuple[list[int], int]:
    """Return the shape of the first array in a type, and its size in bytes."""
    found = _ARRAY.search(arrays)
    assert found, arrays
    shape = [int(length) for length in found[2].split(",") if length]
    return shape, math.prod(shape) * int(re.sub(r"\D", "", found[1])) // 8
