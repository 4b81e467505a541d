"""Deletion and insertion: by hand, and on a model that has learnt where to look."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.explanation.blobs import applied, blobs, trained_vit
from wsi_vit.explanation.faithfulness import (
    Faithfulness,
    area,
    blurred,
    gain,
    judge_map,
    mean_coloured,
)
from wsi_vit.explanation.maps import Explainer
from wsi_vit.explanation.section import ExplanationSection, FaithfulnessSection, Method

TEST = FaithfulnessSection(steps=12, random_maps=6)


def brightness_of_the_first_cell(images: Tensor) -> Tensor:
    return images[:, 0, 0, 0].float() / 200


def two_by_two() -> Tensor:
    """A picture of four cells of 4 px; the first is 200, the others 0: 50 on average."""
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    image[:, :4, :4] = 200
    return image


def test_areas_are_as_worked_by_hand() -> None:
    """Four cells, four steps: the score falls from 1 to 0.25 when the first cell goes."""
    first, last = np.array([[4, 3], [2, 1]]), np.array([[1, 2], [3, 4]])
    score, image = brightness_of_the_first_cell, two_by_two()

    # 1, 1/4, 1/4, 1/4, 1/4, and 1, 1, 1, 1, 1/4, by trapezoids of a quarter
    assert area(score, image, first, 4, "deletion") == pytest.approx(0.34375)
    assert area(score, image, last, 4, "deletion") == pytest.approx(0.90625)
    assert area(score, image, first, 4, "insertion") > area(score, image, last, 4, "insertion")


def test_what_is_deleted_has_the_mean_colour_and_what_is_not_yet_inserted_is_blurred() -> None:
    image = two_by_two()

    assert (mean_coloured(image) == 50).all()
    soft = blurred(image, (2, 2))
    assert soft.shape == image.shape
    assert 150 > soft[0, 0, 0] > soft[0, 0, 7] > soft[0, 7, 7]
    assert soft.float().mean() == pytest.approx(50, abs=3)


def faithfulness(method: Method, count: int) -> list[Faithfulness]:
    model, (images, targets, _) = trained_vit(), blobs(count, seed=9)
    explainer = Explainer(applied(), ExplanationSection(method=method))
    found = explainer.explain(list(images.permute(0, 2, 3, 1).numpy()))
    assert (found.class_ids == targets.numpy()).mean() > 0.95
    tested = []
    for image, one, class_id in zip(images, found.whole, found.class_ids.tolist(), strict=True):
        score = lambda part, k=class_id: model.scores(part)[:, k]  # noqa: E731
        tested.append(judge_map(score, image, one, TEST))
    return tested


def test_rollout_beats_random_maps_on_a_model_that_has_learnt() -> None:
    better = gain(faithfulness("rollout", 16))

    assert better.pictures == 16
    assert better.deletion_low > 0.02
    assert better.insertion_low > 0.0


def test_gradient_rollout_beats_random_maps_as_well() -> None:
    better = gain(faithfulness("gradient", 16))

    assert better.deletion_low > 0.02
    assert better.insertion_low > 0.0


def test_a_map_upside_down_loses_against_random_maps() -> None:
    model, (images, _, _) = trained_vit(), blobs(1, seed=9)
    explainer = Explainer(applied(), ExplanationSection(method="gradient"))
    found = explainer.explain(list(images.permute(0, 2, 3, 1).numpy()))
    k = int(found.class_ids[0])
    tested = judge_map(lambda part: model.scores(part)[:, k], images[0], -found.whole[0], TEST)

    assert tested.deletion.area > tested.deletion.random


def test_the_same_seed_draws_the_same_random_maps() -> None:
    score, image, importance = brightness_of_the_first_cell, two_by_two(), np.eye(2)

    assert judge_map(score, image, importance, TEST) == judge_map(score, image, importance, TEST)
