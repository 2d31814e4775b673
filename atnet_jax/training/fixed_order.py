"""Products and convolutions that add in the same order on every CPU.

XLA's libraries for CPUs cut a long sum of products into blocks, whose size depends on the
processor's caches, instructions and number of threads. Rounding then differs from machine to
machine. The products here have at most `_TERMS` terms, and whole tiles of rows and columns: the
library then adds one term after another, each with a fused multiply-add. Everything else that XLA
compiles gives the same bits on every x86-64 processor, provided that it uses the same instructions
everywhere, and neither YNNPACK nor the processor's estimates, such as that of 1/√x.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from atnet_jax.errors import UserError

# The smallest block for a cache of 32 KiB and vectors of 512 bits is 136 terms.
_TERMS = 128
# Rows and columns beside whole tiles of the library are added in another order. The tiles differ
# from processor to processor; all sides divide 48.
_TILE = 48

# Primitives that call one function once. After differentiation, the rules of custom derivatives
# are no longer needed.
_CALLS = ("jit", "pjit", "closed_call", "checkpoint", "custom_jvp_call", "custom_vjp_call")


def fixed_order(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose products, including those of gradients, add in a fixed order.

    Args:
        fn: A function of arrays, or of nested structures of them, that JAX can trace.

    Returns:
        The function, to be traced and compiled in place of `fn`. Tracing it raises a UserError if
        `fn` has products in a loop whose number of rounds is not fixed.
    """

    def in_fixed_order(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)
        of_results: list[Any] = []

        def flat(*leaves: Any) -> list[Any]:
            results, structure_of_results = jax.tree.flatten(fn(*structure.unflatten(leaves)))
            of_results.append(structure_of_results)
            return results

        traced = jax.make_jaxpr(flat)(*leaves)
        return of_results[0].unflatten(_evaluate(traced.jaxpr, traced.consts, leaves))

    return in_fixed_order


