"""Both distances, beside scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from wsi_vit.models.anomaly.distances import (
    Mahalanobis,
    Neighbours,
    fitted_distance,
    shrunk_covariance,
)
from wsi_vit.models.anomaly.section import AnomalySection


def clouds(count: int, width: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features of three classes with means of their own, and the class ids 0, 1 and 4."""
    rng = np.random.default_rng(seed)
    classes = np.array([0, 1, 4])[rng.integers(0, 3, count)]
    mixed = rng.normal(size=(count, width)) @ rng.normal(size=(width, width))
    centres = 3 * np.random.default_rng(9).normal(size=(5, width))
    return torch.tensor(mixed + centres[classes]).float(), torch.tensor(classes)


@pytest.mark.parametrize(("count", "width"), [(200, 6), (30, 50)])
def test_the_covariance_is_shrunk_as_in_scikit_learn(count: int, width: int) -> None:
    rows, _ = clouds(count, width)
    centred = (rows - rows.mean(0)).double()

    theirs = LedoitWolf(assume_centered=True).fit(centred.numpy()).covariance_

    np.testing.assert_allclose(shrunk_covariance(centred).numpy(), theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("count", "width"), [(200, 6), (30, 50)])
def test_mahalanobis_is_to_the_nearest_mean_under_one_covariance(count: int, width: int) -> None:
    features, classes = clouds(count, width)
    asked, _ = clouds(7, width, seed=1)
    means = torch.stack([features[classes == k].mean(0) for k in (0, 1, 4)]).double()
    centred = features.double() - means[torch.searchsorted(torch.tensor([0, 1, 4]), classes)]
    inverse = torch.linalg.inv(shrunk_covariance(centred))
    offsets = asked.double()[:, None] - means
    expected = torch.einsum("ncf,fg,ncg->nc", offsets, inverse, offsets).min(1).values

    found = Mahalanobis.fitted(features, classes)(asked)

    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4)


def test_a_feature_that_never_varies_makes_no_distance_infinite() -> None:
    features, classes = clouds(50, 4)
    features[:, 2] = 1.5

    assert Mahalanobis.fitted(features, classes)(features).isfinite().all()


def test_neighbours_are_those_of_scikit_learn_at_unit_length() -> None:
    features, classes = clouds(60, 5)
    asked, _ = clouds(9, 5, seed=1)
    section = AnomalySection(score="knn", neighbours=4)
    unit = torch.nn.functional.normalize(features, dim=1)
    search = NearestNeighbors(n_neighbors=4).fit(unit.numpy())
    expected = search.kneighbors(torch.nn.functional.normalize(asked, dim=1).numpy())[0][:, -1]

    found = fitted_distance(features, classes, section)(asked)

    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_the_length_of_features_does_not_matter_to_neighbours() -> None:
    features, _ = clouds(20, 5)
    distance = Neighbours.fitted(features, 3)

    torch.testing.assert_close(distance(7 * features), distance(features))


def test_of_fewer_examples_than_neighbours_the_farthest_counts() -> None:
    distance = Neighbours.fitted(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 10)

    assert distance(torch.tensor([[2.0, 0.0]])).item() == pytest.approx(2**0.5)
