"""COCO annotations paint the pixels that COCO's own code gives them, in the order of the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsi_vit.datasets.coco import CocoMasks
from wsi_vit.datasets.masks import CocoValues
from wsi_vit.errors import DatasetError

SQUARE = [1.0, 1, 4, 1, 4, 3, 1, 3]


def annotation(segmentation: Any, category: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": 5, "category_id": category, "segmentation": segmentation, **more}


def coco(root: Path, *annotations: dict[str, Any], **parts: Any) -> CocoMasks:
    content = {
        "images": [{"id": 5, "file_name": "train/a.jpg", "height": 4, "width": 6}],
        "categories": [{"id": 1, "name": "crack"}, {"id": 9, "name": "oil"}],
        "annotations": list(annotations),
        **parts,
    }
    (root / "annotations.json").write_text(json.dumps(content))
    return CocoValues(file="annotations.json").open(root)


def read(root: Path, *annotations: dict[str, Any]) -> list[list[int]]:
    return coco(root, *annotations).read("train/a.jpg").tolist()


def test_a_polygon_covers_the_pixels_between_its_corners(tmp_path: Path) -> None:
    assert read(tmp_path, annotation([SQUARE])) == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_slanted_edges_follow_the_pixel_centres(tmp_path: Path) -> None:
    """Against an even-odd test of each pixel's centre, which differs on the outline alone."""
    size, corners = 60, np.array([[5.2, 3.1], [52.7, 20.4], [30.5, 55.6], [28.0, 25.0]])
    images = [{"id": 5, "file_name": "a.jpg", "height": size, "width": size}]
    masks = coco(tmp_path, annotation([corners.ravel().tolist()]), images=images)
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    inside = np.zeros((size, size), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        between = (y0 <= y) != (y1 <= y)
        inside ^= between & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    painted = masks.read("a.jpg") == 1
    assert (painted != inside).sum() <= 12
    assert abs(int(painted.sum()) - int(inside.sum())) <= 6


def test_several_polygons_of_one_object_are_one_region(tmp_path: Path) -> None:
    both = read(tmp_path, annotation([SQUARE, [3, 0, 6, 0, 6, 2, 3, 2]]))
    assert both[0] == [0, 0, 0, 1, 1, 1]
    assert both[1] == [0, 1, 1, 1, 1, 1]  # where they overlap there is no hole


def test_later_objects_cover_earlier_ones(tmp_path: Path) -> None:
    over = annotation([[2, 0, 6, 0, 6, 4, 2, 4]], category=9)
    assert read(tmp_path, annotation([SQUARE]), over)[1] == [0, 1, 9, 9, 9, 9]
    assert read(tmp_path, over, annotation([SQUARE]))[1] == [0, 1, 1, 1, 9, 9]


def test_run_lengths_go_down_the_columns_and_may_leave_holes(tmp_path: Path) -> None:
    """A ring: 3 x 3 with a hole, from column 1, as a list and as COCO packs it."""
    ring = [4, 3, 1, 1, 1, 1, 1, 3, 9]
    expected = [[0, 1, 1, 1, 0, 0], [0, 1, 0, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0] * 6]
    for counts in (ring, packed(ring)):
        crowd = annotation({"size": [4, 6], "counts": counts}, iscrowd=1)
        assert read(tmp_path, crowd) == expected


def packed(runs: list[int]) -> str:
    """`rleToString` of maskApi.c, written from its text."""
    text = ""
    for index, run in enumerate(runs):
        value, more = (run - runs[index - 2] if index > 2 else run), True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != -1 if bits & 0x10 else value != 0
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


def test_long_packed_runs_come_back(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    mask = chance.random((90, 70)) > 0.02
    flat = np.r_[False, mask.T.ravel(), True]
    edges = np.flatnonzero(np.diff(flat.astype(int)))
    runs = np.diff(np.r_[0, edges, mask.size]).tolist()
    images = [{"id": 5, "file_name": "a.jpg", "height": 90, "width": 70}]
    outline = {"size": [90, 70], "counts": packed(runs)}
    masks = coco(tmp_path, annotation(outline), images=images)
    assert np.array_equal(masks.read("a.jpg") == 1, mask)


def test_an_image_is_found_by_its_path_or_its_name_and_may_hold_nothing(tmp_path: Path) -> None:
    masks = coco(tmp_path)
    assert masks.names == {"crack": 1, "oil": 9}
    assert not masks.read("train/a.jpg").any()
    assert masks.read("elsewhere/a.jpg").shape == (4, 6)
    with pytest.raises(ValueError, match=r"is not named in annotations\.json"):
        masks.read("b.jpg")


def test_a_name_in_two_folders_is_no_name(tmp_path: Path) -> None:
    images = [
        {"id": 5, "file_name": "train/a.jpg", "height": 4, "width": 6},
        {"id": 6, "file_name": "val/a.jpg", "height": 2, "width": 2},
    ]
    masks = coco(tmp_path, images=images)
    assert masks.read("val/a.jpg").shape == (2, 2)
    with pytest.raises(ValueError, match="not named"):
        masks.read("a.jpg")


@pytest.mark.parametrize(
    ("outline", "reason"),
    [
        ([[1, 1, 2, 2]], "no list of at least three points"),
        ([[1, 1, 2, 2, 3, 3, 4]], "no list of at least three points"),
        ([[1, 1, 2, 2, 3, "x"]], "no numbers"),
        ([[1, 1, 2, 2, 3, float("nan")]], "no numbers"),
        ({"size": [6, 4], "counts": [24]}, r"of size \[6, 4\], not \[4, 6\]"),
        ({"size": [4, 6], "counts": [20]}, "of 20 pixels, not 24"),
        ({"size": [4, 6], "counts": [30, -6]}, "no counts"),
        ({"size": [4, 6]}, "no counts"),
    ],
)
def test_an_outline_that_makes_no_sense_is_refused_with_its_image(
    tmp_path: Path, outline: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        coco(tmp_path, annotation(outline)).read("a.jpg")


def test_all_contradictions_are_told_at_once(tmp_path: Path) -> None:
    wrong = [
        annotation([SQUARE], category=4),
        {**annotation([SQUARE]), "image_id": 8},
        annotation([SQUARE], category=0),
    ]
    categories = [{"id": 0, "name": "all"}, {"id": 1, "name": "crack"}, {"id": 2, "name": "crack"}]
    with pytest.raises(DatasetError, match="4 faults") as caught:
        coco(tmp_path, *wrong, categories=categories)
    for part in ("'crack' twice", "no category (4)", "no image (8)", "category 0, which stands"):
        assert part in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "{}", '{"images": [1]}', "no json", ""])
def test_another_file_is_no_coco_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "annotations.json").write_text(content)
    with pytest.raises(DatasetError):
        CocoValues(file="annotations.json").open(tmp_path)


