"""The known traps are refused, sound labels are not, and all of it is told at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsi_vit.datasets.check import MaskReport, check_masks
from wsi_vit.datasets.image_targets import TargetReader
from wsi_vit.datasets.images import ImageSource, SourceIds
from wsi_vit.datasets.masks import IndexValues
from wsi_vit.labels import LabelClass, LabelMap

NAMES = {"other": 0, "wall": 1, "building": 2, "sky": 3, "floor": 4, "tree": 5}
FLOOR_AND_WALL: dict[str, Sequence[int]] = {"background": (), "floor": (4,), "wall": (1,)}


@dataclass(frozen=True)
class Made:
    """A mask made up for a test."""

    relative: str
    ids: Any

    def source_ids(self) -> SourceIds:
        if self.ids is None:
            raise ValueError("cannot be decoded (OSError)")
        return np.asarray(self.ids)


class Named(ImageSource):
    """A source with a list of names."""

    listed: dict[str, int] = NAMES

    def names(self) -> Mapping[str, int]:
        return self.listed


def label_map(
    classes: Mapping[str, Sequence[int]], *, background: str | None = "background"
) -> LabelMap:
    return LabelMap(
        classes=tuple(
            LabelClass(name=name, source=tuple(ids), colour=f"#0000{index:02x}")
            for index, (name, ids) in enumerate(classes.items())
        ),
        background=background,
    )


def check(
    *masks: Any,
    labels: LabelMap | None = None,
    source: ImageSource | None = None,
) -> MaskReport:
    reader = TargetReader.of(
        source or ImageSource(unknown="background"),
        labels or label_map(FLOOR_AND_WALL),
        "segmentation",
    )
    return check_masks([Made(f"{n}.png", ids) for n, ids in enumerate(masks)], reader)


def mask(*ids: int) -> np.ndarray:
    """Return a mask with each id in one row, the first in half of it."""
    rows = [[number] * 8 for number in ids]
    return np.array([[ids[0]] * 8] * len(ids) + rows, np.uint8)


def test_sound_labels_are_counted_before_and_after_and_pass() -> None:
    report = check(mask(2, 1, 4), mask(3, 4))
    census = report.census
    assert report.problems == ()
    before = {row.source_id: (row.pixels, row.masks, row.becomes) for row in census.sources}
    assert before == {
        1: (8, 1, "wall"),
        2: (32, 1, "background"),
        3: (24, 1, "background"),
        4: (16, 2, "floor"),
    }
    after = {row.name: (row.pixels, row.masks, row.gathered) for row in census.classes}
    assert after == {"background": (56, 2, (2, 3)), "floor": (16, 2, (4,)), "wall": (8, 1, (1,))}
    assert census.pixels == 80
    assert (census.changed, census.ignored_share) == (0, 0.0)
    assert census.telling == ("0.png", "1.png")


def test_labels_shifted_by_one_are_told_from_the_classes_that_are_missing() -> None:
    four = label_map({"background": (0,), "a": (1,), "b": (2,), "c": (3,)})
    plain = ImageSource(unknown="refuse")
    assert check(mask(0, 1, 2, 3), labels=four, source=plain).problems == ()
    higher = check(mask(1, 2, 3, 4), labels=four, source=plain)
    assert any(
        "4 ids that classes gather, 3 occur, and 4 of those one higher" in p
        for p in higher.problems
    )
    lower = check(mask(0, 1, 2, 255), labels=four, source=plain)
    assert any("one lower" in problem for problem in lower.problems)


def test_reduced_labels_are_told_from_0_and_255_where_names_begin_at_1() -> None:
    """All classes still occur, so their number alone would not tell."""
    source = Named(unknown="background")
    labels = label_map({"background": (), "wall": (1,), "sky": (3,)})
    assert check(mask(0, 1, 2, 3, 4), labels=labels, source=source).problems == ()
    reduced = check(mask(255, 0, 1, 2, 3, 4), labels=labels, source=source)
    assert any("labels look reduced" in problem for problem in reduced.problems)
    declared = Named(unknown="background", ignored=(255,), listed={**NAMES, "void": 255})
    assert check(mask(255, 0, 1, 2, 3, 4), labels=labels, source=declared).problems == ()


def test_a_shift_that_leaves_every_listed_id_present_cannot_be_told() -> None:
    """What the documentation admits: no count tells this from the truth."""
    assert check(mask(1, 2, 3, 4, 5)).problems == ()
    assert check(mask(2, 3, 4, 5, 1)).problems == ()


def test_few_masks_that_lack_a_class_are_not_called_shifted() -> None:
    ade = {"background": (), "window": (9,), "person": (13,), "door": (15,), "table": (16,)}
    report = check(mask(1, 9, 15, 16, 3), labels=label_map(ade))
    assert report.problems == ("no mask shows person (13)",)


def test_ids_beyond_the_names_are_told_with_the_range_of_the_list() -> None:
    report = check(mask(1, 4, 17), source=Named(unknown="background"))
    assert any("6 names does not have (0 to 5): 17" in problem for problem in report.problems)


class Test255:
    def test_black_and_white_masks_are_not_ids(self) -> None:
        report = check(mask(0, 255), labels=label_map({"background": (0,), "crack": (1,)}))
        told = "\n".join(report.problems)
        assert "hold only 0 and 255 (25.00% of the pixels)" in told
        assert "kind: threshold, above: 127" in told
        assert "shifted" not in told

    def test_it_is_no_class(self) -> None:
        labels = label_map({"background": (0,), "crack": (255,)})
        assert any(
            "crack gathers 255" in problem
            for problem in check(mask(0, 255), labels=labels).problems
        )

    def test_it_is_refused_where_nothing_says_that_it_is_ignored(self) -> None:
        quiet = "25.00% of the pixels are 255"
        for unknown in ("refuse", "background"):
            report = check(mask(4, 1, 255, 255)[2:], source=ImageSource(unknown=unknown))
            assert any("are 255, which is ignored" in problem for problem in report.problems)
        assert quiet not in "".join(
            check(mask(4, 1, 255), source=ImageSource(unknown="ignore")).problems
        )
        declared = ImageSource(unknown="background", ignored=(255,))
        assert check(mask(2, 4, 1, 255), source=declared).problems == ()


class TestBackground:
    def test_a_class_of_that_name_is_no_class(self) -> None:
        labels = label_map({"Background": (0,), "crack": (1,)}, background=None)
        report = check(mask(0, 1), labels=labels, source=ImageSource())
        assert report.problems == (
            "Background is by its name background, and counts as a class: "
            "say `background: Background` in the label map",
        )

    def test_a_foreground_class_that_gathers_everything_else_is_asked_about(self) -> None:
        labels = label_map({"background": (2, 3, 5), "floor": (4, 0), "wall": (1,)})
        report = check(mask(0, 1, 2, 3, 4, 5), labels=labels, source=Named())
        assert any(
            "floor gathers 0, which the source has no name for" in p for p in report.problems
        )

    def test_nearly_all_of_one_class_is_a_warning(self) -> None:
        odd = label_map({"tissue": (0,), "crack": (1,)}, background=None)
        many = np.zeros((50, 50), np.uint8)
        many[0, 0] = 1
        assert any(
            "is tissue: is it the background?" in w
            for w in check(many, labels=odd, source=ImageSource()).warnings
        )
        assert any(
            "is background: judge by IoU" in w
            for w in check(many + 3, labels=label_map(FLOOR_AND_WALL)).warnings
        )


def test_masks_that_are_ignored_altogether_are_refused_or_named() -> None:
    source = ImageSource(unknown="ignore")
    few = check(
        *[mask(0, 1, 4)] * 30,
        mask(7, 9),
        source=source,
        labels=label_map({"background": (0,), "wall": (1,), "floor": (4,)}),
    )
    assert few.problems == ()
    assert few.warnings[0] == "1 masks are ignored altogether: 30.png"
    lost = check(mask(7, 9), mask(1, 4), source=source)
    assert any("1 of 2 masks are ignored altogether: 0.png" in p for p in lost.problems)
    none = check(mask(7, 9), source=source)
    assert any("100.0% of the pixels are ignored" in p for p in none.problems)


def test_everything_is_told_at_once() -> None:
    labels = label_map({"void": (7,), "floor": (4,), "wall": (1,)}, background=None)
    report = check(mask(4, 1, 255), mask(4, 8), None, labels=labels, source=ImageSource())
    told = "\n".join(report.problems)
    for part in (
        "1 masks cannot be read: 2.png: its mask cannot be decoded (OSError)",
        "does not name 8 (",
        "are 255, which is ignored",
        "no mask shows void (7)",
        "void is by its name background",
    ):
        assert part in told
    assert report.census.masks == 2


def test_the_round_trip_holds_for_ids_beyond_a_byte_and_below_nothing() -> None:
    labels = label_map({"background": (), "a": (300,), "b": (44,)})
    report = check(np.array([[300, 44, -1, 70000]]), labels=labels)
    assert report.census.changed == 0
    assert [row.pixels for row in report.census.classes] == [2, 1, 1]


def test_a_wrong_translation_is_found_by_the_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    right = LabelMap.narrow
    monkeypatch.setattr(LabelMap, "narrow", lambda *a, **k: right(*a, **k) // 2)
    report = check(mask(2, 1, 4))
    assert report.census.changed == 8 * 2
    assert any("do not come back" in problem for problem in report.problems)


@pytest.mark.real
class TestReducedMasks:
    """The 200 masks that come without images, already 0 to 4."""

    LABELS = label_map(
        {"background": (0,), "wall": (1,), "floor": (2,), "window": (3,), "ceiling": (4,)}
    )

    def report(self, folder: Path, *, shift: int = 0) -> MaskReport:
        paths = sorted(folder.glob("*.png"))[::4]
        masks = [IndexValues().read(path).astype(np.uint8) + np.uint8(shift) for path in paths]
        return check(*masks, labels=self.LABELS, source=ImageSource())

    def test_they_pass(self, real_data: Path) -> None:
        report = self.report(real_data / "ade20k-5class-masks")
        assert report.problems == ()
        assert report.census.masks == 50
        assert min(row.pixels for row in report.census.classes) > 0

    @pytest.mark.parametrize(("shift", "word"), [(1, "higher"), (255, "lower")])
    def test_shifted_they_are_refused(self, real_data: Path, shift: int, word: str) -> None:
        report = self.report(real_data / "ade20k-5class-masks", shift=shift)
        assert any(f"one {word}" in problem for problem in report.problems)
