"""The loss of mask classification: transformers' where nothing is ignored, blind where it is."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.model import LABELS
from tests.models.test_contract import TINY_MASKS
from wsi_vit.labels import IGNORE_ID
from wsi_vit.models.building import build_model
from wsi_vit.models.criterion import Prediction
from wsi_vit.models.mask_classifier import criterion_of
from wsi_vit.models.sections import Architecture, MaskFormerSection
from wsi_vit.models.segments import Segments, segments_of
from wsi_vit.models.start import ConfigStart

BOTH = pytest.mark.parametrize("architecture", ["maskformer", "mask2former"])
ONES = torch.ones(3)


def made_up(architecture: Architecture) -> Any:
    torch.manual_seed(0)
    start = ConfigStart(options=TINY_MASKS)
    section = MaskFormerSection(architecture=architecture, start=start, input_px=64)
    return build_model(section, LABELS, "segmentation")


def as_transformers_likes(ids: Tensor) -> dict[str, list[Tensor]]:
    """Return the targets as lists of binary masks and of their classes."""
    present = [[c for c in range(3) if (mask == c).any()] for mask in ids]
    return {
        "mask_labels": [
            torch.stack([(mask == c).float() for c in classes])
            for mask, classes in zip(ids, present, strict=True)
        ],
        "class_labels": [torch.tensor(classes) for classes in present],
    }


def masks_of(ids: Tensor) -> Segments:
    return segments_of(ids, "semantic", classes=3)


def blocky_ids() -> Tensor:
    """Return masks (3, 64, 64) with one to three classes, in blocks."""
    torch.manual_seed(3)
    ids = torch.randint(0, 3, (3, 4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    ids[1] = 2
    return ids


@BOTH
def test_it_equals_the_criterion_of_transformers_where_nothing_is_ignored(
    architecture: Architecture,
) -> None:
    model, ids = made_up(architecture), blocky_ids()
    pixels = torch.randn(3, 3, 64, 64)
    torch.manual_seed(5)
    theirs = model.network(pixels, **as_transformers_likes(ids)).loss
    torch.manual_seed(5)
    ours = model.criterion(model._predict(pixels), masks_of(ids), ONES)
    assert len(model._predict(pixels)) == {"maskformer": 1, "mask2former": 3}[architecture]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@BOTH
def test_gradients_equal_those_of_transformers_as_well(architecture: Architecture) -> None:
    model, ids = made_up(architecture), blocky_ids()
    pixels = torch.randn(3, 3, 64, 64)
    gradients = []
    for own in (True, False):
        torch.manual_seed(5)
        model.zero_grad()
        targets = {} if own else as_transformers_likes(ids)
        loss = (
            model.criterion(model._predict(pixels), masks_of(ids), ONES)
            if own
            else model.network(pixels, **targets).loss
        )
        loss.backward()
        gradients.append(model.network.class_predictor.weight.grad.clone())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def one_image(masks: Tensor) -> Prediction:
    """Return a prediction of masks (queries, h, w) with even class logits, for one image."""
    return Prediction(torch.zeros(1, len(masks), 4), masks[None])


def dense(prediction: Prediction, ids: Tensor) -> Tensor:
    return criterion_of(made_up("maskformer").network.config)([prediction], masks_of(ids), ONES)


def test_what_is_predicted_on_ignored_pixels_does_not_matter() -> None:
    torch.manual_seed(1)
    ids = torch.zeros(1, 32, 32, dtype=torch.int64)
    ids[:, 16:], ids[:, 24:] = 1, IGNORE_ID
    masks = torch.randn(5, 32, 32)
    other = masks.clone()
    # Small against the mass on known pixels, so that no query comes to look at unknown ones.
    other[:, 24:] = torch.randn(5, 8, 32) - 1
    torch.testing.assert_close(dense(one_image(masks), ids), dense(one_image(other), ids))


def test_ignored_pixels_pull_at_no_mask() -> None:
    torch.manual_seed(1)
    ids = torch.zeros(1, 32, 32, dtype=torch.int64)
    ids[:, :, 20:] = IGNORE_ID
    masks = torch.randn(5, 32, 32, requires_grad=True)
    dense(one_image(masks), ids).backward()
    assert masks.grad is not None
    assert not masks.grad[:, :, 20:].any()
    assert masks.grad[:, :, :20].any()


def test_a_query_that_looks_at_unknown_pixels_is_not_told_that_nothing_is_there() -> None:
    ids = torch.zeros(1, 32, 32, dtype=torch.int64)
    ids[:, :, 16:] = IGNORE_ID
    masks = torch.full((2, 32, 32), -8.0)
    masks[0, :, :16], masks[1, :, 16:] = 8.0, 8.0
    classes = torch.zeros(1, 2, 4, requires_grad=True)
    dense(Prediction(classes, masks[None]), ids).backward()
    assert classes.grad is not None
    assert classes.grad[0, 0].any()  # matched with the known class
    assert not classes.grad[0, 1].any()  # sees only what nobody outlined


def test_a_query_that_looks_at_known_pixels_learns_no_object() -> None:
    ids = torch.zeros(1, 32, 32, dtype=torch.int64)
    masks = torch.full((2, 32, 32), -8.0)
    masks[0], masks[1, :4] = 8.0, 8.0
    classes = torch.zeros(1, 2, 4, requires_grad=True)
    dense(Prediction(classes, masks[None]), ids).backward()
    assert classes.grad is not None
    assert classes.grad[0, 1, 3] < 0  # gradient descent raises "no object"


def test_an_image_that_is_ignored_altogether_leaves_the_others_alone() -> None:
    torch.manual_seed(2)
    ids = torch.randint(0, 3, (1, 32, 32))
    both = torch.cat([ids, torch.full_like(ids, IGNORE_ID)])
    prediction = Prediction(torch.randn(1, 5, 4), torch.randn(1, 5, 32, 32))
    pair = Prediction(*(torch.cat([part, torch.randn_like(part)]) for part in prediction))
    torch.testing.assert_close(dense(pair, both), dense(prediction, ids))


def test_class_weights_act_on_the_class_loss() -> None:
    torch.manual_seed(2)
    ids = torch.randint(0, 2, (1, 32, 32))
    prediction = Prediction(torch.randn(1, 5, 4), torch.randn(1, 5, 32, 32))
    criterion = criterion_of(made_up("maskformer").network.config)
    heavy = criterion([prediction], masks_of(ids), torch.tensor([1.0, 9.0, 1.0]))
    unseen = criterion([prediction], masks_of(ids), torch.tensor([1.0, 1.0, 9.0]))
    even = criterion([prediction], masks_of(ids), ONES)
    assert heavy != even
    assert unseen == even  # class 2 is not in the image


@BOTH
def test_predictions_that_are_not_numbers_do_not_break_the_matching(
    architecture: Architecture,
) -> None:
    criterion = criterion_of(made_up(architecture).network.config)
    masks = torch.randn(1, 5, 16, 16)
    masks[0, 2] = float("nan")
    loss = criterion([Prediction(torch.zeros(1, 5, 4), masks)], masks_of(blocky_ids()[:1]), ONES)
    assert loss.shape == ()
