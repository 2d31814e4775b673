"""TV-L1 optical flow: total variation of the flow, and absolute differences of brightness."""

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
    """Return a solver that minimises Σ λ|I₂(x + u, y + v) − I₁(x, y)| + |∇u| + |∇v|.

    The method is by Zach, Pock and Bischof (DAGM 2007). Unlike scikit-image's
    `optical_flow_tvl1`, it uses cubic instead of linear interpolation, five-point derivatives
    averaged over both pictures, and interpolation of the flow between levels. Names, scales and
    defaults of the arguments are those of scikit-image.

    Args:
        attachment: λ, the weight of the difference in brightness (pictures in 0…1) relative to the
            total variation of the flow (pixels per pixel).
        tightness: θ, the allowed distance of the flow from the one that fits the data: the energy
            contains the term (squared distance in pixels)/(2θ).
        num_warp: Warps per level.
        num_iter: Steps per warp, without early stopping.
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
    """Return gradient g and offset ρ₀ of the difference ρ₀ + g·(u, v), in 255 grey levels."""
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
    """Return flow and dual variables, `[2, height, width]` each, after all steps of a warp."""
    slope, offset = equations
    squared = jnp.maximum(_dot(slope, slope), 1e-12)
    reach = attachment * theta

    def fitting(flow: Array) -> Array:
        """Return the flow moved towards equal brightness, by a step limited by λθ."""
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
    # XLA fuses this expression with its surroundings, unlike a sum over axis 0.
    return a[0] * b[0] + a[1] * b[1]
