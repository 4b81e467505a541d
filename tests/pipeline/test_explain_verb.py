"""`wsi-vit explain`: pictures, tiles and slides in, maps out, mistakes told like predict's."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.explanation.blobs import blobs, trained_vit
from tests.prediction.colours import checkerboard, painted, write_slide
from wsi_vit import console
from wsi_vit.cli import app
from wsi_vit.errors import ModelError, UsageError
from wsi_vit.prediction.applied import TILES
from wsi_vit.slides.grid import GridSection
from wsi_vit.slides.tiles import TilesSection

pytestmark = pytest.mark.usefixtures("as_environment")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained") / "model"
    trained_vit().save(folder)
    return folder


@pytest.fixture(scope="module")
def slide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained") / "model"
    trained_vit().save(folder)
    tiles = TilesSection(grid=GridSection(tile_px=48, mpp=1.0))
    (folder / TILES).write_text(tiles.model_dump_json())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one of them in a folder of its own, and a text that is called a picture."""
    images, _, _ = blobs(2, seed=4)
    (tmp_path / "in" / "more").mkdir(parents=True)
    for name, image in zip(("one.png", "more/two.png"), images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "in" / name)
    (tmp_path / "in" / "bad.png").write_text("no picture")
    return tmp_path / "in"


def test_each_picture_of_a_folder_gives_a_line_and_the_bad_one_is_named(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    asked = ["explain", str(model), str(folder), "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(app, [*asked, "--method", "gradient"])
    rows = {row["slide_id"]: row for row in map(json.loads, result.stdout.splitlines())}

    assert result.exit_code == console.QUARANTINED, result.output
    assert rows["bad.png"]["state"] == "quarantined"
    assert "Mend it, or leave it out" in rows["bad.png"]["message"]
    assert rows["one.png"]["state"] == rows["two.png"]["state"] == "explained"
    assert rows["two.png"]["folder"] == str(tmp_path / "out/more/two.explanation")
    for row in (rows["one.png"], rows["two.png"]):
        assert np.load(row["map"]).shape == (1, 6, 6)
        assert Path(row["figure"]).is_file()
        assert json.loads(Path(row["record"]).read_text())["method"] == "gradient"


def test_a_model_of_slides_takes_a_slide_and_a_tile(
    slide_model: Path, folder: Path, tmp_path: Path
) -> None:
    ids = checkerboard(900, 700, cell=149, glass=60)
    slide = write_slide(tmp_path / "board.tif", painted(ids))
    asked = ["explain", str(slide_model), str(slide), str(folder / "one.png"), "--mpp", "0.5"]
    result = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "out"), "--class", "red"])
    again = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "out"), "--class", "red"])

    assert result.exit_code == console.OK, result.output
    names = [Path(line).parent.name for line in result.stdout.splitlines()]
    assert names == ["one.explanation", "board.explanation"]
    assert again.stdout == result.stdout
    record = json.loads((tmp_path / "out/board.explanation/explanation.json").read_text())
    assert record["explained_class"] == "red"
    assert record["resolution"]["slide_mpp"] == 0.5


def test_what_cannot_be_asked_of_the_model_is_told_before_any_work(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    asked = ["explain", str(model), str(folder), "--out", str(tmp_path / "out")]
    unknown = CliRunner().invoke(app, [*asked, "--class", "mauve"])
    unfit = CliRunner().invoke(app, [*asked, "--method", "gradcam"])

    assert isinstance(unknown.exception, UsageError)
    assert isinstance(unfit.exception, ModelError)
    assert "Known: rollout, gradient, attention" in str(unfit.exception)
    assert not (tmp_path / "out").exists()
