"""Two stains from the optical densities of many pixels: arithmetic only."""

import numpy as np
from numpy.typing import NDArray

Densities = NDArray[np.float32]
"""Optical density of red, green and blue, shape (n, 3)."""

HAEMATOXYLIN = np.array([0.644211, 0.716556, 0.266844])
EOSIN = np.array([0.092789, 0.954111, 0.283111])
"""Directions in optical density: Ruifrok & Johnston 2001, as scikit-image and ImageJ state them."""

_TAIL = 1.0
"""Percent of the angles that is cut off at either end: alpha of Macenko et al."""


def macenko(densities: Densities) -> NDArray[np.float64]:
    """Return the directions of haematoxylin and eosin, shape (2, 3), each of length 1.

    Macenko et al. 2009 (IEEE ISBI, 1107-1110): the stains are the extreme angles within the plane
    that the densities lie in. Of the two, haematoxylin absorbs more red.

    Args:
        densities: Of stained pixels only, at least two.
    """
    plane = plane_of(densities)
    angles = angles_in(densities, plane)
    low, high = np.percentile(angles, [_TAIL, 100 - _TAIL])
    return ordered(np.array([_direction(low, plane), _direction(high, plane)]))


def plane_of(densities: Densities) -> NDArray[np.float64]:
    """Return two orthogonal directions (2, 3) that span most of the densities; the first is > 0."""
    moments = densities.T.astype(np.float64) @ densities
    _, vectors = np.linalg.eigh(moments)
    plane = vectors[:, [2, 1]].T
    return plane * np.where(plane.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)


def angles_in(densities: Densities, plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angle of each density to the first direction of a plane, in radians."""
    first, second = (densities @ plane.T).T
    return np.arctan2(second, first)


def _direction(angle: float, plane: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.cos(angle) * plane[0] + np.sin(angle) * plane[1]
    found = np.maximum(found, 0.0)  # a stain lets no more light through than glass
    return found / np.linalg.norm(found)


def ordered(stains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two directions with haematoxylin, which absorbs more red, first."""
    return stains if stains[0, 0] >= stains[1, 0] else stains[::-1]


def basis(stains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two stains and what is left, orthogonal to both, as rows (3, 3) of length 1."""
    rest = np.cross(stains[0], stains[1])
    return np.vstack([stains, rest / np.linalg.norm(rest)])


def amounts(densities: Densities, stains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much of each stain each pixel holds, (n, 2), in optical density, at least 0."""
    return np.maximum(densities @ np.linalg.inv(basis(stains)), 0.0)[:, :2]


def degrees_between(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the angle between two directions, in degrees."""
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
