"""From examples of any size to tensors: pixels keep their place, ids their value."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.model import LABELS
from wsi_vit.datasets.augmentation.batches import augment
from wsi_vit.datasets.augmentation.section import Augmentation
from wsi_vit.datasets.example import Example
from wsi_vit.errors import ModelError
from wsi_vit.labels import IGNORE_ID
from wsi_vit.models.pixels import fit_images, fit_masks, refuse_odd_images, stack_examples
from wsi_vit.models.start import HubStart


def example(image: np.ndarray, target: np.ndarray | int, key: str = "s/0") -> Example:
    return Example(
        image=image, target=np.array(target, np.uint8), key=key, slide_id="s", patient="p"
    )


def image_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype("u1")


def test_channels_rows_and_columns_keep_their_places() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[2, 5] = (10, 20, 30)

    batch = stack_examples([example(image, 1)], labels=LABELS, task="classification", side_px=8)

    assert batch["images"].dtype == torch.uint8
    assert batch["images"][0, :, 2, 5].tolist() == [10, 20, 30]
    assert batch["targets"].tolist() == [1]


def test_examples_of_several_sizes_make_one_batch() -> None:
    examples = [example(image_of(*size), 0) for size in ((16, 16), (40, 24), (9, 31))]

    batch = stack_examples(examples, labels=LABELS, task="classification", side_px=16)

    assert batch["images"].shape == (3, 3, 16, 16)


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.sampled_from([8, 16, 32]))
def test_resized_masks_hold_no_new_id(height: int, width: int, side: int) -> None:
    ids = np.random.default_rng(height).choice([0, 2, IGNORE_ID], (height, width))
    one = example(image_of(height, width), ids)

    batch = stack_examples([one], labels=LABELS, task="segmentation", side_px=side)

    assert batch["targets"].shape == (1, side, side)
    assert set(batch["targets"].unique().tolist()) <= set(np.unique(ids).tolist())


def test_halving_averages_the_image_and_picks_from_the_mask() -> None:
    columns = torch.arange(16).expand(1, 3, 16, 16)
    image = (columns // 8 * 200).to(torch.uint8)
    mask = (columns[:, 0] // 8).long()

    small, ids = fit_images(image, 8), fit_masks(mask, 8)

    assert torch.equal((small[:, 0] > 100).long(), ids)
    assert small.float().mean() == pytest.approx(100, abs=1)


@pytest.mark.parametrize(("task", "target"), [("classification", 3), ("segmentation", 7)])
def test_an_id_the_labels_do_not_know_is_named_with_its_example(task: str, target: int) -> None:
    ids = target if task == "classification" else np.full((8, 8), target)
    examples = [
        example(image_of(8, 8), 0 if task == "classification" else np.zeros((8, 8)), "good"),
        example(image_of(8, 8), ids, "slide-7/0_0"),
    ]

    with pytest.raises(ModelError, match=rf"\[{target}\] in slide-7/0_0.*Known: 0 stroma"):
        stack_examples(examples, labels=LABELS, task=task, side_px=8)  # type: ignore[arg-type]


def test_a_target_of_the_other_task_is_refused() -> None:
    mask = example(image_of(8, 8), np.zeros((8, 8)))
    with pytest.raises(ModelError, match="does not fit the task classification"):
        stack_examples([mask], labels=LABELS, task="classification", side_px=8)
    short = example(image_of(8, 8), np.zeros((7, 8)))
    with pytest.raises(ModelError, match=r"shape \(7, 8\)"):
        stack_examples([short], labels=LABELS, task="segmentation", side_px=8)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(1, 8, 8, 3, dtype=torch.uint8),
        torch.zeros(1, 4, 8, 8, dtype=torch.uint8),
    ],
)
def test_images_that_would_be_scaled_twice_or_turned_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ModelError, match="wrong form"):
        refuse_odd_images(images)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 9999),
    y=st.integers(4, 27),
    x=st.integers(4, 27),
    preset=st.sampled_from(["histology", "strong", "scenes"]),
)
def test_a_marked_spot_stays_on_its_image_through_every_change(
    seed: int, y: int, x: int, preset: str
) -> None:
    images = torch.full((1, 3, 32, 32), 120, dtype=torch.uint8)
    masks = torch.zeros((1, 32, 32), dtype=torch.int64)
    images[:, :, y - 2 : y + 3, x - 2 : x + 3] = 250
    masks[:, y - 2 : y + 3, x - 2 : x + 3] = 1
    section = Augmentation.model_validate({"preset": preset})

    changed, moved = augment(images, masks, section, torch.Generator().manual_seed(seed))

    spot = (moved[0] == 1).nonzero().float()
    if len(spot) < 12:  # cut off, wholly or in part
        return
    grey = changed[0].float().mean(dim=0)
    inside, outside = grey[moved[0] == 1], grey[moved[0] == 0]
    assert inside.median() > outside.median() + 30
    # The brightest place within the seen image is in the middle of the spot.
    bright = (grey * (moved[0] != IGNORE_ID) > (inside.median() + outside.median()) / 2).nonzero()
    assert (bright.float().mean(dim=0) - spot.mean(dim=0)).norm() < 1.5


def test_an_empty_batch_and_a_single_pixel_are_augmented_too() -> None:
    section = Augmentation(preset="strong")
    for shape in ((0, 3, 8, 8), (2, 3, 1, 1)):
        images = torch.zeros(shape, dtype=torch.uint8)
        masks = torch.zeros((shape[0], *shape[2:]), dtype=torch.int64)
        changed, moved = augment(images, masks, section, torch.Generator().manual_seed(0))
        assert (changed.shape, moved.shape) == (images.shape, masks.shape)


@pytest.mark.parametrize("name", ["lab/a--b", "a..b", "lab/x-", "ü/x", "a" * 97])
def test_a_name_that_the_hub_cannot_have_is_told_in_our_words(name: str) -> None:
    with pytest.raises(ModelError, match="No checkpoint of the hub can have this name"):
        HubStart(id=name).folder()
