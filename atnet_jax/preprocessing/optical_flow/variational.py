"""Variational optical flow: the methods of Horn and Schunck, and robust variants.

These are the methods of Sun, Roth and Black (IJCV 2014), which the paper cites. Horn–Schunck and
Classic minimise over the flow (u, v)

    Σ ρ(I₂(x + u, y + v) − I₁(x, y)) + λ Σ ρ(u_x) + ρ(u_y) + ρ(v_x) + ρ(v_y)

with ρ(s) = s² (Horn–Schunck) or (s² + ε²)^a (Charbonnier, a = 1/2; Classic++, a = 0.45), from
coarse to fine, with several warps at each level.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32

from atnet_jax.preprocessing.optical_flow.pyramid import coarse_to_fine
from atnet_jax.preprocessing.optical_flow.solver import solver_of_pairs
from atnet_jax.preprocessing.optical_flow.texture import texture
from atnet_jax.preprocessing.optical_flow.threads import Solver
from atnet_jax.preprocessing.optical_flow.warping import linearise, warp

LARGEST_STEP = 1.0
OVER_RELAXATION = 1.85


@dataclass(frozen=True)
class Parameters:
    """Parameters of the energy and of its minimisation.

    Attributes:
        smoothness: λ, the weight of the flow's differences between neighbouring pixels relative to
            the difference in brightness: (grey levels / (pixels per pixel))² for the quadratic
            penalty, grey levels / (pixels per pixel) for Charbonnier's.
        quadratic: Share of the quadratic penalty in the energy for each warp of a level; the
            remainder is the robust penalty. (1, 1) is Horn and Schunck with two warps, and
            (1, 0.5, 0) moves from the convex to the robust energy (graduated non-convexity).
        exponent: a of the robust penalty (s² + ε²)^a.
        brightness_epsilon: ε of the difference in brightness, in grey levels.
        flow_epsilon: ε of the differences of the flow, in pixels per pixel.
        iterations: Sweeps of successive over-relaxation per warp.
        texture: Compute the flow from the texture of the pictures.
        median: Filter the flow with a 5×5 median after each warp.
    """

    smoothness: float
    quadratic: tuple[float, ...]
    exponent: float = 0.5
    brightness_epsilon: float = 1e-3
    flow_epsilon: float = 1e-3
    iterations: int = 20
    texture: bool = False
    median: bool = False


def variational(parameters: Parameters) -> Solver:
    """Return a solver that minimises the energy with these parameters."""

    def refine(first: Array, second: Array, flow: Array) -> Array:
        for share in parameters.quadratic:
            warped = warp(second, flow)
            weights = _weights(first, warped, flow, share, parameters)
            system = _linear_system(first, warped, flow, *weights)
            flow = _step(system, flow, parameters.iterations)
            if parameters.median:
                flow = median_5x5(flow)
        return flow

    def flow_of_pair(first: Array, second: Array) -> Array:
        if parameters.texture:
            first, second = texture(first, second)
        return coarse_to_fine(first, second, refine)

    return solver_of_pairs(flow_of_pair)


class _System(NamedTuple):
    """Linear equations of a step (du, dv) from the present flow (u, v).

    Attributes:
        diagonal: Weight of du in the first equation of a pixel, and of dv in the second.
        coupling: Weight of dv in the first equation, and of du in the second.
        across: Weights of the differences to the left neighbour; one more column than pixels.
        down: Weights of the differences to the upper neighbour; one more row than pixels.
        right_side: Right-hand side of the equations.
    """

    diagonal: Float32[Array, "2 height width"]
    coupling: Float32[Array, "height width"]
    across: Float32[Array, "2 height edges"]
    down: Float32[Array, "2 edges width"]
    right_side: Float32[Array, "2 height width"]


@functools.partial(jax.jit, static_argnames=("quadratic", "parameters"))
def _weights(
    first: Array, warped: Array, flow: Array, quadratic: float, parameters: Parameters
) -> tuple[Array, Array, Array]:
    """Return the weights ρ'(s)/2s of the data and of the differences to the left and above.

    With these weights, a quadratic penalty touches the robust one at the present flow. Differences
    across the border have weight 0. The data have weight 1 where the flow leads out of the picture.
    """

    def weight(difference: Array, epsilon: float) -> Array:
        if quadratic == 1:
            return jnp.ones_like(difference)
        exponent = parameters.exponent
        # x ** (a − 1), three times as fast as XLA's power.
        power = jnp.exp((exponent - 1) * jnp.log(difference**2 + epsilon**2))
        return quadratic + (1 - quadratic) * exponent * power

    data = weight(jnp.nan_to_num(warped - first), parameters.brightness_epsilon)
    across = weight(flow[:, :, 1:] - flow[:, :, :-1], parameters.flow_epsilon)
    down = weight(flow[:, 1:] - flow[:, :-1], parameters.flow_epsilon)
    across = jnp.pad(parameters.smoothness * across, ((0, 0), (0, 0), (1, 1)))
    down = jnp.pad(parameters.smoothness * down, ((0, 0), (1, 1), (0, 0)))
    return data, across, down


@jax.jit
def _linear_system(
    first: Array, warped: Array, flow: Array, data: Array, across: Array, down: Array
) -> _System:
    """Return the equations that minimise the weighted quadratic energy, linearised at a flow.

    They are (D + L) (du, dv) = −(I_x, I_y) w I_t − L (u, v), where D consists of the pixels' 2×2
    blocks w (I_x, I_y)ᵀ(I_x, I_y), and L is the weighted Laplacian of each component.
    """
    along_x, along_y, along_t = linearise(first, warped)
    around = across[:, :, :-1] + across[:, :, 1:] + down[:, :-1] + down[:, 1:]
    diagonal = data * jnp.stack([along_x**2, along_y**2]) + around
    force = -data * along_t * jnp.stack([along_x, along_y])
    right_side = force + _from_neighbours(flow, across, down) - around * flow
    return _System(diagonal, data * along_x * along_y, across, down, right_side)


def _from_neighbours(x: Array, across: Array, down: Array) -> Array:
    """Return the weighted sum of the four neighbours of each pixel."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1)))
    return (
        across[:, :, :-1] * x[:, 1:-1, :-2]
        + across[:, :, 1:] * x[:, 1:-1, 2:]
        + down[:, :-1] * x[:, :-2, 1:-1]
        + down[:, 1:] * x[:, 2:, 1:-1]
    )


