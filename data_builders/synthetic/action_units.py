"""Displacement of the skin by each action unit of the Facial Action Coding System.

A field is the displacement at full activation, in arbitrary units of about 1 at its strongest
point. A clip scales the sum of its fields to its displacement at the apex.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_builders.synthetic.identity import Identity
from data_builders.synthetic.portrait import bump, smooth_step

# These action units start and end at slightly different times than those of the lower face.
UPPER_FACE = frozenset({1, 2, 4, 5, 7})


@dataclasses.dataclass(frozen=True)
class Activation:
    """One action unit of a clip, with its strength (0-1) at the picture's left and right."""

    unit: int
    left: float
    right: float


@dataclasses.dataclass(frozen=True)
class Prototype:
    """The action units of an emotion: those that `always` fire, and `sometimes` by probability."""

    always: tuple[int, ...]
    sometimes: Mapping[int, float]
    one_sided: float = 0.0  # probability that only one side of the face moves


PROTOTYPES: Mapping[str, Prototype] = {
    "happiness": Prototype((12,), {6: 0.8}, one_sided=0.08),
    "surprise": Prototype((1, 2), {5: 0.6, 26: 0.65}),
    "disgust": Prototype((4, 9), {7: 0.4, 15: 0.15}),
    "repression": Prototype((15,), {14: 0.35, 17: 0.5, 4: 0.25}),
    "anger": Prototype((4,), {7: 0.6, 9: 0.25, 17: 0.2}),
    "contempt": Prototype((14,), {4: 0.5, 15: 0.3}, one_sided=0.7),
    "fear": Prototype((4, 15), {7: 0.3, 17: 0.3}),
    "sadness": Prototype((15,), {4: 0.6, 17: 0.5}),
    "others": Prototype((4,), {7: 0.4, 14: 0.3}),
    "neutral": Prototype((), {}),
}


def draw_activations(emotion: str, rng: np.random.Generator) -> tuple[Activation, ...]:
    """Draw which of the emotion's action units fire, how strongly and how asymmetrically.

    Args:
        emotion: A key of `PROTOTYPES`.
        rng: The random stream of the clip.

    Returns:
        The activations, sorted by action unit.
    """
    prototype = PROTOTYPES[emotion]
    units = list(prototype.always)
    units += [unit for unit, chance in prototype.sometimes.items() if rng.random() < chance]
    one_sided = rng.random() < prototype.one_sided
    side = int(rng.integers(2))
    activations = []
    for unit in sorted(units):
        strength = 1.0 if unit == prototype.always[0] else float(rng.uniform(0.45, 1.0))
        weaker = 0.0 if one_sided else float(rng.uniform(0.65, 1.0))
        left, right = (strength, strength * weaker) if side else (strength * weaker, strength)
        activations.append(Activation(unit, left, right))
    return tuple(activations)


def notation(activations: Sequence[Activation]) -> str:
    """Return the notation of the annotation files: "4+9", and "L14" or "R14" for one side only.

    As in the databases, left and right are the person's, which is the mirror of the picture's.

    Args:
        activations: The action units of a clip.
    """

    def one(activation: Activation) -> str:
        if activation.left == 0:
            return f"L{activation.unit}"
        if activation.right == 0:
            return f"R{activation.unit}"
        return str(activation.unit)

    return "+".join(map(one, activations))


