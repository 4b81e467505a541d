"""Annotation files of every kind: what they say, and what is said when they cannot be used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsi_vit.errors import AnnotationError
from wsi_vit.geometry import Region
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.slides.annotations import Annotations, read_annotations

SIZE = (100, 80)
WHOLE = Region(0, 0, 100, 80)
LABELS = LabelMap(
    classes=(
        LabelClass(name="tumour", source=("Tumor", "tumour", 1), colour="#d55e00"),
        LabelClass(name="stroma", source=("Stroma", 2), colour="#0072b2"),
    )
)


def square(left: float, top: float, side: float = 10) -> list[list[float]]:
    right, bottom = left + side, top + side
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(rings: Any, name: str | None = "Tumor", **properties: Any) -> dict[str, Any]:
    if name is not None:
        properties["classification"] = {"name": name}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": properties,
    }


def read(tmp_path: Path, content: Any, *, labels: LabelMap = LABELS) -> Annotations:
    path = tmp_path / "annotations"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_annotations(path, slide_size=SIZE, labels=labels)


def area_of(annotations: Annotations, index: int = 0) -> float:
    return float(annotations.coverage([WHOLE])[0, index] * WHOLE.width * WHOLE.height)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: one,
        lambda one: [one],
        lambda one: {"type": "FeatureCollection", "features": [one]},
        lambda one: [{"type": "FeatureCollection", "features": [one]}],
    ],
    ids=["feature", "list", "collection", "list of collections"],
)
def test_geojson_is_a_feature_a_list_or_a_collection(tmp_path: Path, wrap: Any) -> None:
    assert area_of(read(tmp_path, wrap(feature([square(10, 10)])))) == pytest.approx(100)


def test_holes_are_not_covered(tmp_path: Path) -> None:
    drawn = read(tmp_path, feature([square(10, 10, 20), square(15, 15)]))
    assert area_of(drawn) == pytest.approx(300)
    mask = drawn.mask(WHOLE, width_px=100, height_px=80, other=255)
    assert (mask == 0).sum() == 300
    assert mask[20, 20] == 255


def test_multipolygons_and_collections_are_taken_apart(tmp_path: Path) -> None:
    many = {"type": "MultiPolygon", "coordinates": [[square(0, 0)], [square(20, 20)]]}
    mixed = {"type": "GeometryCollection", "geometries": [many, {"type": "Point"}]}
    drawn = read(tmp_path, {**feature([]), "geometry": mixed})
    assert area_of(drawn) == pytest.approx(200)
    assert drawn.notes == ("1 x Point left out: it has no area",)


@pytest.mark.parametrize(
    "properties",
    [
        {"classification": {"name": "Tumor", "colorRGB": -3670016}},
        {"classification": {"names": ["Tumor", "Positive"]}},
        {"classification": {"name": "Tumor: Positive"}},
        {"classification": "Tumor"},
        {"name": "Tumor"},
        {"classification": None, "name": "tumor"},
    ],
)
def test_a_class_is_found_where_qupath_writes_it(
    tmp_path: Path, properties: dict[str, Any]
) -> None:
    drawn = read(tmp_path, {**feature([square(0, 0)]), "properties": properties})
    assert area_of(drawn) == pytest.approx(100)


def test_an_outline_without_a_name_is_gathered_as_unnamed(tmp_path: Path) -> None:
    bare = feature([square(0, 0)], name=None)
    with pytest.raises(AnnotationError, match="as 'unnamed'"):
        read(tmp_path, bare)
    labels = LabelMap(classes=(LabelClass(name="any", source=("unnamed",), colour="#000000"),))
    assert area_of(read(tmp_path, bare, labels=labels)) == pytest.approx(100)


def test_detected_cells_cut_no_hole_into_a_tumour(tmp_path: Path) -> None:
    cell = feature([square(12, 12, 2)], name="Stroma", objectType="cell")
    drawn = read(tmp_path, [feature([square(10, 10)]), cell])
    assert area_of(drawn) == pytest.approx(100)
    assert "QuPath object of type cell" in drawn.notes[0]


def test_unknown_classes_are_listed_with_near_names(tmp_path: Path) -> None:
    drawn = read(tmp_path, [feature([square(0, 0)]), feature([square(50, 0)], name="Strma")])
    assert drawn.notes == (
        "1 x class 'Strma' left out: the label map does not know it; near names: Stroma",
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty annotation file"),
        ("   \n", "empty annotation file"),
        ("hello", "unknown kind"),
        ('{"type": "FeatureCollection"', "no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 20 + "]" * 20, "nested too deeply"),
        ('{"some": "json"}', "no feature"),
        ("[]", "hold no outline"),
        ('{"type": "FeatureCollection", "features": []}', "hold no outline"),
        ("<Other/>", "Unknown kind of XML"),
        ("<ASAP_Annotations>", "Damaged XML"),
        ("<ASAP_Annotations/>", "hold no outline"),
        ("<Annotations/>", "hold no outline"),
    ],
)
def test_files_that_say_nothing_are_errors_and_never_empty_slides(
    tmp_path: Path, content: str, words: str
) -> None:
    with pytest.raises(AnnotationError, match=words):
        read(tmp_path, content)


def test_a_missing_file_is_an_annotation_error(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="Cannot open"):
        read_annotations(tmp_path / "none.geojson", slide_size=SIZE, labels=LABELS)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_positions_that_are_not_finite_are_refused(tmp_path: Path, value: str) -> None:
    text = json.dumps(feature([square(0, 0)])).replace("10", value)
    with pytest.raises(AnnotationError, match="not a finite number"):
        read(tmp_path, text)


@pytest.mark.parametrize("rings", [[5], ["ab"], [[[1], [2]]], [[[1, 2], [3]]], [{"a": 1}]])
def test_rings_that_are_no_lists_of_positions_are_refused(tmp_path: Path, rings: Any) -> None:
    with pytest.raises(AnnotationError, match="no list of"):
        read(tmp_path, feature(rings))


def test_an_unknown_class_alone_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"'Necrosis' \(1\).*Known: Tumor"):
        read(tmp_path, feature([square(0, 0)], name="Necrosis"))


ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
  <Annotation Name="A" Type="{kind}" PartOfGroup="{group}"><Coordinates>
    <Coordinate Order="1" X="20" Y="10"/><Coordinate Order="0" X="10" Y="10"/>
    <Coordinate Order="3" X="10" Y="20"/><Coordinate Order="2" X="20" Y="20"/>
  </Coordinates></Annotation>
  <Annotation Name="B" Type="Dot" PartOfGroup="Tumor"><Coordinates>
    <Coordinate Order="0" X="1" Y="1"/></Coordinates></Annotation>
</Annotations><AnnotationGroups>
  <Group Name="clone 1" PartOfGroup="Tumor"/><Group Name="Tumor" PartOfGroup="None"/>
</AnnotationGroups></ASAP_Annotations>"""


