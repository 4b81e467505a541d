"""scikit-learn's digits as a source of images."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsi_vit.datasets.build import build_from_images
from wsi_vit.datasets.digits import DigitsSource
from wsi_vit.datasets.reading import open_dataset
from wsi_vit.datasets.splits import PatientSplit
from wsi_vit.errors import DatasetError
from wsi_vit.recipe import load_recipe
from wsi_vit.store import Store


def test_there_are_1797_digits_each_an_rgb_picture_with_its_class() -> None:
    found = DigitsSource(side_px=28).find()

    with Image.open(BytesIO(found[0].image_bytes())) as picture:
        pixels = np.asarray(picture)
    assert len({image.slide_id for image in found}) == 1797
    assert {image.word for image in found} == {str(digit) for digit in range(10)}
    assert found[0].word == "0"  # a ring: bright all around, dark in the middle
    assert pixels.shape == (28, 28, 3)
    assert pixels[12:16, 12:16].max() < 60 < pixels[4:9, 10:18].max()


def test_the_pictures_are_the_same_every_time() -> None:
    digests = [[image.pixels.digest() for image in DigitsSource().find()[:50]] for _ in range(2)]

    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 50


def test_a_dataset_of_digits_speaks_of_unseen_images_for_writers_are_not_told(
    tmp_path: Path,
) -> None:
    recipe = load_recipe("token_learner_digits")
    source = DigitsSource(rows=200)
    split = PatientSplit(validation=0.1, test=0.4)

    built = build_from_images(
        source,
        labels=recipe.labels,
        task="classification",
        split=split,
        name="digits",
        store=Store(tmp_path),
    )

    data = open_dataset(built.folder)
    assert data.estimate == "unseen images"
    assert [len(data.examples(name)) for name in ("train", "validation", "test")] == [100, 20, 80]


def test_masks_are_refused(tmp_path: Path) -> None:
    recipe = load_recipe("token_learner_digits")

    with pytest.raises(DatasetError, match="digits have classes, and no masks"):
        build_from_images(
            DigitsSource(),
            labels=recipe.labels,
            task="segmentation",
            split=PatientSplit(),
            name="digits",
            store=Store(tmp_path),
        )
