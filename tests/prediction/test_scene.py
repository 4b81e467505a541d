"""Plain pictures: sizes restored, big ones tiled, bad ones named, nothing done twice."""

import json
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor

from tests.prediction.colours import LABELS, ByColour, applied, painted
from wsi_vit.errors import StoreError
from wsi_vit.prediction.scene import predict_images
from wsi_vit.prediction.section import PredictionSection

SIZES = {"small.png": (40, 70), "wide.tif": (50, 391), "odd.png": (257, 301)}


def truth(height: int, width: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    return ((rows // 13 + columns // 17) % 3).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inputs = tmp_path / "in"
    inputs.mkdir()
    for name, (height, width) in SIZES.items():
        Image.fromarray(painted(truth(height, width))).save(inputs / name)
    return inputs


def test_class_maps_lie_on_the_pictures_own_pixels(folder: Path, tmp_path: Path) -> None:
    outcomes = list(predict_images(applied(), [folder], out=tmp_path / "out"))

    assert [outcome.state for outcome in outcomes] == ["predicted"] * 3
    for name, (height, width) in SIZES.items():
        with Image.open(tmp_path / "out" / f"{Path(name).stem}.classes.png") as image:
            assert image.mode == "P"
            stored = np.asarray(image)
            colours = np.asarray(image.convert("RGB"))
        assert (stored == LABELS.export(truth(height, width))).all()
        assert (colours == LABELS.paint(truth(height, width))).all()


def test_the_json_names_everything(folder: Path, tmp_path: Path) -> None:
    (outcome,) = predict_images(applied(), [folder / "odd.png"], out=tmp_path / "out")
    assert outcome.record
    record = json.loads(outcome.record.read_text())
    expected = np.bincount(truth(257, 301).ravel()) / (257 * 301)

    assert record["image"]["width"] == 301
    assert record["model"] == {"digest": "c0" * 32, "task": "segmentation", "input_px": 64}
    assert [item["export_id"] for item in record["classes"]] == [3, 7, 1]
    assert [item["share"] for item in record["classes"]] == pytest.approx(expected, abs=1e-6)
    assert outcome.shares == pytest.approx(dict(zip(LABELS.names, expected, strict=True)), abs=1e-5)
    assert set(record["files"]) == {"odd.classes.png", "odd.overlay.png"}


def test_a_classifier_gives_a_label_with_scores(folder: Path, tmp_path: Path) -> None:
    pure = folder / "pure.png"
    Image.fromarray(painted(np.full((300, 200), 1, np.uint8))).save(pure)
    (outcome,) = predict_images(applied("classification"), [pure], out=tmp_path / "out")
    assert outcome.record
    record = json.loads(outcome.record.read_text())

    assert (record["label"], record["export_id"]) == ("stroma", 7)
    assert record["score"] > 0.99
    assert outcome.overlay
    assert outcome.overlay.exists()
    assert not (tmp_path / "out/pure.classes.png").exists()


def test_a_bad_picture_is_named_and_the_others_go_on(folder: Path, tmp_path: Path) -> None:
    (folder / "cut.png").write_bytes((folder / "odd.png").read_bytes()[:300])
    (folder / "empty.jpg").touch()
    (folder / "text.tif").write_text("no picture")
    deep = folder / "deep.png"
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(deep)
    inputs = [folder, folder / "missing.png"]
    outcomes = {o.path.name: o for o in predict_images(applied(), inputs, out=tmp_path / "out")}

    refused = {name for name, outcome in outcomes.items() if outcome.state == "refused"}
    assert refused == {"cut.png", "empty.jpg", "text.tif", "deep.png", "missing.png"}
    assert all(name in outcomes[name].message for name in refused)
    assert "8 bits" in outcomes["deep.png"].message
    assert len(list((tmp_path / "out").glob("*.json"))) == 3


def test_what_was_predicted_is_not_predicted_again(folder: Path, tmp_path: Path) -> None:
    list(predict_images(applied(), [folder], out=tmp_path / "out"))
    (tmp_path / "out/odd.overlay.png").write_bytes(b"damaged")
    (tmp_path / "out/wide.json").write_text("{")
    model = applied()
    states = {o.path.name: o.state for o in predict_images(model, [folder], out=tmp_path / "out")}

    assert states == {"small.png": "reused", "odd.png": "predicted", "wide.tif": "predicted"}
    assert (tmp_path / "out/odd.overlay.png").read_bytes() != b"damaged"


def test_a_changed_picture_is_predicted_anew(folder: Path, tmp_path: Path) -> None:
    one = folder / "small.png"
    list(predict_images(applied(), [one], out=tmp_path / "out"))
    Image.fromarray(painted(np.zeros((40, 70), np.uint8))).save(one)
    (outcome,) = predict_images(applied(), [one], out=tmp_path / "out")

    assert outcome.state == "predicted"
    assert outcome.shares["tumour"] == 1.0


def test_pictures_of_equal_size_go_through_together_and_keep_their_order(tmp_path: Path) -> None:
    sizes = [(40, 60), (60, 40)] * 6
    paths = [tmp_path / f"{index}.png" for index in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        Image.fromarray(painted(truth(*size))).save(path)
    model = applied()
    asked = PredictionSection(batch_size=6)
    seen: list[tuple[int, int]] = []
    outcomes = predict_images(
        model,
        paths[::-1],
        out=tmp_path / "out",
        section=asked,
        progress=lambda done, total: seen.append((done, total)),
    )

    assert [outcome.path for outcome in outcomes] == paths[::-1]
    assert seen == [(done, 12) for done in range(1, 13)]
    assert cast(ByColour, model.model).calls == 2  # two sizes, six of each
    for path, size in zip(paths, sizes, strict=True):
        stored = np.asarray(Image.open(tmp_path / "out" / f"{path.stem}.classes.png"))
        np.testing.assert_array_equal(stored, LABELS.export(truth(*size)))


def test_an_outcome_is_there_before_the_last_picture_is_asked_about(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(8)]
    for path in paths:
        Image.fromarray(painted(truth(30, 40))).save(path)
    model = applied()
    outcomes = predict_images(
        model, paths, out=tmp_path / "out", section=PredictionSection(batch_size=1)
    )
    first = next(outcomes)

    assert first.path == paths[0]
    assert first.class_map
    assert first.class_map.is_file()
    assert cast(ByColour, model.model).calls < 8
    outcomes.close()


def test_few_pictures_are_held_however_many_wait(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for path in paths:
        Image.new("RGB", (2000, 2000)).save(path, compress_level=1)
    model = applied("classification")
    seen: list[int] = []
    scores = model.model.scores

    def watched(images: Tensor) -> Tensor:
        seen.append(len(images))
        return scores(images[:, :, ::50, ::50])

    cast(Any, model.model).scores = watched
    section = PredictionSection(memory_mb=32, batch_size=12, overview_px=200)
    outcomes = list(predict_images(model, paths, out=tmp_path / "out", section=section))

    assert len(outcomes) == 5
    assert max(seen) == 2  # 12 MB each


def test_a_picture_keeps_its_place_in_its_folder(tmp_path: Path) -> None:
    for place in ("a/x.png", "b/x.png"):
        (tmp_path / "in" / place).parent.mkdir(parents=True)
        Image.fromarray(painted(truth(20, 30))).save(tmp_path / "in" / place)
    outcomes = list(predict_images(applied(), [tmp_path / "in"], out=tmp_path / "out"))
    records = [outcome.record for outcome in outcomes]

    assert records == [tmp_path / "out/a/x.json", tmp_path / "out/b/x.json"]


def test_another_way_of_asking_is_another_question(folder: Path, tmp_path: Path) -> None:
    def state(section: PredictionSection) -> str:
        (outcome,) = predict_images(
            applied(), [folder / "odd.png"], out=tmp_path / "out", section=section
        )
        return outcome.state

    plain, flips = PredictionSection(), PredictionSection(average="flips")
    quick = PredictionSection(average="flips", batch_size=1)
    assert [state(one) for one in (plain, plain, flips, quick)] == [
        "predicted",
        "reused",
        "predicted",
        "reused",
    ]


def test_a_photograph_held_sideways_is_seen_upright_and_mapped_as_stored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(painted(truth(40, 90))).save(tmp_path / "phone.png", exif=exif)
    shapes: list[torch.Size] = []
    model = applied()
    scores = model.model.scores
    cast(Any, model.model).scores = lambda images: shapes.append(images.shape) or scores(images)
    (outcome,) = predict_images(model, [tmp_path / "phone.png"], out=tmp_path / "out")
    assert outcome.class_map
    assert outcome.record
    facts = json.loads(outcome.record.read_text())["image"]

    assert shapes == [(1, 3, 90, 40)]
    assert (facts["width"], facts["height"], facts["orientation"]) == (90, 40, 6)
    with Image.open(outcome.class_map) as image:
        np.testing.assert_array_equal(np.asarray(image), LABELS.export(truth(40, 90)))
        assert image.getexif()[ExifTags.Base.Orientation] == 6


def test_a_name_that_nobody_can_print_is_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    Image.fromarray(painted(truth(20, 30))).save(path)
    (outcome,) = predict_images(applied(), [path], out=tmp_path / "out")

    assert outcome.state == "refused"
    outcome.message.encode()


def test_a_folder_that_may_not_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        list(predict_images(applied(), [folder], out=tmp_path / "out"))


@pytest.mark.real
def test_real_pictures_of_three_sets_give_class_maps_of_their_size(
    real_data: Path, tmp_path: Path
) -> None:
    folders = ["camvid/val", "ade20k/images/validation", "cracks/cfd/image"]
    paths = [sorted((real_data / folder).iterdir())[0] for folder in folders]
    outcomes = list(predict_images(applied(), paths, out=tmp_path))

    assert [outcome.state for outcome in outcomes] == ["predicted"] * 3
    for path, outcome in zip(paths, outcomes, strict=True):
        assert outcome.class_map
        with Image.open(path) as image, Image.open(outcome.class_map) as classes:
            assert image.size == classes.size
            assert set(np.unique(np.asarray(classes))) <= {1, 3, 7}
