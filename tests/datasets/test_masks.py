"""Every format that masks come in is read to source ids, and what cannot be read says why."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from scipy.io import savemat

from wsi_vit.datasets.masks import (
    IndexValues,
    MaskValues,
    MatValues,
    PaletteValues,
    ThresholdValues,
)

IDS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 64, 255]], np.uint8)
PALETTE = PaletteValues(colours={"#000000": 0, "#800000": 7, "#0040FF": 300})


def png(pixels: np.ndarray | Image.Image) -> bytes:
    stream = BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(stream, "PNG")
    return stream.getvalue()


def mat(**variables: Any) -> bytes:
    stream = BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


class TestIndex:
    def test_greys_and_their_copies_in_three_channels_are_ids(self) -> None:
        for pixels in (IDS, np.repeat(IDS[..., None], 3, axis=2), IDS.astype(np.uint16) * 300):
            expected = pixels if pixels.ndim == 2 else IDS
            assert np.array_equal(IndexValues().read(png(pixels)), expected)

    def test_indices_of_a_palette_are_ids_whatever_its_colours(self) -> None:
        picture = Image.fromarray(IDS)
        picture.putpalette([9, 9, 9, 200, 0, 0, 0, 90, 200])
        assert picture.mode == "P"
        assert np.array_equal(IndexValues().read(png(picture)), IDS)

    def test_black_and_white_is_0_and_1_and_not_255(self) -> None:
        bilevel = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
        assert IndexValues().read(png(bilevel)).tolist() == [[0, 1]]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (png(COLOURS[IDS]), "is coloured; ids are grey values"),
            (png(IDS)[:50], "cannot be decoded"),
            (b"", "cannot be decoded"),
        ],
        ids=["coloured", "torn", "empty"],
    )
    def test_what_holds_no_ids_is_refused(self, content: bytes, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            IndexValues().read(content)

    def test_a_missing_file_is_a_short_reason(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"cannot be decoded \(FileNotFoundError\)"):
            IndexValues().read(tmp_path / "none.png")


class TestThreshold:
    def test_soft_edges_fall_on_either_side_of_the_limit(self) -> None:
        soft = np.array([[0, 127, 128, 255]], np.uint8)
        assert ThresholdValues().read(png(soft)).tolist() == [[0, 0, 1, 1]]
        assert ThresholdValues(above=0).read(png(soft)).tolist() == [[0, 1, 1, 1]]

    def test_a_palette_counts_by_its_greys(self) -> None:
        picture = Image.fromarray(np.array([[0, 1]], np.uint8))
        picture.putpalette([255, 255, 255, 0, 0, 0])
        assert ThresholdValues().read(png(picture)).tolist() == [[1, 0]]

    def test_sixteen_bits_are_refused(self) -> None:
        with pytest.raises(ValueError, match="I;16 pixels, not 8 bits"):
            ThresholdValues().read(png(IDS.astype(np.uint16)))


class TestPalette:
    def test_colours_become_their_ids(self) -> None:
        read = PALETTE.read(png(COLOURS[IDS]))
        assert read.tolist() == [[0, 7, 300], [300, 7, 0]]

    def test_a_whole_picture_of_150_colours_is_read_exactly(self) -> None:
        chance = np.random.default_rng(0)
        table = np.unique(chance.integers(0, 256, (150, 3), np.uint8), axis=0)
        colours = {f"#{bytes(colour).hex()}": number for number, colour in enumerate(table)}
        ids = chance.integers(0, len(table), (200, 300))
        assert np.array_equal(PaletteValues(colours=colours).read(png(table[ids])), ids)

    def test_unlisted_colours_are_counted_and_named_the_most_frequent_first(self) -> None:
        pixels = COLOURS[np.zeros((10, 10), int)]
        pixels[0, :3], pixels[1, 0] = (1, 2, 3), (255, 255, 255)
        with pytest.raises(
            ValueError, match=r"4 pixels \(4.00%\) of unlisted colours: #010203, #ffffff"
        ):
            PALETTE.read(png(pixels))

    def test_a_colour_that_shows_through_says_nothing(self) -> None:
        opaque = np.dstack([COLOURS[IDS], np.full(IDS.shape, 255, np.uint8)])
        assert PALETTE.read(png(opaque))[0, 1] == 7
        opaque[0, 0, 3] = 254
        with pytest.raises(ValueError, match="transparent"):
            PALETTE.read(png(opaque))

    @pytest.mark.parametrize(
        ("colours", "complaint"),
        [
            ({}, "at least 1"),
            ({"800000": 1}, "should match pattern"),
            ({"#80000g": 1}, "should match pattern"),
            ({"#80000a": 1, "#80000A": 2}, "given twice"),
            ({"#800000": 65536}, "less than or equal to 65535"),
        ],
    )
    def test_a_palette_that_makes_no_sense_is_refused(
        self, colours: dict[str, int], complaint: str
    ) -> None:
        with pytest.raises(ValidationError, match=complaint):
            PaletteValues(colours=colours)


class TestMat:
    def test_a_matrix_and_a_field_of_a_struct_are_read(self) -> None:
        assert np.array_equal(MatValues(variable="mask").read(mat(mask=IDS)), IDS)
        nested = mat(groundTruth={"Segmentation": IDS, "Boundaries": IDS * 0})
        assert np.array_equal(MatValues(variable="groundTruth/Segmentation").read(nested), IDS)

    def test_whole_doubles_and_logicals_are_ids(self) -> None:
        assert np.array_equal(MatValues(variable="m").read(mat(m=IDS.astype(float))), IDS)
        assert MatValues(variable="m").read(mat(m=IDS > 0)).tolist() == [[0, 1, 1], [1, 1, 0]]

    @pytest.mark.parametrize(
        ("variable", "content", "reason"),
        [
            ("other", mat(mask=IDS), r"has no 'other' \(but mask\)"),
            ("mask/field", mat(mask=IDS), r"has no 'field' \(but no fields\)"),
            ("mask", mat(mask=IDS + 0.5), "not whole"),
            ("mask", mat(mask=np.array([[np.nan]])), "not whole"),
            ("mask", mat(mask="text"), "no matrix of numbers"),
            ("mask", mat(mask=np.zeros((2, 2, 3))), "no matrix of numbers"),
            ("mask", mat(mask=np.array([1, "a"], object)), "holds 2 matrices"),
            ("mask", b"no such file", "no MATLAB file"),
            ("mask", mat(mask=IDS)[:140], "no MATLAB file"),
        ],
        ids=range(9),
    )
    def test_what_holds_no_ids_is_refused(self, variable: str, content: bytes, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            MatValues(variable=variable).read(content)

    def test_matlab_7_3_says_how_to_save_it(self) -> None:
        hdf5 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" * 8
        with pytest.raises(ValueError, match="save it with `-v7`"):
            MatValues(variable="mask").read(hdf5)


def test_the_kind_chooses_the_format_and_strange_keys_are_refused() -> None:
    read = TypeAdapter[Any](MaskValues).validate_python
    assert read({"kind": "threshold", "above": 9}) == ThresholdValues(above=9)
    assert read({"kind": "mat", "variable": "a/b"}) == MatValues(variable="a/b")
    for wrong in ({"kind": "threshold", "above": 255}, {"kind": "gif"}, {"kind": "index", "x": 1}):
        with pytest.raises(ValidationError):
            read(wrong)


@pytest.mark.real
def test_cfd_masks_hold_more_than_background_and_crack(real_data: Path) -> None:
    """3 is what cracks enclose, 4 faint cracks: a map of 1 and 2 alone loses 14 of 78 images."""
    values = MatValues(variable="groundTruth/Segmentation")
    masks = [values.read(p) for p in sorted((real_data / "cracks/cfd/groundTruth").glob("*.mat"))]
    assert {mask.shape for mask in masks} == {(320, 480)}
    assert {int(n) for mask in masks for n in np.unique(mask)} == {1, 2, 3, 4}
    assert sum(bool((mask > 2).any()) for mask in masks) == 14
    assert 0.005 < np.mean([(mask == 2).mean() for mask in masks]) < 0.05


@pytest.mark.real
def test_deepcrack_masks_are_soft_so_they_are_thresholded(real_data: Path) -> None:
    paths = sorted((real_data / "cracks/deepcrack/lab").glob("*.png"))
    greys = [IndexValues().read(path) for path in paths]
    assert max(len(np.unique(grey)) for grey in greys) > 200
    cracks = [ThresholdValues().read(path) for path in paths]
    assert {int(n) for mask in cracks for n in np.unique(mask)} == {0, 1}
    assert len(cracks) == 30
