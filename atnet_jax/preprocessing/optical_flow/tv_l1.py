"""Optical flow by total variation and an absolute difference of brightness: TV-L1."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32

from atnet_jax.preprocessing.optical_flow.pyramid import coarse_to_fine
from atnet_jax.preprocessing.optical_flow.solver import solver_of_pairs
from atnet_jax.preprocessing.optical_flow.texture import divergence, gradient
from atnet_jax.preprocessing.optical_flow.threads import Solver
from atnet_jax.preprocessing.optical_flow.warping import linearise, warp

Dual = tuple[Array, Array]
DUAL_STEP = 0.25
DUAL_STEPS = 2


def tv_l1(
    attachment: float = 15.0, tightness: float = 0.3, num_warp: int = 5, num_iter: int = 10
) -> Solver:
    """A solver that minimises Σ λ|I₂(x + u, y + v) − I₁(x, y)| + |∇u| + |∇v|.

    By Zach, Pock and Bischof (DAGM 2007). From scikit-image's code it differs in cubic instead of
    linear interpolation, derivatives by five points of both pictures, and a flow that is
    interpolated from level to level.

    Args:
        attachment: λ, the weight of the difference in brightness (pictures in 0…1) against the
            total variation of the flow (pixels per pixel); this and the others are named, scaled
            and preset as in scikit-image's `optical_flow_tvl1`.
        tightness: θ, how far the flow may be from the one that fits the data: the energy has the
            term (squared distance in pixels)/(2θ).
        num_warp: Warps at each level.
        num_iter: Steps in each warp. All are made, whatever the progress.
    """

    def refine(first: Array, second: Array, flow: Array) -> Array:
        dual = jnp.zeros_like(flow), jnp.zeros_like(flow)
        for _ in range(num_warp):
            equations = _equations(first, warp(second, flow), flow)
            flow, dual = _primal_dual(equations, flow, dual, attachment, tightness, num_iter)
        return flow

    return solver_of_pairs(functools.partial(coarse_to_fine, refine=refine))


@jax.jit
def _equations(first: Array, warped: Array, flow: Array) -> tuple[Array, Array]:
    """Gradient g and offset ρ₀ of the difference ρ₀ + g·(u, v), in units of 255 grey levels."""
    along_x, along_y, along_t = linearise(first, warped)
    slope = jnp.stack([along_x, along_y]) / 255
    return slope, along_t / 255 - _dot(slope, flow)


@functools.partial(jax.jit, static_argnames=("attachment", "theta", "num_iter"))
def _primal_dual(
    equations: tuple[Array, Array],
    flow: Array,
    dual: Dual,
    attachment: float,
    theta: float,
    num_iter: int,
) -> tuple[Array, Dual]:
    """The flow and its dual variables, `[2, height, width]` each, after all steps of a warp."""
    slope, offset = equations
    squared = jnp.maximum(_dot(slope, slope), 1e-12)
    reach = attachment * theta

    def fitting(flow: Array) -> Array:
        """The way towards no difference in brightness, but only as far as λθ allows."""
        difference = offset + _dot(slope, flow)
        return flow - jnp.clip(difference / squared, -reach, reach) * slope

    def ascend(fitted: Array, flow: Array, dual: Dual) -> tuple[Array, Dual]:
        step = DUAL_STEP / theta
        along_x, along_y = gradient(flow)
        norm = 1 + step * jnp.sqrt(along_x**2 + along_y**2)
        dual = (dual[0] + step * along_x) / norm, (dual[1] + step * along_y) / norm
        return fitted + theta * divergence(*dual), dual

    def iterate(_: Array, state: tuple[Array, Dual]) -> tuple[Array, Dual]:
        flow, dual = state
        fitted = fitting(flow)
        start = fitted + theta * divergence(*dual), dual
        return jax.lax.fori_loop(0, DUAL_STEPS, lambda _, state: ascend(fitted, *state), start)

    return jax.lax.fori_loop(0, num_iter, iterate, (flow, dual))


def _dot(a: Float32[Array, "2 height width"], b: Float32[Array, "2 height width"]) -> Array:
    # XLA fuses this with what is around, but not a sum over axis 0.
    return a[0] * b[0] + a[1] * b[1]