@pytest.mark.parametrize("kind", ["Polygon", "Rectangle", "Spline"])
@pytest.mark.parametrize("group", ["Tumor", "clone 1"])
def test_asap_areas_belong_to_their_group_or_its_parent(
    tmp_path: Path, kind: str, group: str
) -> None:
    drawn = read(tmp_path, ASAP.format(kind=kind, group=group))
    assert area_of(drawn) == pytest.approx(100), "corners are taken by Order"
    assert drawn.notes == ("1 x ASAP Dot left out: it has no area",)


def test_asap_points_alone_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="2 x ASAP Dot"):
        read(tmp_path, ASAP.format(kind="Dot", group="Tumor"))


def test_groups_that_are_part_of_each_other_end(tmp_path: Path) -> None:
    text = ASAP.format(kind="Polygon", group="x").replace(
        '<Group Name="clone 1" PartOfGroup="Tumor"/>',
        '<Group Name="x" PartOfGroup="y"/><Group Name="y" PartOfGroup="x"/>',
    )
    with pytest.raises(AnnotationError, match="'x'"):
        read(tmp_path, text)


def imagescope(*regions: str, name: str = "Tumor") -> str:
    return (
        f'<Annotations MicronsPerPixel="0.5"><Annotation Id="1" Name="{name}"><Regions>'
        f"{''.join(regions)}</Regions></Annotation></Annotations>"
    )


def region(corners: list[list[float]], *, kind: int = 0, negative: int = 0) -> str:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in corners)
    return (
        f'<Region Type="{kind}" NegativeROA="{negative}"><Vertices>{vertices}</Vertices></Region>'
    )


def test_a_negative_region_is_a_hole_in_its_layer(tmp_path: Path) -> None:
    text = imagescope(region(square(12, 12, 5), negative=1), region(square(10, 10)))
    assert area_of(read(tmp_path, text)) == pytest.approx(75)


def test_a_negative_region_leaves_other_layers_alone(tmp_path: Path) -> None:
    other = imagescope(region(square(12, 12, 5), negative=1), name="Stroma")
    layers = imagescope(region(square(10, 10))) + other
    text = layers.replace('</Annotations><Annotations MicronsPerPixel="0.5">', "")
    assert area_of(read(tmp_path, text)) == pytest.approx(100)


def test_an_ellipse_is_drawn_from_the_corners_of_its_box(tmp_path: Path) -> None:
    drawn = read(tmp_path, imagescope(region([[10, 10], [30, 20]], kind=2)))
    assert area_of(drawn) == pytest.approx(np.pi * 10 * 5, rel=1e-3)


