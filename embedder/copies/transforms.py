"""Plane transforms as 3 x 3 matrices: estimated by least squares, applied, and judged.

Points are `(n, 2)`, x and y. A matrix takes a point of the first picture to the second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Matrix = NDArray[np.float64]

# Corners of a picture in fractions of its sides, clockwise from the top left.
CORNERS: Points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
_TINY = 1e-9


def apply(matrix: Matrix, points: Points) -> Points:
    """Return the points where the matrix takes them."""
    taken = points @ matrix[:2, :2].T + matrix[:2, 2]
    depth = points @ matrix[2, :2] + matrix[2, 2]
    safe = np.where(np.abs(depth) < _TINY, _TINY, depth)
    result: Points = taken / safe[:, None]
    return result


def estimate_similarity(first: Points, second: Points) -> Matrix | None:
    """Estimate scale, turn and shift from at least two pairs; None if the places are one."""
    centre, other_centre = first.mean(axis=0), second.mean(axis=0)
    own, other = first - centre, second - other_centre
    norm = (own * own).sum()
    if norm < _TINY:
        return None
    across = (own * other).sum() / norm
    around = (own[:, 0] * other[:, 1] - own[:, 1] * other[:, 0]).sum() / norm
    matrix = np.eye(3)
    matrix[:2, :2] = [[across, -around], [around, across]]
    matrix[:2, 2] = other_centre - matrix[:2, :2] @ centre
    return matrix


def estimate_affine(first: Points, second: Points) -> Matrix | None:
    """Estimate an affine transform from at least three pairs; None if they lie on a line."""
    solved, _, rank, _ = np.linalg.lstsq(_append_ones(first), second, rcond=None)
    if rank < 3:
        return None
    matrix = np.eye(3)
    matrix[:2] = solved.T
    return matrix


def estimate_homography(first: Points, second: Points) -> Matrix | None:
    """Estimate a homography from at least four pairs, by the normalised direct linear transform
    (Hartley, 1997); None if they do not determine one.
    """
    own, other = _find_normalisation(first), _find_normalisation(second)
    x, y = apply(own, first), apply(other, second)
    count = len(x)
    ones, zeros = _append_ones(x), np.zeros((count, 3))
    rows = np.concatenate(
        [
            np.hstack([ones, zeros, -y[:, :1] * ones]),
            np.hstack([zeros, ones, -y[:, 1:] * ones]),
        ]
    )  # (2 n, 9)
    # The eigenvector of the smallest eigenvalue: of 9 x 9, however many pairs there are.
    values, vectors = np.linalg.eigh(rows.T @ rows)
    if values[1] < _TINY:
        return None
    matrix = np.linalg.inv(other) @ vectors[:, 0].reshape(3, 3) @ own
    if abs(matrix[2, 2]) < _TINY:
        return None
    return np.asarray(matrix / matrix[2, 2], np.float64)


def find_jacobian(matrix: Matrix, point: Points) -> NDArray[np.float64]:
    """Return the linear part `(2, 2)` of the transform at one point `(2,)`."""
    depth = float(matrix[2, :2] @ point + matrix[2, 2])
    taken = (matrix[:2, :2] @ point + matrix[:2, 2]) / depth
    jacobian: NDArray[np.float64] = (matrix[:2, :2] - np.outer(taken, matrix[2, :2])) / depth
    return jacobian


def rescale(matrix: Matrix, first: tuple[float, float], second: tuple[float, float]) -> Matrix:
    """Return the matrix for fractions of the sides, of one for pixels of pictures of these sizes
    (width, height). Its last number is 1.
    """
    scaled: Matrix = np.diag([1 / second[0], 1 / second[1], 1.0]) @ matrix
    scaled = scaled @ np.diag([first[0], first[1], 1.0])
    return np.asarray(scaled / scaled[2, 2], np.float64)


def clip_to_square(polygon: Points) -> Points:
    """Return the part of a convex polygon within the square from 0 to 1; perhaps no points.

    It is cut along one edge after the other (Sutherland and Hodgman, 1974). OpenCV's
    `intersectConvexConvex` finds nothing where the two are nearly the same.
    """
    for axis, sign, limit in ((0, 1.0, 0.0), (0, -1.0, -1.0), (1, 1.0, 0.0), (1, -1.0, -1.0)):
        if not len(polygon):
            break
        inside = sign * polygon[:, axis] - limit  # at least 0 within
        corners = []
        for here, there, own, other in zip(
            polygon, np.roll(polygon, -1, 0), inside, np.roll(inside, -1), strict=True
        ):
            if own >= 0:
                corners.append(here)
            if (own >= 0) != (other >= 0):
                corners.append(here + (there - here) * (own / (own - other)))
        polygon = np.array(corners, np.float64).reshape(-1, 2)
    return polygon


def find_area(polygon: Points) -> float:
    """Return the area of a polygon."""
    x, y = polygon.T
    return 0.5 * abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()))


def _append_ones(points: Points) -> NDArray[np.float64]:
    return np.column_stack([points, np.ones(len(points))])


def _find_normalisation(points: Points) -> Matrix:
    """Return what moves the centre to 0 and makes the mean distance from it the root of 2."""
    centre = points.mean(axis=0)
    distance = np.sqrt(((points - centre) ** 2).sum(axis=1)).mean()
    scale = np.sqrt(2) / max(distance, _TINY)
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]])