def _evaluate(jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Evaluate a traced function with products in a fixed order."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _apply(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: core.JaxprEqn, args: list[Any]) -> Sequence[Any]:
    """Apply the primitive of an equation to its arguments."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return [_product(*map(jnp.asarray, args), **params)]
    if name == "conv_general_dilated":
        return [_convolution(*map(jnp.asarray, args), **params)]
    if name in _CALLS:
        return _as_function(next(_inner(equation)))(*args)
    if not any(map(_has_products, _inner(equation))):
        results = equation.primitive.bind(*args, **params)
        return results if equation.primitive.multiple_results else [results]
    if name == "scan":
        return _scan(args, **params)
    if name == "cond":
        branches = [_as_function(branch) for branch in params["branches"]]
        return lax.switch(args[0], branches, *args[1:])
    raise UserError(
        f"config.deterministic is True, but the method has products inside {name!r}, which have no"
        f" fixed order on a CPU. Set it to False, or write the method with jax.lax.scan."
    )


def _inner(equation: core.JaxprEqn) -> Iterator[core.ClosedJaxpr]:
    """Yield the functions that an equation calls."""
    for param in equation.params.values():
        for value in param if isinstance(param, (tuple, list)) else [param]:
            if isinstance(value, core.ClosedJaxpr):
                yield value
            elif isinstance(value, core.Jaxpr):
                yield core.ClosedJaxpr(value, ())


def _has_products(closed: core.ClosedJaxpr) -> bool:
    return any(
        equation.primitive.name in ("dot_general", "conv_general_dilated")
        or any(map(_has_products, _inner(equation)))
        for equation in closed.jaxpr.eqns
    )


def _as_function(closed: core.ClosedJaxpr) -> Callable[..., list[Any]]:
    return lambda *args: _evaluate(closed.jaxpr, closed.consts, args)


def _scan(
    args: Sequence[Any],
    *,
    jaxpr: core.ClosedJaxpr,
    num_consts: int,
    num_carry: int,
    length: int,
    reverse: bool,
    unroll: int,
    **_: Any,
) -> list[Any]:
    consts, carried, xs = (
        args[:num_consts],
        args[num_consts : num_consts + num_carry],
        args[num_consts + num_carry :],
    )
    step = _as_function(jaxpr)

    def body(carried: Any, x: Any) -> tuple[list[Any], list[Any]]:
        results = step(*consts, *carried, *x)
        return results[:num_carry], results[num_carry:]

    last, stacked = lax.scan(body, list(carried), list(xs), length, reverse=reverse, unroll=unroll)
    return [*last, *stacked]


def _product(
    lhs: jax.Array,
    rhs: jax.Array,
    *,
    dimension_numbers: Any,
    precision: Any,
    preferred_element_type: Any,
    **_: Any,
) -> jax.Array:
    """Compute `lax.dot_general`; sums of at most `_TERMS` products are added one after another."""
    (lhs_summed, rhs_summed), (lhs_batch, rhs_batch) = dimension_numbers
    rows = [axis for axis in range(lhs.ndim) if axis not in (*lhs_summed, *lhs_batch)]
    columns = [axis for axis in range(rhs.ndim) if axis not in (*rhs_summed, *rhs_batch)]
    batch_shape = [lhs.shape[axis] for axis in lhs_batch]
    shape = [*batch_shape, *(lhs.shape[k] for k in rows), *(rhs.shape[k] for k in columns)]
    batch, height = math.prod(batch_shape), math.prod(lhs.shape[axis] for axis in rows)
    width = math.prod(rhs.shape[axis] for axis in columns)
    terms = math.prod(lhs.shape[axis] for axis in lhs_summed)

    parts = math.ceil(terms / _TERMS)
    size = math.ceil(terms / parts)
    more = parts * size - terms  # Zeros at the end leave a sum as it is.
    a = lhs.transpose(*lhs_batch, *rows, *lhs_summed).reshape(batch, height, terms)
    b = rhs.transpose(*rhs_batch, *rhs_summed, *columns).reshape(batch, terms, width)
    a = jnp.pad(a, ((0, 0), (0, -height % _TILE), (0, more)))
    b = jnp.pad(b, ((0, 0), (0, more), (0, -width % _TILE)))
    sums = lax.dot_general(
        a.reshape(batch, -1, parts, size),
        b.reshape(batch, parts, size, -1),
        (((3,), (2,)), ((0, 2), (0, 1))),
        precision,
        preferred_element_type=jnp.float32,
    )
    total = sums.sum(axis=1)[:, :height, :width]
    return total.reshape(shape).astype(preferred_element_type or lhs.dtype)


def _convolution(
    lhs: jax.Array,
    rhs: jax.Array,
    *,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: lax.ConvDimensionNumbers,
    feature_group_count: int,
    batch_group_count: int,
    precision: Any,
    preferred_element_type: Any,
    **_: Any,
) -> jax.Array:
    """Compute `lax.conv_general_dilated` as products of patches, each a short sum."""
    of_lhs, of_rhs, of_out = dimension_numbers
    groups = feature_group_count * batch_group_count
    if groups > 1:  # Only one of the counts can exceed 1.
        alone = functools.partial(
            _convolution,
            window_strides=window_strides,
            padding=padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=1,
            batch_group_count=1,
            precision=precision,
            preferred_element_type=preferred_element_type,
        )
        parts = zip(
            jnp.split(lhs, groups, axis=of_lhs[0 if batch_group_count > 1 else 1]),
            jnp.split(rhs, groups, axis=of_rhs[0]),
            strict=True,
        )
        return jnp.concatenate([alone(*part) for part in parts], axis=of_out[1])
    x = lhs.transpose(of_lhs[0], *of_lhs[2:], of_lhs[1])  # [clip, place ..., channel]
    kernel = rhs.transpose(*of_rhs[2:], of_rhs[1], of_rhs[0])  # [place ..., channel, filter]
    edges = [(*ends, step - 1) for ends, step in zip(padding, lhs_dilation, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    clips, *sizes, channels = x.shape
    window, filters = kernel.shape[:-2], kernel.shape[-1]
    out = [
        (size - (length - 1) * apart - 1) // stride + 1
        for size, length, apart, stride in zip(
            sizes, window, rhs_dilation, window_strides, strict=True
        )
    ]

    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        last = (((a.ndim - 1,), (0,)), ((), ()))
        return _product(
            a, b, dimension_numbers=last, precision=precision, preferred_element_type=jnp.float32
        )

    def values(place: Sequence[int], by: Sequence[int], count: Sequence[int], apart: Any) -> Any:
        """Slice `count` values per axis, `apart` from each other, from `place` · `by` on."""
        low = [k * step for k, step in zip(place, by, strict=True)]
        ends = zip(low, count, apart, strict=True)
        high = [first + (number - 1) * step + 1 for first, number, step in ends]
        return lax.slice(x, (0, *low, 0), (clips, *high, channels), (1, *apart, 1))

    if math.prod(window) <= math.prod(out):
        # For each place of the kernel, the values that it meets at all places of the output.
        pieces = [
            (place, slice(first, first + _TERMS))
            for place in itertools.product(*map(range, window))
            for first in range(0, channels, _TERMS)
        ]
        at_once = max(1, _TERMS // channels)
        total: Any = 0.0
        for start in range(0, len(pieces), at_once):
            some = pieces[start : start + at_once]
            patches = [
                values(place, rhs_dilation, out, window_strides)[..., part] for place, part in some
            ]
            weights = [kernel[place][part] for place, part in some]
            total = total + product(jnp.concatenate(patches, -1), jnp.concatenate(weights))
    else:
        # The gradient of a kernel: few places of the output, each a sum over a large window.
        patches = [
            values(place, window_strides, window, rhs_dilation).reshape(clips, -1)
            for place in itertools.product(*map(range, out))
        ]
        total = product(jnp.stack(patches, axis=1), kernel.reshape(-1, filters))
        total = total.reshape(clips, *out, filters)
    order = np.argsort((of_out[0], *of_out[2:], of_out[1]))
    return total.transpose(*order.tolist()).astype(preferred_element_type or lhs.dtype)