# A field takes the face, the distance x >= 0 from the midline, and y. It returns the displacement
# away from the midline and down.
Field = Callable[[Identity, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _inner_brow_raise(face: Identity, x: np.ndarray, y: np.ndarray):
    lift = bump(x, y, 0.085, face.brow_y - 0.02, 0.065, 0.055)
    lift = lift + 0.45 * bump(x, y, 0.07, face.brow_y - 0.11, 0.09, 0.06)
    return 0 * lift, -lift


def _outer_brow_raise(face: Identity, x: np.ndarray, y: np.ndarray):
    lift = bump(x, y, 0.215, face.brow_y - 0.01, 0.070, 0.055)
    lift = lift + 0.4 * bump(x, y, 0.20, face.brow_y - 0.10, 0.08, 0.06)
    return 0.1 * lift, -lift


def _brow_lower(face: Identity, x: np.ndarray, y: np.ndarray):
    pull = bump(x, y, 0.095, face.brow_y, 0.070, 0.050)
    root = bump(x, y, 0.0, face.brow_y + 0.02, 0.05, 0.05)
    # Both brows are pulled towards the midline, where the pull must be zero.
    return -0.65 * pull * np.tanh(x / 0.04), 0.75 * pull + 0.25 * root


def _upper_lid_raise(face: Identity, x: np.ndarray, y: np.ndarray):
    lift = bump(x, y, face.eye_x, -0.030, 0.055, 0.022)
    return 0 * lift, -0.6 * lift


def _cheek_raise(face: Identity, x: np.ndarray, y: np.ndarray):
    cheek = bump(x, y, 0.205, 0.105, 0.075, 0.060)
    lid = bump(x, y, face.eye_x + 0.01, 0.045, 0.060, 0.024)
    return 0.15 * cheek, -0.7 * cheek - 0.35 * lid


def _lid_tighten(face: Identity, x: np.ndarray, y: np.ndarray):
    lower = bump(x, y, face.eye_x, 0.036, 0.055, 0.020)
    upper = bump(x, y, face.eye_x, -0.032, 0.055, 0.018)
    return 0 * lower, 0.2 * upper - 0.45 * lower


def _nose_wrinkle(face: Identity, x: np.ndarray, y: np.ndarray):
    wing = bump(x, y, 0.065, face.nose_y - 0.07, 0.045, 0.055)
    lip = bump(x, y, 0.07, face.mouth_y - 0.045, 0.05, 0.03)
    root = bump(x, y, 0.03, -0.03, 0.04, 0.035)
    return 0.15 * wing, 0.35 * root - 0.85 * wing - 0.5 * lip


def _lip_corner_pull(face: Identity, x: np.ndarray, y: np.ndarray):
    corner = bump(x, y, face.mouth_half_width + 0.005, face.mouth_y, 0.055, 0.045)
    cheek = bump(x, y, 0.175, 0.215, 0.070, 0.065)
    return 0.65 * corner + 0.15 * cheek, -0.75 * corner - 0.45 * cheek


def _dimple(face: Identity, x: np.ndarray, y: np.ndarray):
    corner = bump(x, y, face.mouth_half_width + 0.01, face.mouth_y, 0.050, 0.035)
    return 0.9 * corner, 0.15 * corner


def _lip_corner_depress(face: Identity, x: np.ndarray, y: np.ndarray):
    corner = bump(x, y, face.mouth_half_width, face.mouth_y + 0.008, 0.050, 0.045)
    below = bump(x, y, 0.125, face.mouth_y + 0.08, 0.055, 0.05)
    return 0.12 * corner, corner + 0.4 * below


def _chin_raise(face: Identity, x: np.ndarray, y: np.ndarray):
    chin = bump(x, y, 0.0, face.chin_y - 0.13, 0.085, 0.060)
    return 0 * chin, -0.9 * chin


def _jaw_drop(face: Identity, x: np.ndarray, y: np.ndarray):
    below = 0.5 + 0.5 * np.tanh((y - np.float32(face.mouth_y + 0.004)) / np.float32(0.022))
    wide = np.exp(-0.5 * (x / np.float32(0.17)) ** 4)
    end = smooth_step(y, face.chin_y + 0.16, face.chin_y - 0.02)
    lip = bump(x, y, 0, face.mouth_y - 0.02, 0.08, 0.015)
    return 0 * x, below * wide * end - 0.15 * lip


FIELDS: Mapping[int, Field] = {
    1: _inner_brow_raise,
    2: _outer_brow_raise,
    4: _brow_lower,
    5: _upper_lid_raise,
    6: _cheek_raise,
    7: _lid_tighten,
    9: _nose_wrinkle,
    12: _lip_corner_pull,
    14: _dimple,
    15: _lip_corner_depress,
    17: _chin_raise,
    26: _jaw_drop,
}


def displacement(
    face: Identity, activations: Sequence[Activation], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Compute the sum of the activations' fields.

    Args:
        face: The person whose landmarks position the fields.
        activations: Action units and their strength on either side.
        x: Face coordinates, [height, width].
        y: Face coordinates, [height, width].

    Returns:
        float32 [2, height, width]: Displacement right and down.
    """
    total = np.zeros((2, *x.shape), np.float32)
    mirrored = np.abs(x)
    sign = np.tanh(x / np.float32(0.03))
    for activation in activations:
        away, down = FIELDS[activation.unit](face, mirrored, y)
        weight = (
            0.5 * (activation.left + activation.right)
            + np.float32(0.5 * (activation.right - activation.left)) * sign
        )
        total[0] += sign * weight * away
        total[1] += weight * down
    return total
