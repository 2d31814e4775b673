"""MDMO region by region, pixel by pixel, frame by frame."""

import cmath
import math

Point = tuple[float, float]

# Corners of the regions by numbers of the 68-point scheme, from 0. A pair is the point midway
# between two; "u" with a number is that point raised above the brow.
QUADS = [
    # forehead
    [17, "u17", "u19", 19],
    [19, "u19", "u21", 21],
    [21, "u21", "u27", 27],
    [27, "u27", "u22", 22],
    [22, "u22", "u24", 24],
    [24, "u24", "u26", 26],
    # eyes
    [1, 0, 17, 36],
    [36, 17, 19, 38],
    [38, 19, 21, 39],
    [39, 21, 27, 28],
    [28, 27, 22, 42],
    [42, 22, 24, 43],
    [43, 24, 26, 45],
    [45, 26, 16, 15],
    # under the lip
    [(5, 59), 59, 58, (6, 58)],
    [(6, 58), 58, 57, (8, 57)],
    [(8, 57), 57, 56, (10, 56)],
    [(10, 56), 56, 55, (11, 55)],
    # jaw
    [5, (5, 59), (6, 58), 6],
    [6, (6, 58), (8, 57), 8],
    [8, (8, 57), (10, 56), 10],
    [10, (10, 56), (11, 55), 11],
    # cheeks, nose, upper lip, outer cheek, side of the mouth: left
    [3, 2, (2, 41), (3, 29)],
    [(3, 29), (2, 41), 41, 39],
    [(3, 29), 39, 28, 29],
    [(4, 33), (3, 29), 29, 33],
    [(5, 59), (4, 33), 33, 59],
    [4, 3, (3, 29), (4, 33)],
    [5, 4, (4, 33), (5, 59)],
    # and right
    [13, 14, (14, 46), (13, 29)],
    [(13, 29), (14, 46), 46, 42],
    [(13, 29), 42, 28, 29],
    [(12, 33), (13, 29), 29, 33],
    [(11, 55), (12, 33), 33, 55],
    [12, 13, (13, 29), (12, 33)],
    [11, 12, (12, 33), (11, 55)],
]


def solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Gauss' elimination with pivots."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for k in range(size):
        best = max(range(k, size), key=lambda j: abs(rows[j][k]))
        rows[k], rows[best] = rows[best], rows[k]
        for j in range(size):
            if j != k:
                factor = rows[j][k] / rows[k][k]
                rows[j] = [a - factor * b for a, b in zip(rows[j], rows[k], strict=True)]
    return [rows[k][size] / rows[k][k] for k in range(size)]


def affine(source: list[Point], target: list[Point]) -> list[list[float]]:
    """Return a, b, c of x' = a x + b y + c, and those of y': least squares by normal equations."""
    basis = [[x, y, 1.0] for x, y in source]
    normal = [[sum(row[i] * row[j] for row in basis) for j in range(3)] for i in range(3)]
    return [
        solve(
            normal, [sum(basis[n][i] * target[n][k] for n in range(len(basis))) for i in range(3)]
        )
        for k in range(2)
    ]


def apply(map_: list[list[float]], point: Point) -> Point:
    x, y = (a * point[0] + b * point[1] + c for a, b, c in map_)
    return x, y


def mean(points: list[Point]) -> Point:
    return sum(p[0] for p in points) / len(points), sum(p[1] for p in points) / len(points)


def corner(face: list[Point], which: int | str | tuple[int, int]) -> Point:
    """Of the standard face."""
    if isinstance(which, tuple):
        return mean([face[which[0]], face[which[1]]])
    if which == "u27":
        return mean([corner(face, "u21"), corner(face, "u22")])
    if isinstance(which, str):
        x, y = face[int(which[1:])]
        return x, y - 20
    return face[which]


def inside(quad: list[Point], point: Point) -> bool:
    """Return whether the sides wind once around the point."""
    seen = [complex(x - point[0], y - point[1]) for x, y in quad]
    turns = sum(cmath.phase(seen[k] / seen[k - 1]) for k in range(4))
    return abs(turns) > math.pi


def mdmo(flows, face: list[Point], landmarks: list[Point], weight: float) -> list[float]:
    """As `atnet_jax.models.mdmo.mdmo`; `flows` is `[frame, height, width, 2]`."""
    height, width = flows.shape[1:3]
    standard = [mean(face[36:42]), mean(face[42:48]), face[30], face[48], face[54]]
    to_picture = affine(standard, landmarks)
    quads = [[apply(to_picture, corner(face, which)) for which in quad] for quad in QUADS]
    members = [
        [(x, y) for y in range(height) for x in range(width) if inside(quad, (x, y))]
        for quad in quads
    ]
    head = []
    for number in [*range(6), *range(11, 17), 27]:
        x, y = apply(to_picture, face[number])
        head.append((min(max(round(x), 0), width - 1), min(max(round(y), 0), height - 1)))
    sums = [0j] * len(quads)
    for flow in flows.tolist():
        gone = [(x + flow[y][x][0], y + flow[y][x][1]) for x, y in head]
        back = affine(gone, head)
        for region, pixels in enumerate(members):
            bins: list[list[complex]] = [[] for _ in range(8)]
            for x, y in pixels:
                moved = apply(back, (x + flow[y][x][0], y + flow[y][x][1]))
                vector = complex(moved[0] - x, moved[1] - y)
                degrees = math.degrees(cmath.phase(vector)) % 360
                for k in range(8):  # bin k reaches 22.5° to both sides of 45° k
                    if (degrees - 45 * k + 22.5) % 360 < 45:
                        bins[k].append(vector)
            fullest = max(bins, key=len)
            if fullest:
                sums[region] += sum(fullest) / len(fullest)
    means = [total / len(flows) for total in sums]
    largest = max(abs(vector) for vector in means)
    return [
        *(weight * abs(vector) / largest for vector in means),
        *((1 - weight) * cmath.phase(vector) for vector in means),
    ]
