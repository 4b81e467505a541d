"""Folders as people leave them: masks of every kind, names that clash, rules that do not fit."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tests.datasets.making import LABELS, image_folder
from tests.datasets.test_build import SOURCE, from_folder
from wsi_vit.datasets.check import check_labels
from wsi_vit.datasets.folder import FolderSource, MaskRule
from wsi_vit.datasets.masks import ThresholdValues
from wsi_vit.errors import DatasetError
from wsi_vit.labels import IGNORE_ID
from wsi_vit.store import Store

AS_IDS = MaskRule(find="/image/", replace="/label/")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "data")


def rewrite_masks(root: Path, how: Any) -> np.ndarray:
    """Write every mask anew, left half class 0, right half class 1; return the ids."""
    ids = np.zeros((16, 16), np.uint8)
    ids[:, 8:] = 1
    for path in root.glob("*/label/*.png"):
        how(ids).save(path)
    return ids


def bilevel(ids: np.ndarray) -> Image.Image:
    return Image.fromarray(ids * 255).convert("1")


def grey(ids: np.ndarray) -> Image.Image:
    return Image.fromarray(ids)


def palette(ids: np.ndarray) -> Image.Image:
    picture = Image.fromarray(ids, "L").convert("P")
    picture.putpalette([200, 0, 0, 0, 90, 200] + [0] * 762)
    picture.putdata(ids.ravel().tolist())
    return picture


def grey_rgb(ids: np.ndarray) -> Image.Image:
    return Image.fromarray(np.repeat(ids[..., None], 3, axis=2))


def grey_alpha(ids: np.ndarray) -> Image.Image:
    return Image.merge("LA", [Image.fromarray(ids), Image.new("L", (16, 16), 255)])


@pytest.mark.filterwarnings("ignore:.*mode.*parameter:DeprecationWarning")
@pytest.mark.parametrize("kind", [bilevel, grey, palette, grey_rgb, grey_alpha])
def test_a_mask_of_ids_is_read_from_every_kind_of_file(root: Path, store: Store, kind: Any) -> None:
    ids = rewrite_masks(root, kind)
    dataset = from_folder(root, store, "segmentation", mask=AS_IDS)
    assert np.array_equal(dataset.examples("train")[0].target, ids)


@pytest.mark.parametrize("kind", [bilevel, lambda ids: Image.fromarray(ids * 255)])
def test_black_and_white_masks_pass_a_threshold_alike(root: Path, store: Store, kind: Any) -> None:
    ids = rewrite_masks(root, kind)
    dataset = from_folder(root, store, "segmentation")
    assert np.array_equal(dataset.examples("train")[0].target, ids)


def test_a_mask_in_colours_is_refused_and_not_turned_grey(root: Path, store: Store) -> None:
    """Red turned grey is 76: with `unknown: background` it was nothing of interest."""
    path = next(root.glob("*/label/*.png"))
    Image.new("RGB", (16, 16), (255, 0, 0)).save(path)
    for unknown in ("refuse", "ignore", "background"):
        with pytest.raises(DatasetError, match=rf"(?s)1 problems.*{path.stem}.*is coloured"):
            from_folder(
                root,
                store,
                "segmentation",
                mask=AS_IDS,
                unknown=unknown,
                images=f"*/image/{path.name}",
            )


def test_unknown_values_become_background_where_that_is_asked_for(root: Path, store: Store) -> None:
    rewrite_masks(root, lambda ids: grey(np.where(ids == 0, 9, 1).astype(np.uint8)))
    dataset = from_folder(root, store, "segmentation", mask=AS_IDS, unknown="background")
    assert check_labels(dataset).background_share == 0.5
    ignoring = from_folder(root, store, "segmentation", mask=AS_IDS, unknown="ignore")
    assert set(np.unique(ignoring.examples("train")[0].target)) == {1, IGNORE_ID}


def test_a_255_in_a_mask_of_ids_is_ignored_and_needs_no_class(root: Path, store: Store) -> None:
    rewrite_masks(
        root, lambda ids: grey(np.where(np.eye(16, dtype=bool), 255, ids).astype(np.uint8))
    )
    examples = from_folder(root, store, "segmentation", mask=AS_IDS).examples("train")
    assert examples.counts[0].tolist() == [120, 120, 16]


def test_two_files_of_one_stem_are_two_images(root: Path, store: Store) -> None:
    """`a.png` and `a.bmp` were one name, so one key stood for two examples."""
    first = sorted((root / "Stroma/image").iterdir())[0]
    Image.open(first).transpose(Image.Transpose.ROTATE_90).save(first.with_suffix(".bmp"))
    source = SOURCE.model_copy(update={"root": root, "mask": None, "images": "*/image/*"})
    images = source.find()
    names = [image.slide_id for image in images]
    assert len(names) == len(set(names)) == 13
    assert {f"Stroma/image/{first.stem}{suffix}" for suffix in (".png", ".bmp")} <= set(names)
    dataset = from_folder(root, store, "classification", mask=None, images="*/image/*")
    keys = [
        key for split in ("train", "validation", "test") for key in dataset.examples(split).keys
    ]  # type: ignore[arg-type]
    assert len(set(keys)) == 13


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"label": "("}, "no regular expression: missing \\)"),
        ({"label": "no group"}, "needs exactly one group"),
        ({"patient": "(a)(b)"}, "needs exactly one group"),
        ({"split": "[z-a](x)"}, "bad character range"),
        ({"mask": {"find": "*", "replace": ""}}, "nothing to repeat"),
        ({"mask": {"find": "a", "replace": "\\2"}}, "`replace` does not fit `find`"),
        (
            {"mask": {"find": "a", "values": {"kind": "threshold", "above": 255}}},
            "less than or equal to 254",
        ),
        ({"mask": {"values": {"kind": "index"}}}, "`find` and `replace` must say"),
        ({"site": "no group"}, "needs exactly one group"),
        ({"rows": 0}, "greater than or equal to 1"),
        ({"images": "/etc/*"}, "must be a glob below `root`"),
        ({"images": "../*.png"}, "must be a glob below `root`"),
        ({"images": ""}, "must be a glob below `root`"),
        ({"mpp": 0}, "greater than 0"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_where_it_is_written(
    rule: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        FolderSource.model_validate(rule)


def test_a_mask_elsewhere_on_the_disk_is_found_or_named(
    root: Path, store: Store, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    rule = MaskRule(find="^[^/]+/image/", replace=f"{away}/", values=ThresholdValues(above=127))
    with pytest.raises(
        DatasetError, match=rf"12 problems.*\n.*its mask is not there \({away}/P000-0\.png\)"
    ):
        from_folder(root, store, "segmentation", mask=rule)
    away.mkdir()
    for path in root.glob("*/label/*.png"):
        shutil.copy(path, away)
    assert len(from_folder(root, store, "segmentation", mask=rule).examples("train")) > 0


def test_masks_beside_their_images_are_not_taken_for_images(tmp_path: Path, store: Store) -> None:
    root = tmp_path / "flat"
    root.mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"p{number}.png")
        mask = np.full((16, 16), number % 2, np.uint8)
        mask[0] = 1 - number % 2
        Image.fromarray(mask).save(root / f"p{number}_mask.png")
    rule = MaskRule(find=r"\.png$", replace="_mask.png")
    dataset = from_folder(
        root, store, "segmentation", images="*.png", mask=rule, patient=None, label=None
    )
    assert dataset.facts["examples"] == 6
    assert sorted(dataset.facts["splits"]["train"]["classes"]) == ["stroma", "tumour"]


@pytest.mark.parametrize(
    ("word", "split"),
    [("Training", "train"), ("val", "validation"), ("VALID", "validation"), ("testing", "test")],
)
def test_the_usual_names_of_splits_are_understood(tmp_path: Path, word: str, split: str) -> None:
    (tmp_path / word).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / word / "a.png")
    (image,) = FolderSource(root=tmp_path, split="^([^/]+)/").find()
    assert image.given == split


def test_a_word_that_is_no_split_is_refused_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "holdout").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "holdout/a.png")
    with pytest.raises(DatasetError, match=r"holdout/a\.png: 'holdout' is no split"):
        FolderSource(root=tmp_path, split="^([^/]+)/").find()


def test_class_folders_are_matched_by_name_or_by_number(tmp_path: Path, store: Store) -> None:
    for number in range(8):
        folder = tmp_path / "data" / ("0", "tumour")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    dataset = from_folder(
        tmp_path / "data",
        store,
        "classification",
        images="**/*",
        label="^([^/]+)/",
        patient=None,
        mask=None,
    )
    for split in ("train", "validation", "test"):
        examples = dataset.examples(split)  # type: ignore[arg-type]
        assert examples.labels.tolist() == [int(key) % 2 for key in examples.keys]
    assert dataset.labels == LABELS


def test_what_no_class_gathers_can_be_left_unlabelled(root: Path, store: Store) -> None:
    (root / "Glass/image").mkdir(parents=True)
    shutil.copy(next(root.glob("Stroma/image/*")), root / "Glass/image/P900-0.png")
    dataset = from_folder(root, store, "classification", unknown="ignore", mask=None)
    assert dataset.facts["unlabelled"] == 1
    called = from_folder(root, store, "classification", unknown="background", mask=None)
    assert called.facts["unlabelled"] == 0


def test_hidden_files_and_other_files_are_no_images(root: Path) -> None:
    folder = root / "Stroma/image"
    for name in (".hidden.png", "._P000-0.png", "Thumbs.db", "notes.txt"):
        (folder / name).write_bytes(b"x")
    source = SOURCE.model_copy(update={"root": root, "images": "*/image/*"})
    assert len(source.find()) == 12