def test_records_without_what_they_need_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"images\[0\] has no proper height"):
        coco(tmp_path, images=[{"id": 5, "file_name": "a.jpg", "width": 6}])


def _split_export(root: Path, folder: str, *, categories: list[dict[str, Any]]) -> None:
    (root / folder).mkdir()
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}],
        "categories": categories,
        "annotations": [{"image_id": 1, "category_id": len(folder) - 3, "segmentation": [SQUARE]}],
    }
    (root / folder / "_annotations.coco.json").write_text(json.dumps(content))


def test_each_split_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "crack"}, {"id": 2, "name": "oil"}]
    _split_export(tmp_path, "test", categories=categories)
    _split_export(tmp_path, "train", categories=categories)
    masks = CocoValues(file="*/_annotations.coco.json").open(tmp_path)
    assert (masks.read("test/a.jpg").max(), masks.read("train/a.jpg").max()) == (1, 2)
    with pytest.raises(ValueError, match="is not named"):
        masks.read("a.jpg")  # it might be either
    assert masks.digest("test/a.jpg") != masks.digest("train/a.jpg")


def test_files_that_number_their_categories_differently_are_refused(tmp_path: Path) -> None:
    _split_export(tmp_path, "test", categories=[{"id": 1, "name": "crack"}])
    _split_export(tmp_path, "train", categories=[{"id": 2, "name": "crack"}])
    with pytest.raises(DatasetError, match="differently"):
        CocoValues(file="*/_annotations.coco.json").open(tmp_path)
