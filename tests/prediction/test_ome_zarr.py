"""The class map on disk, opened again with zarr and held against NGFF 0.5."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tests.prediction.colours import LABELS
from wsi_vit.prediction.canvas import Canvas
from wsi_vit.prediction.ome_zarr import ClassMap, halve_classes, halve_probabilities


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ClassMap:
    """A map of 1300 x 2100 pixels of 2.5 base pixels, 0.4 µm each, written in three blocks."""
    canvas = Canvas(step=2.5, plane=(5249, 3250), mpp=0.4, patch_px=64, stride_px=48)
    target = ClassMap(tmp_path_factory.mktemp("map") / "m.ome.zarr", canvas, LABELS)
    target.create()
    ids, probabilities = content()
    for top, left, right in ((0, 0, 1024), (0, 1024, 2100), (1024, 0, 2100)):
        area = slice(top, top + 1024), slice(left, right)
        target.write(ids[area], probabilities[:, *area], top=top, left=left)
    target.build_pyramid()
    return target


def content() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(2)
    ids = rng.choice(np.array([0, 1, 2, 255], np.uint8), (33, 53)).repeat(40, 0).repeat(40, 1)
    ids = ids[:1300, :2100]
    probabilities = np.stack([np.where(ids == k, 200, 27) for k in range(3)])
    return ids, np.where(ids == 255, 0, probabilities).astype(np.uint8)


def test_what_was_written_is_read_back(written: ClassMap) -> None:
    ids, probabilities = content()
    level = written.read(most_px=10**9)

    assert (level.classes == ids).all()
    for class_id, plane in enumerate(probabilities):
        assert (written.read_probability(level, class_id) == plane).all()
    assert (written.read_certainty(level) == probabilities.max(axis=0)).all()
    assert (level.step, level.number) == (2.5, 0)


def test_the_file_holds_export_ids(written: ClassMap) -> None:
    stored = zarr.open_array(written.folder / "labels/classes/0", mode="r")

    assert set(np.unique(np.asarray(stored[:]))) == {3, 7, 1, 255}
    assert stored.shards == (1024, 1024)


def test_metadata_are_those_of_ngff_05(written: ClassMap) -> None:
    root = zarr.open_group(written.folder, mode="r")
    ome = root.attrs.asdict()["ome"]
    (image,) = ome["multiscales"]

    assert root.metadata.zarr_format == 3
    assert ome["version"] == "0.5"
    assert [axis["name"] for axis in image["axes"]] == ["c", "y", "x"]
    assert [axis["type"] for axis in image["axes"]] == ["channel", "space", "space"]
    assert {axis.get("unit") for axis in image["axes"][1:]} == {"micrometer"}
    assert root["labels"].attrs.asdict()["ome"]["labels"] == ["classes"]
    assert [channel["label"] for channel in ome["omero"]["channels"]] == list(LABELS.names)
    for dataset in image["datasets"]:
        array = zarr.open_array(written.folder / dataset["path"], mode="r")
        kinds = [step["type"] for step in dataset["coordinateTransformations"]]
        assert kinds == ["scale", "translation"]
        assert all(len(s[s["type"]]) == array.ndim for s in dataset["coordinateTransformations"])
        assert array.metadata.dimension_names == ("c", "y", "x")


def test_the_label_image_has_colours_names_and_as_many_levels(written: ClassMap) -> None:
    root = zarr.open_group(written.folder, mode="r")
    ome = zarr.open_group(written.folder / "labels/classes", mode="r").attrs.asdict()["ome"]
    label = ome["image-label"]
    values = [item["label-value"] for item in label["colors"]]

    assert values == [3, 7, 1, 255] == [item["label-value"] for item in label["properties"]]
    assert label["colors"][0]["rgba"] == [0xD5, 0x5E, 0x00, 255]
    assert label["properties"][1]["name"] == "stroma"
    assert label["source"] == {"image": "../../"}
    image = root.attrs.asdict()["ome"]["multiscales"][0]
    assert len(ome["multiscales"][0]["datasets"]) == len(image["datasets"]) == 4


def test_every_level_lies_on_the_slide(written: ClassMap) -> None:
    """The µm of a level's left border are those of base pixel 0's left border, -0.2 µm."""
    ome = zarr.open_group(written.folder / "labels/classes", mode="r").attrs.asdict()["ome"]
    for level, dataset in enumerate(ome["multiscales"][0]["datasets"]):
        scale, translation = dataset["coordinateTransformations"]
        assert scale["scale"] == pytest.approx([2.5 * 0.4 * 2**level] * 2)
        border = translation["translation"][1] - scale["scale"][1] / 2
        assert border == pytest.approx(-0.2)


def test_a_block_that_would_share_a_shard_is_refused(written: ClassMap) -> None:
    ids, probabilities = content()

    with pytest.raises(ValueError, match="share a shard"):
        written.write(ids[:9, :9], probabilities[:, :9, :9], top=512, left=0)


def test_the_finest_level_that_fits_is_read(written: ClassMap) -> None:
    assert written.read(most_px=700_000).classes.shape == (650, 1050)
    assert written.read(most_px=1).classes.shape == (163, 263)


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.sampled_from([0, 1, 2, 255]),
    )
)
def test_halving_takes_the_most_frequent_and_the_lower_on_a_tie(ids: NDArray[np.uint8]) -> None:
    half = halve_classes(ids)
    for row in range(half.shape[0]):
        for column in range(half.shape[1]):
            block = np.full(4, 255, np.uint8)
            inside = ids[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel()
            block[: inside.size] = inside
            values, votes = np.unique(block, return_counts=True)
            assert half[row, column] == values[votes.argmax()]


def test_halving_probabilities_leaves_out_what_was_not_computed() -> None:
    plane = np.array([[100, 0, 9], [201, 0, 0]], np.uint8)
    computed = np.array([[True, False, True], [True, False, False]])

    assert halve_probabilities(plane[None], computed).tolist() == [[[151, 9]]]
