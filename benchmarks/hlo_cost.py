"""Estimated cycles of a compiled TPU program, read from the text of its HLO.

The TPU compiler writes an estimate of the cycles of most instructions into the program. This module
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
_ESTIMATE = re.compile(r'"estimated_cycles":"(\d+)"')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_NAME = re.compile(r'op_name="([^"]*)"')
_LOOP = re.compile(r"condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_CALLED = re.compile(r"(?:to_apply|calls|branch_computations|true_computation|false_computation)=")
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
    inside = [
        body
        for lines in computations.values()
        for condition, body in _loops(lines)
        if _rounds(computations[condition]) == steps
    ]
    if len(inside) != 1:
        raise ValueError(f"The program has {len(inside)} loops of {steps} rounds, expected one.")
    parts: collections.Counter[str] = collections.Counter()
    missing: collections.Counter[str] = collections.Counter()
    for line, rounds in _executed(computations, inside[0]):
        if found := _ESTIMATE.search(line):
            parts[part_of(line, network)] += rounds * int(found[1])
        elif (kind := _kind(line)) and kind not in _FREE and "AllocateBuffer" not in line:
            missing[kind] += rounds * _values(line)
    step = sum(parts.values())
    whole = sum(
        rounds * int(found[1])
        for line, rounds in _executed(computations, entry)
        if (found := _ESTIMATE.search(line))
    )
    without = {kind: values for kind, values in missing.most_common() if values}
    return Cost(whole - steps * step, step, dict(parts.most_common()), without)


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


def _loops(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the names of the condition and the body of each loop."""
    for line in lines:
        if " while(" in line and (found := _LOOP.search(line)):
            yield found[1], found[2]


def _rounds(condition: list[str]) -> int:
    """Return the rounds of a loop: the bound that its condition compares the counter with."""
    bounds = [int(bound) for line in condition for bound in _BOUND.findall(line)]
    if len(bounds) != 1:
        raise ValueError(f"Expected one bound in the condition of a loop, found {bounds}.")
    return bounds[0]


def _executed(computations: dict[str, list[str]], name: str) -> Iterator[tuple[str, int]]:
    """Yield the instructions that a computation executes, and how often."""
    for line in computations[name]:
        yield line, 1
        if " while(" in line and (found := _LOOP.search(line)):
            rounds = _rounds(computations[found[1]])
            for inner, often in _executed(computations, found[2]):
                yield inner, rounds * often
        elif (_kind(line) or "") in ("call", "conditional", "async-start"):
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
    found = _INSTRUCTION.match(line)
    operation = _OPERATION.search(found[2]) if found else None
    if operation and operation[1] == "custom-call" and (target := _TARGET.search(line)):
        return target[1]
    return operation[1] if operation else None
