"""Plain pictures: sizes restored, big ones tiled, bad ones named, nothing done twice."""

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.prediction.colours import LABELS, ByColour, applied, painted
from wsi_vit.errors import UsageError
from wsi_vit.prediction.pictures import decode, find_images, named_images
from wsi_vit.prediction.scene import predict_images, score_picture
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
    outcomes = predict_images(applied(), [folder], out=tmp_path / "out")

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
    assert record["model"] == {"digest": "c0" * 32, "task": "segmentation"}
    assert [item["export_id"] for item in record["classes"]] == [3, 7, 1]
    assert [item["share"] for item in record["classes"]] == pytest.approx(expected, abs=1e-6)
    assert outcome.shares == pytest.approx(dict(zip(LABELS.names, expected, strict=True)), abs=1e-5)
    assert set(record["files"]) == {"odd.classes.png", "odd.overlay.png"}


@pytest.mark.parametrize("shape", [(129, 40), (300, 129), (64, 1000), (193, 193)])
def test_big_pictures_are_tiled_and_blended(shape: tuple[int, int]) -> None:
    model = applied()
    image = painted(truth(*shape))
    whole = model.scores([image])[0]  # this model sees one pixel at a time: tiles change nothing
    tiled = score_picture(model, image, PredictionSection(batch_size=3))

    assert tiled.shape == whole.shape
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    assert cast(ByColour, model.model).calls > 2


def test_pictures_up_to_twice_the_input_go_through_at_once() -> None:
    model = applied()
    score_picture(model, painted(truth(128, 100)), PredictionSection())

    assert cast(ByColour, model.model).calls == 1


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
    assert "8-bit" in outcomes["deep.png"].message
    assert len(list((tmp_path / "out").glob("*.json"))) == 3


def test_what_was_predicted_is_not_predicted_again(folder: Path, tmp_path: Path) -> None:
    predict_images(applied(), [folder], out=tmp_path / "out")
    (tmp_path / "out/odd.overlay.png").write_bytes(b"damaged")
    (tmp_path / "out/wide.json").write_text("{")
    model = applied()
    states = {o.path.name: o.state for o in predict_images(model, [folder], out=tmp_path / "out")}

    assert states == {"small.png": "reused", "odd.png": "predicted", "wide.tif": "predicted"}
    assert (tmp_path / "out/odd.overlay.png").read_bytes() != b"damaged"


def test_a_changed_picture_is_predicted_anew(folder: Path, tmp_path: Path) -> None:
    one = folder / "small.png"
    predict_images(applied(), [one], out=tmp_path / "out")
    Image.fromarray(painted(np.zeros((40, 70), np.uint8))).save(one)
    (outcome,) = predict_images(applied(), [one], out=tmp_path / "out")

    assert outcome.state == "predicted"
    assert outcome.shares["tumour"] == 1.0


def test_equal_stems_get_names_of_their_own() -> None:
    paths = [Path("a/x.png"), Path("b/x.png"), Path("c/x~2.png"), Path("d/x.tif")]

    assert [name for name, _ in named_images(paths)] == ["x", "x~2", "x~2~2", "x~3"]


def test_transparent_pixels_lie_on_white(tmp_path: Path) -> None:
    clear = np.zeros((4, 5, 4), np.uint8)
    clear[0] = 255, 0, 0, 255
    Image.fromarray(clear).save(tmp_path / "clear.png")
    rgb = decode(tmp_path / "clear.png")

    assert (rgb[0] == (255, 0, 0)).all()
    assert (rgb[1:] == 255).all()


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No picture"):
        list(find_images([tmp_path]))


@pytest.mark.real
def test_real_pictures_give_overlays(real_data: Path, tmp_path: Path) -> None:
    paths = sorted((real_data / "camvid").rglob("*.png"))[:2]
    outcomes = predict_images(applied(), paths, out=tmp_path)

    assert [outcome.state for outcome in outcomes] == ["predicted"] * 2