@functools.partial(jax.jit, static_argnames="iterations")
def _step(system: _System, flow: Array, iterations: int) -> Float32[Array, "2 height width"]:
    """Return the flow after a step, computed by successive over-relaxation.

    Pixels are updated in red-black order, u and v of a pixel together.
    """
    diagonal, coupling, across, down, right_side = system
    height, width = coupling.shape
    red = (jnp.arange(height)[:, None] + jnp.arange(width)) % 2 == 0
    factor = OVER_RELAXATION / (diagonal[0] * diagonal[1] - coupling**2)
    own, other = factor * diagonal[::-1], factor * coupling

    def update(x: Array, colour: Array) -> Array:
        wanted = right_side + _from_neighbours(x, across, down)
        u = own[0] * wanted[0] - other * wanted[1]
        v = own[1] * wanted[1] - other * wanted[0]
        relaxed = (1 - OVER_RELAXATION) * x + jnp.stack([u, v])
        return jnp.where(colour, relaxed, x)

    def sweep(_: Array, x: Array) -> Array:
        return update(update(x, red), ~red)

    step = jax.lax.fori_loop(0, iterations, sweep, jnp.zeros_like(right_side))
    return flow + jnp.clip(step, -LARGEST_STEP, LARGEST_STEP)


@jax.jit
def median_5x5(flow: Float32[Array, "2 height width"]) -> Float32[Array, "2 height width"]:
    """Return the median of the 5×5 values around each pixel, of u and of v; border pixels repeat.

    One sorting network processes all pixels at once, as minima and maxima of shifted pictures,
    which compile to a single loop. The compiler keeps only the comparisons that the middle value
    depends on.

    Args:
        flow: u and v of each pixel.
    """
    _, height, width = flow.shape
    padded = jnp.pad(flow, ((0, 0), (2, 2), (2, 2)), mode="edge")
    values = [padded[:, y : y + height, x : x + width] for y in range(5) for x in range(5)]
    for i, j in _sorting_network(len(values)):
        values[i], values[j] = jnp.minimum(values[i], values[j]), jnp.maximum(values[i], values[j])
    return values[len(values) // 2]


def _sorting_network(count: int) -> list[tuple[int, int]]:
    """Return the comparisons of Batcher's merge exchange (Knuth, vol. 3, 5.2.2, algorithm M)."""
    pairs = []
    highest = 1 << ((count - 1).bit_length() - 1)
    p = highest
    while p > 0:
        q, r, d = highest, 0, p
        while d > 0:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs
