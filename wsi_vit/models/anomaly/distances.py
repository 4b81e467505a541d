"""Two distances between a picture's features and those of the training examples."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from wsi_vit.models.anomaly.section import AnomalySection

_FLAT = 1e-12
"""Share of the mean variance that is added to a direction in which no example varies."""


class Distance(Protocol):
    """Tells how far features lie from those it was fitted on."""

    def tensors(self) -> dict[str, Tensor]:
        """Return all that it consists of, float32, as it is stored."""
        ...

    def __call__(self, features: Tensor) -> Tensor:
        """Return the distance of features (n, features), float64 (n,); far is unusual."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mahalanobis:
    """The squared Mahalanobis distance to the nearest class's mean (Lee et al. 2018, section 2).

    All classes share one covariance, that of the examples around their class's mean, shrunk as in
    `shrunk_covariance`: with fewer examples than features it could not be inverted else.
    """

    whitening: Tensor
    """W (features, features), with inverse covariance W W^T."""
    means: Tensor
    """Of the classes that have examples, whitened, (classes, features)."""

    @classmethod
    def fitted(cls, features: Tensor, classes: Tensor) -> "Mahalanobis":
        """Return the distance to examples: features (n, features) of class ids (n,)."""
        features = features.double()
        _, members = classes.unique(return_inverse=True)
        sums = features.new_zeros(int(members.max()) + 1, features.shape[1])
        means = sums.index_add(0, members, features) / members.bincount()[:, None]
        variances, directions = torch.linalg.eigh(shrunk_covariance(features - means[members]))
        whitening = directions / (variances + _FLAT * variances.mean()).clamp(min=1e-300).sqrt()
        return cls(whitening=whitening.float(), means=(means @ whitening).float())

    def tensors(self) -> dict[str, Tensor]:
        """Return whitening and means."""
        return {"whitening": self.whitening, "means": self.means}

    def __call__(self, features: Tensor) -> Tensor:
        """Return the squared distances of features (n, features), (n,)."""
        white = features.double() @ self.whitening.double()
        exact = "donot_use_mm_for_euclid_dist"
        return torch.cdist(white, self.means.double(), compute_mode=exact).min(dim=1)[0].square()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbours:
    """The distance to the k-th nearest example, features at unit length (Sun et al. 2022)."""

    bank: Tensor
    """Features of the examples at unit length, (examples, features)."""
    neighbours: int

    @classmethod
    def fitted(cls, features: Tensor, neighbours: int) -> "Neighbours":
        """Return the distance to examples (n, features); to the farthest where k are not there."""
        return cls(bank=_unit(features).float(), neighbours=min(neighbours, len(features)))

    def tensors(self) -> dict[str, Tensor]:
        """Return the examples."""
        return {"bank": self.bank}

    def __call__(self, features: Tensor) -> Tensor:
        """Return the distances of features (n, features), (n,), 0 to 2."""
        alike = _unit(features) @ self.bank.double().T
        nearest = alike.topk(self.neighbours, dim=1)[0][:, -1]
        return (2 - 2 * nearest).clamp(min=0).sqrt()


def fitted_distance(features: Tensor, classes: Tensor, section: AnomalySection) -> Distance:
    """Return the distance that a section asks for, to examples of features (n, features)."""
    if section.score == "knn":
        return Neighbours.fitted(features, section.neighbours)
    return Mahalanobis.fitted(features, classes)


def shrunk_covariance(centred: Tensor) -> Tensor:
    """Return the covariance (features, features) of centred rows (n, features), shrunk.

    Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance
    matrices", its bona fide estimator: (1 - b²/d²) S + (b²/d²) m I, with m the mean variance,
    d² = |S - m I|² and b² = sum of |x x^T - S|² over the rows, divided by n².
    """
    count, width = centred.shape
    sample = centred.T @ centred / count
    mean = sample.trace() / width
    spread = sample.square().sum() - width * mean.square()
    error = (centred.square().sum(1).square().sum() / count - sample.square().sum()) / count
    share = (error / spread.clamp(min=1e-300)).clamp(0, 1)
    return (1 - share) * sample + share * mean * torch.eye(width, dtype=sample.dtype)


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.double(), dim=1)
