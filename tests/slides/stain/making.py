"""Pixels whose stains are known."""

import numpy as np
from numpy.typing import NDArray

GLASS = np.array([241.0, 239.0, 243.0], np.float32)

STAINS = {
    "reference": ((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581)),
    "ruifrok": ((0.644, 0.717, 0.267), (0.093, 0.954, 0.283)),
    "blue": ((0.74, 0.62, 0.26), (0.12, 0.92, 0.37)),
    "pale red": ((0.58, 0.75, 0.32), (0.16, 0.88, 0.45)),
}


def unit(vectors: object) -> NDArray[np.float64]:
    rows = np.asarray(vectors, np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def mixed(
    stains: object, *, count: int = 60_000, seed: int = 0, glass: NDArray[np.float32] = GLASS
) -> NDArray[np.uint8]:
    """Return pixels (n, 3): nuclei with little eosin, stroma with little haematoxylin, glass."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, count, p=(0.25, 0.55, 0.2))
    haematoxylin = np.choose(kind, [rng.gamma(9, 0.07, count), rng.gamma(2, 0.03, count), 0])
    eosin = np.choose(kind, [rng.gamma(2, 0.02, count), rng.gamma(9, 0.035, count), 0])
    density = np.stack([haematoxylin, eosin], axis=1) @ unit(stains)
    noise = rng.normal(0, 1.5, density.shape)
    return (glass * 10**-density + noise).round().clip(0, 255).astype(np.uint8)