def test_arrows_are_counted_and_left_out(tmp_path: Path) -> None:
    drawn = read(tmp_path, imagescope(region(square(0, 0)), region([[1, 1], [5, 5]], kind=3)))
    assert drawn.notes == ("1 x ImageScope arrow or ruler left out: it has no area",)


def test_a_decimal_comma_is_a_number_and_a_word_is_not(tmp_path: Path) -> None:
    text = imagescope(region(square(0, 0)))
    assert area_of(read(tmp_path, text.replace('"10"', '"10,0"'))) == pytest.approx(100)
    with pytest.raises(AnnotationError, match="no number as its X"):
        read(tmp_path, text.replace('X="10"', 'X="ten"'))


BOMB = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{i} "{"&a" + (str(i - 1) if i else "") + ";"}&a;">' for i in range(9))
    + "]><Annotations>&a8;</Annotations>"
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Annotations>&x;</Annotations>',
        '<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><Annotations/>',
    ],
    ids=["bomb", "external entity", "external document type"],
)
def test_dangerous_xml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(AnnotationError, match="Refused XML annotations that carry DTD"):
        read(tmp_path, text)


def test_deeply_nested_xml_is_no_danger(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="hold no outline"):
        read(tmp_path, "<Annotations>" + "<a>" * 50_000 + "</a>" * 50_000 + "</Annotations>")


def save_mask(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".tif":
        tifffile.imwrite(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_label_image_at_any_scale_covers_the_slide(tmp_path: Path, name: str, kind: type) -> None:
    values = np.zeros((40, 50), kind)
    values[10:20, 5:15] = 1
    values[30:, :] = 2
    path = save_mask(tmp_path / name, values)
    drawn = read_annotations(path, slide_size=SIZE, labels=LABELS)
    assert drawn.coverage([WHOLE])[0] == pytest.approx([100 / 2000, 500 / 2000])
    assert drawn.coverage([Region(9, 19, 2, 2)])[0] == pytest.approx([0.25, 0])
    assert drawn.coverage([Region(90, 70, 20, 20)])[0] == pytest.approx([0, 0.25])
    mask = drawn.mask(Region(8, 20, 4, 2), width_px=4, height_px=2, other=9)
    np.testing.assert_array_equal(mask, [[9, 9, 0, 0]] * 2)


def test_pixels_beyond_the_slide_are_outside_every_annotation(tmp_path: Path) -> None:
    path = save_mask(tmp_path / "mask.png", np.ones((80, 100), np.uint8))
    drawn = read_annotations(path, slide_size=SIZE, labels=LABELS)
    mask = drawn.mask(Region(-2, 78, 4, 4), width_px=4, height_px=4, other=255)
    np.testing.assert_array_equal(mask, [[255, 255, 0, 0]] * 2 + [[255] * 4] * 2)


def test_values_of_no_class_are_told_and_left_out(tmp_path: Path) -> None:
    values = np.ones((80, 100), np.uint8)
    values[:40] = 7
    path = save_mask(tmp_path / "mask.png", values)
    drawn = read_annotations(path, slide_size=SIZE, labels=LABELS)
    assert "value 7 (50.0% of the label image)" in drawn.notes[0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones((80, 80), np.uint8), "other proportions"),
        (np.ones((100, 80), np.uint8), "other proportions"),
        (np.full((80, 100), 9, np.uint8), "knows none of the values"),
        (np.zeros((80, 100), np.uint8), "knows none of the values"),
        (np.ones((80, 100, 3), np.uint8), "no label image"),
    ],
    ids=["square", "turned", "unknown", "empty", "colours"],
)
@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_label_images_that_cannot_belong_to_the_slide_are_refused(
    tmp_path: Path, name: str, values: np.ndarray, words: str
) -> None:
    path = save_mask(tmp_path / name, values)
    with pytest.raises(AnnotationError, match=words):
        read_annotations(path, slide_size=SIZE, labels=LABELS)


def test_an_indexed_png_is_read_by_its_numbers_not_its_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(np.ones((80, 100), np.uint8), mode=None).convert("P")
    picture.putdata([1] * 8000)
    picture.putpalette([0, 0, 0, 200, 30, 50])
    picture.save(tmp_path / "mask.png")
    drawn = read_annotations(tmp_path / "mask.png", slide_size=SIZE, labels=LABELS)
    assert drawn.coverage([WHOLE])[0] == pytest.approx([1, 0])


@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_a_label_image_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(1, 3, (800, 1000)).astype(np.uint8)
    path = save_mask(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(AnnotationError, match="Cannot read a label image"):
        read_annotations(path, slide_size=SIZE, labels=LABELS)
