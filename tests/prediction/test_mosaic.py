"""Tiles spread over big pictures: even, without seams, and the same whatever memory there is."""

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from tests.prediction.colours import ByColour, applied, painted
from wsi_vit.models.model import Model
from wsi_vit.prediction.applied import AppliedModel
from wsi_vit.prediction.mosaic import is_large, tile_starts, tiled_picture
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.stitch import BandBlender

SECTION = PredictionSection(batch_size=3)


def truth(height: int, width: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    return ((rows // 13 + columns // 17) % 3).astype(np.uint8)


@dataclass
class BlindAtTheRim(ByColour):
    """Knows colours in the middle of a tile; near its rim it believes in class 0 more and more."""

    def scores(self, images: Tensor) -> Tensor:
        scores = super().scores(images)
        side = scores.shape[-1]
        line = torch.linspace(-1, 1, side).abs()
        rim = torch.maximum(line[None, :], line[:, None]) ** 4
        believed = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
        return scores * (1 - rim) + believed * rim


def blind() -> AppliedModel:
    return AppliedModel(
        model=cast(Model, BlindAtTheRim()), digest="b1" * 32, device=torch.device("cpu")
    )


@given(st.integers(1, 5000), st.integers(8, 512), st.floats(0, 0.75))
def test_tiles_cover_a_line_evenly_and_no_more(length: int, side: int, overlap: float) -> None:
    starts = tile_starts(length, side, overlap)

    assert starts[0] == 0
    assert starts[-1] == max(0, length - side)
    gaps = [other - one for one, other in pairwise(starts)]
    assert all(0 < gap <= max(1, int(side * (1 - overlap))) for gap in gaps)
    assert max(gaps, default=0) - min(gaps, default=0) <= 1


@pytest.mark.parametrize("shape", [(129, 40), (300, 129), (64, 1000), (193, 193), (700, 1), (1, 9)])
def test_big_pictures_come_back_whole_and_in_place(shape: tuple[int, int]) -> None:
    image = painted(truth(*shape))  # this model sees one pixel at a time: tiles change nothing

    np.testing.assert_array_equal(tiled_picture(image, applied(), SECTION), truth(*shape))


def test_no_seam_shows_where_a_model_knows_little_at_the_rim_of_its_tiles() -> None:
    """Every class but 0 would be a grid of lines; blended, they are only at the picture's edge."""
    ids = np.ones((331, 417), np.uint8)
    image = painted(ids)
    inner = (slice(16, -16), slice(16, -16))
    blended = tiled_picture(image, blind(), PredictionSection(overlap=0.5))
    side_by_side = tiled_picture(image, blind(), PredictionSection(overlap=0))

    assert (blended[inner] == 1).all()
    assert (side_by_side[inner] != 1).mean() > 0.02


def test_tiles_that_disagree_hand_over_slowly() -> None:
    """Where one tile is as sure of one class as the next of another, both are heard for long."""
    blender = BandBlender(classes=2, width_px=224, tile_px=128)
    for left, sure in ((0, 0), (96, 1)):
        scores = np.zeros((2, 128, 128), np.float32)
        scores[sure] = 1
        blender.add(scores, left=left)
    share = blender.advance(128).scores[1, 64]

    assert ((share > 0.1) & (share < 0.9)).sum() >= 30  # nearly all of the 32 that they share
    assert np.abs(np.diff(share)).max() < 0.25


def test_stripes_for_little_memory_change_nothing() -> None:
    image = painted(truth(80, 3000))
    little = SECTION.model_copy(update={"memory_mb": 1})

    np.testing.assert_array_equal(
        tiled_picture(image, blind(), little), tiled_picture(image, blind(), SECTION)
    )


def test_only_few_tiles_are_asked_at_once() -> None:
    seen: list[int] = []

    @dataclass
    class Watched(ByColour):
        def scores(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return super().scores(images)

    model = AppliedModel(model=cast(Model, Watched()), digest="", device=torch.device("cpu"))
    tiled_picture(painted(truth(200, 500)), model, SECTION)

    assert max(seen) == 3


@pytest.mark.parametrize(("tile_px", "length"), [(None, 192), (100, 300)])
def test_pictures_longer_than_three_tiles_are_tiled(tile_px: int | None, length: int) -> None:
    section = PredictionSection(tile_px=tile_px)

    assert not is_large((20, length, 3), applied(), section)
    assert is_large((20, length + 1, 3), applied(), section)
    assert not is_large((20, 10**6, 3), applied("classification"), section)


def test_tiles_may_be_larger_than_the_models_input() -> None:
    model = applied()
    section = PredictionSection(tile_px=150, overlap=0)
    image = painted(truth(300, 450))

    np.testing.assert_array_equal(tiled_picture(image, model, section), truth(300, 450))
    assert cast(ByColour, model.model).calls == 2  # rows of three tiles
