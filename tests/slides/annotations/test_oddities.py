"""Annotation files as they come out of bad exports, and damaged at random."""

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wsi_vit.errors import AnnotationError
from wsi_vit.geometry import Region
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.slides.annotations import Annotations, read_annotations
from wsi_vit.slides.annotations.raster import RasterAnnotations

SIZE = (100, 80)
WHOLE = Region(0, 0, 100, 80)
LABELS = LabelMap(
    classes=(
        LabelClass(name="tumour", source=("Tumor", 1), colour="#d55e00"),
        LabelClass(name="stroma", source=("Stroma", 2), colour="#0072b2"),
    )
)
SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]


def outline(rings: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    properties = properties or {"classification": {"name": "Tumor"}}
    geometry = {"type": kind, "coordinates": rings}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def read(tmp_path: Path, content: Any) -> Annotations:
    path = tmp_path / "annotations"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_annotations(path, slide_size=SIZE, labels=LABELS)


def areas(annotations: Annotations) -> list[float]:
    return (annotations.coverage([WHOLE])[0] * 8000).round(6).tolist()


@pytest.mark.parametrize("far", [1e9, -1e9, 1e160, 1.7e308])
def test_a_position_beyond_any_slide_is_refused_before_its_area_overflows(
    tmp_path: Path, far: float
) -> None:
    with pytest.raises(AnnotationError, match="beyond any slide"):
        read(tmp_path, outline([[[0, 0], [far, 0], [10, 10], [0, 10]]]))


def test_a_whole_number_too_large_for_a_float_is_no_position(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no list of"):
        read(tmp_path, outline([[[0, 0], [10**400, 0], [10, 10]]]))


@pytest.mark.parametrize("names", ["Tumor", ["Tumor"], ["", "Tumor"], ["Tumor", "Positive"]])
def test_names_are_a_list_or_a_word_and_never_its_letters(tmp_path: Path, names: Any) -> None:
    assert areas(read(tmp_path, outline([SQUARE], classification={"names": names}))) == [100, 0]


@pytest.mark.parametrize("names", [5, {"a": 1}, True])
def test_names_that_are_no_names_are_told_as_unknown_classes(tmp_path: Path, names: Any) -> None:
    with pytest.raises(AnnotationError, match="knows none of the classes"):
        read(tmp_path, outline([SQUARE], classification={"names": names}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (outline(None), "has no coordinates"),
        (outline([None], kind="MultiPolygon"), "has no coordinates"),
        (outline([SQUARE], kind="MultiPolygon"), "no list of"),
        (outline([SQUARE, []]), "no list of"),
        (outline([[[5, 5]] * 20]), "encloses an area"),
        (outline([[[0, 0], [9, 9], [0, 0], [9, 9], [0, 0]]]), "encloses an area"),
        ({"geometries": 5, "type": "GeometryCollection"}, "no list of geometries"),
        (outline([SQUARE], kind="LineString"), "hold no outline.*1 x LineString"),
        ("[1, 2]", "is no feature"),
        ('"a word"', "unknown kind"),
        (outline([[[0, 0], [True, None], [9, 9]]]), "not a finite number"),
    ],
)
def test_geometry_that_is_none_is_an_error_with_a_remedy(
    tmp_path: Path, content: Any, words: str
) -> None:
    with pytest.raises(AnnotationError, match=words) as caught:
        read(tmp_path, content)

    assert caught.value.remedy


def test_a_spike_has_no_area_and_a_hole_beyond_its_outline_takes_all(tmp_path: Path) -> None:
    spike = [[0, 0], [10, 0], [10, 10], [10, 30], [10, 10], [0, 10]]
    hole = [[-5, -5], [50, -5], [50, 50], [-5, 50]]
    assert areas(read(tmp_path, outline([spike]))) == [100, 0]
    with pytest.raises(AnnotationError, match="encloses an area"):
        read(tmp_path, outline([SQUARE, hole]))


def test_the_direction_and_the_repeated_corner_of_a_ring_do_not_matter(tmp_path: Path) -> None:
    for ring in (SQUARE, SQUARE[::-1], SQUARE[:-1], [[*corner, 7.5] for corner in SQUARE]):
        assert areas(read(tmp_path, outline([ring]))) == [100, 0]


def test_a_feature_without_geometry_is_passed_over(tmp_path: Path) -> None:
    empty = {"type": "Feature", "geometry": None, "properties": None}
    assert areas(read(tmp_path, [empty, outline([SQUARE])])) == [100, 0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_xml_is_read_in_the_encoding_it_declares(tmp_path: Path, encoding: str) -> None:
    corners = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in SQUARE)
    declared = encoding.removesuffix("-sig")
    path = tmp_path / "a.xml"
    path.write_text(
        f'<?xml version="1.0" encoding="{declared}"?><Annotations><Annotation Name="Tumör">'
        f"<Regions><Region><Vertices>{corners}</Vertices></Region></Regions></Annotation>"
        "</Annotations>",
        encoding=encoding,
    )
    labels = LabelMap(classes=(LabelClass(name="t", source=("Tumör",), colour="#000000"),))

    found = read_annotations(path, slide_size=SIZE, labels=labels)

    assert areas(found) == [100]


def test_corners_without_order_or_position_are_named(tmp_path: Path) -> None:
    root = ElementTree.Element("ASAP_Annotations")
    one = ElementTree.SubElement(ElementTree.SubElement(root, "Annotations"), "Annotation")
    one.attrib |= {"Type": "Polygon", "PartOfGroup": "Tumor"}
    corner = ElementTree.SubElement(ElementTree.SubElement(one, "Coordinates"), "Coordinate")
    corner.attrib |= {"X": "1", "Y": "1"}
    with pytest.raises(AnnotationError, match="no number as its Order"):
        read(tmp_path, ElementTree.tostring(root, "unicode"))


KINDS = [None, "zlib", "lzma", "packbits", "jpeg", "zstd"]


def label_image(path: Path, kind: str | None) -> bytes:
    values = np.random.default_rng(1).integers(1, 3, (80, 100)).astype(np.uint8)
    if path.suffix == ".png":
        Image.fromarray(values).save(path)
    else:
        tifffile.imwrite(path, values, compression=kind, tile=(16, 16), metadata=None)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["png", *KINDS])
def test_a_label_image_damaged_anywhere_is_an_error_of_ours_or_readable(
    tmp_path: Path, kind: str | None
) -> None:
    path = tmp_path / ("mask.png" if kind == "png" else "mask.tif")
    whole, chance = label_image(path, kind), np.random.default_rng(3)
    outcomes: Counter[str] = Counter()
    for number in range(60):
        damaged = bytearray(whole)
        reach = len(whole) if number % 2 else min(len(whole), 300)
        for at in chance.integers(0, reach, 3):
            damaged[at] = chance.integers(0, 256)
        path.write_bytes(damaged)
        try:
            found = read_annotations(path, slide_size=SIZE, labels=LABELS)
            outcomes["read"] += found.coverage([WHOLE]).sum() <= 1 + 1e-9
        except AnnotationError as error:
            outcomes["refused"] += bool(error.remedy)
    assert outcomes.total() == 60
    assert outcomes["refused"] > 5


def test_a_label_image_with_fewer_pieces_than_its_size_asks_for_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "mask.tif"
    label_image(path, None)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = tiff.pages[0].tags[name]
            tag.overwrite(tag.value[:20])

    with pytest.raises(AnnotationError, match="20 of 35 pieces"):
        read_annotations(path, slide_size=SIZE, labels=LABELS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 20), x=st.integers(-30, 110), y=st.integers(-30, 90),
    width=st.integers(1, 70), height=st.integers(1, 70), factor=st.sampled_from([1, 2, 5]),
)  # fmt: skip
def test_shares_and_masks_of_a_label_image_are_its_pixels_counted_one_by_one(
    seed: int, x: int, y: int, width: int, height: int, factor: int
) -> None:
    ids = np.random.default_rng(seed).choice([0, 1, 255], (80 // factor, 100 // factor))
    found = RasterAnnotations(ids.astype(np.uint8), (1 / factor, 1 / factor), 2, ())
    room = 200
    plane = np.pad(np.kron(ids, np.ones((factor, factor), int)), room, constant_values=255)
    part = plane[room + y : room + y + height, room + x : room + x + width]

    shares = found.coverage([Region(x, y, width, height)])[0]
    mask = found.mask(Region(x, y, width, height), width_px=width, height_px=height, other=9)

    assert shares.tolist() == pytest.approx([(part == k).mean() for k in (0, 1)])
    assert np.array_equal(mask, np.where(part == 255, 9, part))
