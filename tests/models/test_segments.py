"""Class ids become true masks: whole classes, or connected pieces."""

import pytest
import torch
from torch import Tensor

from wsi_vit.labels import IGNORE_ID
from wsi_vit.models.sections import Targets
from wsi_vit.models.segments import IGNORED, SMALLEST_PX, segments_of

BOTH = pytest.mark.parametrize("targets", ["semantic", "instances"])


def canvas(*squares: tuple[int, int, int, int], side_px: int = 32) -> Tensor:
    """Return ids (1, side, side) of 0 with squares (class, top, left, side) painted in."""
    ids = torch.zeros(1, side_px, side_px, dtype=torch.int64)
    for label, top, left, side in squares:
        ids[0, top : top + side, left : left + side] = label
    return ids


def instances(ids: Tensor, background: int | None = 0) -> tuple[Tensor, list[int]]:
    found = segments_of(ids, "instances", classes=3, background=background)
    return found.maps[0], found.classes[0]


def test_semantic_masks_are_the_classes_of_each_image() -> None:
    ids = torch.cat([canvas((2, 0, 0, 8), (2, 20, 20, 8)), canvas((1, 0, 0, 8))])
    found = segments_of(ids, "semantic", classes=3)
    assert found.classes == [[0, 2], [0, 1]]
    assert torch.equal(found.maps, (ids > 0).long())


@BOTH
def test_ignored_pixels_lie_in_no_mask(targets: Targets) -> None:
    ids = canvas((IGNORE_ID, 0, 0, 10), (1, 16, 16, 8))
    found = segments_of(ids, targets, classes=3, background=0)
    assert torch.equal(found.maps == IGNORED, ids == IGNORE_ID)
    assert found.classes == [[0, 1]]


@BOTH
def test_an_image_that_is_ignored_altogether_has_no_mask(targets: Targets) -> None:
    ids = torch.full((1, 8, 8), IGNORE_ID)
    found = segments_of(ids, targets, classes=3, background=0)
    assert found.classes == [[]]
    assert (found.maps == IGNORED).all()


@BOTH
def test_every_pixel_lies_in_a_mask_of_its_class(targets: Targets) -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 3, (2, 8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    found = segments_of(ids, targets, classes=3)
    for maps, classes, image in zip(found.maps, found.classes, ids, strict=True):
        assert torch.equal(torch.tensor(classes)[maps], image)
        assert sorted(set(maps.flatten().tolist())) == list(range(len(classes)))


def test_two_apart_are_two_instances_and_two_classes_that_touch_as_well() -> None:
    maps, classes = instances(canvas((1, 2, 2, 6), (1, 20, 20, 6), (2, 2, 8, 6)))
    assert classes == [0, 1, 1, 2]
    assert maps[4, 4] != maps[22, 22]


def test_pieces_that_touch_by_a_corner_are_one() -> None:
    assert instances(canvas((1, 2, 2, 6), (1, 8, 8, 6)))[1] == [0, 1]


def test_a_crumb_joins_the_nearest_piece() -> None:
    maps, classes = instances(canvas((1, 2, 2, 8), (1, 22, 22, 8), (1, 17, 17, 2), (1, 20, 2, 2)))
    assert classes == [0, 1, 1]
    assert maps[17, 17] == maps[23, 23]
    assert maps[20, 2] == maps[5, 5]


def test_crumbs_alone_are_one_thing() -> None:
    maps, classes = instances(canvas((1, 2, 2, 2), (1, 20, 20, 3)))
    assert SMALLEST_PX > 9
    assert classes == [0, 1]
    assert maps[2, 2] == maps[20, 20] == 1


def test_background_stays_whole_where_a_label_map_has_one() -> None:
    ids = canvas((1, 0, 14, 4))
    ids[0, :, 14:18] = 1  # cuts the background in two
    assert instances(ids)[1] == [0, 1]
    assert instances(ids, background=None)[1] == [0, 0, 1]
