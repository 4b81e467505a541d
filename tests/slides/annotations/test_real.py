"""The real annotation files: every one is read, as the tool that wrote it meant it."""

import json
from pathlib import Path

import numpy as np
import pytest

from wsi_vit.errors import AnnotationError
from wsi_vit.geometry import Region
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.slides.annotations import Annotations, read_annotations

pytestmark = pytest.mark.real

HUGE = (200_000, 200_000)


def labels_of(*sources: str | int) -> LabelMap:
    return LabelMap(
        classes=tuple(
            LabelClass(name=f"class {index}", source=(source,), colour="#0072b2")
            for index, source in enumerate(sources)
        )
    )


def area_of(annotations: Annotations) -> np.ndarray:
    return annotations.coverage([Region(0, 0, *HUGE)])[0] * HUGE[0] * HUGE[1]


def shoelace(ring: list[list[float]]) -> float:
    x, y = np.array(ring).T
    return abs(float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())) / 2


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("HistoQC_geojson_example.json", ("Tumor", "Invborder")),
        ("HistoQC_holed.geojson", ("unnamed",)),
        ("dlup_qupath05.geojson", ("I", "UT")),
        ("markowetz_TCGA-2G-AAGK-01Z-00-DX1.D0530A91-8CA1-47AA-95AF-AB7B901DC5B6.xml",
         ("tissue", "negative")),
        ("wsidicom_asap-polygon.xml", ("Annotation 0",)),
    ],
)  # fmt: skip
def test_each_real_file_gives_an_area_to_each_of_its_classes(
    real_data: Path, name: str, sources: tuple[str, ...]
) -> None:
    drawn = read_annotations(
        real_data / "annotations" / name, slide_size=HUGE, labels=labels_of(*sources)
    )
    assert (area_of(drawn) > 1000).all()


def test_the_hole_of_a_real_qupath_file_is_a_hole(real_data: Path) -> None:
    path = real_data / "annotations/HistoQC_holed.geojson"
    drawn = read_annotations(path, slide_size=HUGE, labels=labels_of("unnamed"))
    outline, *holes = json.loads(path.read_text())["geometry"]["coordinates"]
    assert holes
    expected = shoelace(outline) - sum(shoelace(hole) for hole in holes)
    assert area_of(drawn)[0] == pytest.approx(expected)
    centre = drawn.mask(Region(12100, 18000, 2, 2), width_px=1, height_px=1, other=255)
    assert centre[0, 0] == 255


def test_imagescope_layers_without_names_are_told_apart_by_their_attribute_and_number(
    real_data: Path,
) -> None:
    path = real_data / "annotations/HistoQC_TCGA-EJ-5518-01Z-00-DX1.xml"
    drawn = read_annotations(path, slide_size=HUGE, labels=labels_of("layer 1", "layer 2"))
    # The file states these areas itself: 29046449.6 and 641099844.1 (outlines may overlap).
    assert area_of(drawn).sum() == pytest.approx(641_099_844.1, rel=0.06)


@pytest.mark.parametrize("name", ["wsidicom_asap-dot.xml", "wsidicom_asap-pointset.xml"])
def test_real_points_have_no_area(real_data: Path, name: str) -> None:
    with pytest.raises(AnnotationError, match="no outline"):
        read_annotations(
            real_data / "annotations" / name, slide_size=HUGE, labels=labels_of("None")
        )


def test_outlines_of_another_slide_are_recognised(real_data: Path) -> None:
    with pytest.raises(AnnotationError, match="another slide"):
        read_annotations(
            real_data / "annotations/wsidicom_asap-polygon.xml",
            slide_size=(2220, 2967),
            labels=labels_of("Annotation 0"),
        )


def test_the_tissue_mask_of_a_real_slide_is_read_as_two_classes(real_data: Path) -> None:
    path = real_data / "wsi-colon/P2_0039_section1_half_tissue-mask.tif"
    drawn = read_annotations(path, slide_size=(7424, 13312), labels=labels_of(0, 1))
    shares = drawn.coverage([Region(0, 0, 7424, 13312)])[0]
    assert shares.sum() == pytest.approx(1)
    assert 0.1 < shares[1] < 0.6
    assert drawn.notes == ()
