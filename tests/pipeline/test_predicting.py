"""From a model to class maps of slides."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.pipeline.conftest import Done
from wsi_vit import pipeline
from wsi_vit.errors import Reason, UsageError
from wsi_vit.pipeline import PredictionOutcome
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.settings import Settings


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predictions")


@pytest.fixture(scope="module")
def predicted(
    done: Done, cohort: Path, settings: Settings, out: Path
) -> dict[str, PredictionOutcome]:
    small = cohort.with_name("two.csv")
    lines = cohort.read_text().splitlines(keepends=True)
    small.write_text("".join([lines[0], lines[1], *lines[-2:]]))
    found = pipeline.predict("models:/wsi-vit-tiny@champion", [small], out=out, settings=settings)
    return {item.slide_id: item for item in found}


def predicted_now(*arguments: Any, **options: Any) -> list[PredictionOutcome]:
    return list(pipeline.predict(*arguments, **options))


def test_a_slide_of_a_cohort_gets_its_map_and_its_comparison(
    predicted: dict[str, PredictionOutcome], out: Path
) -> None:
    found = predicted["synthetic-001"]

    assert found.state == "predicted"
    assert found.folder == out / "synthetic-001"
    assert {path.name for path in found.folder.iterdir()} >= {
        "annotations.geojson",
        "classes.ome.zarr",
        "manifest.json",
        "overview.png",
        "prediction.json",
        "tiles.parquet",
    }
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-3)
    assert found.comparison
    with Image.open(found.comparison) as picture:
        assert picture.width > 2 * picture.height  # slide, truth and prediction side by side


def test_slides_that_cannot_be_read_are_quarantined(
    predicted: dict[str, PredictionOutcome],
) -> None:
    reasons = {name: item.reason for name, item in predicted.items() if item.state != "predicted"}

    assert reasons == {"letter": Reason.NOT_A_SLIDE, "lost": Reason.MISSING}
    assert all(predicted[name].folder is None for name in reasons)


def test_what_was_predicted_before_is_found_again_and_its_truth_drawn_anew_if_it_changed(
    predicted: dict[str, PredictionOutcome],
    done: Done,
    good_cohort: Path,
    settings: Settings,
    out: Path,
    tmp_path: Path,
) -> None:
    before = predicted["synthetic-001"]
    table = tmp_path / "one.csv"
    outlines = good_cohort.parent / "annotations"
    slide = good_cohort.parent / "slides" / "synthetic-001.svs"

    def again(annotations: Path) -> PredictionOutcome:
        table.write_text(
            f"slide,slide_id,patient,mpp,annotations\n{slide},synthetic-001,p,0.5,{annotations}\n"
        )
        return predicted_now(str(done.run), [table], out=out, settings=settings)[0]

    same, other = (
        again(outlines / "synthetic-001.geojson"),
        again(outlines / "synthetic-002.geojson"),
    )
    broken = tmp_path / "broken.geojson"
    broken.write_text("{")
    unreadable, lost = again(broken), again(tmp_path / "lost.geojson")

    assert same.state == other.state == unreadable.state == lost.state == "reused"
    assert same.comparison == before.comparison
    assert other.comparison not in (None, before.comparison)
    for bad in (unreadable, lost):
        assert bad.comparison is None
        assert bad.message.startswith("Predicted, but not compared.")


def test_paths_come_from_a_listing_in_the_place_of_the_dash(tmp_path: Path) -> None:
    lines, nuls = b"b c.jpg\nd.jpg\n\n", b"b\nc.jpg\0\xff.jpg\0"

    assert pipeline.listed_inputs([Path("a"), Path("-"), Path("e")], io.BytesIO(lines)) == [
        Path("a"),
        Path("b c.jpg"),
        Path("d.jpg"),
        Path("e"),
    ]
    found = pipeline.listed_inputs([Path("-")], io.BytesIO(nuls))
    assert [bytes(path) for path in found] == [b"b\nc.jpg", b"\xff.jpg"]
    with pytest.raises(UsageError, match="No path on standard input"):
        pipeline.listed_inputs([Path("-")], io.BytesIO())


def test_what_is_asked_wins_over_what_was_saved_with_the_model() -> None:
    saved = PredictionSection(overlap=0.5, average="flips", batch_size=2)
    asked = pipeline.PredictionOptions(average="none", mpp=0.5)

    assert asked.over(saved) == PredictionSection(overlap=0.5, average="none", batch_size=2)


def test_two_slides_of_one_name_are_refused_before_any_work(
    done: Done, settings: Settings, tmp_path: Path
) -> None:
    slides = [tmp_path / folder / "a.svs" for folder in ("x", "y")]

    with pytest.raises(UsageError, match="Two slides are named a"):
        predicted_now(str(done.run), slides, out=tmp_path / "out", settings=settings)

    assert not (tmp_path / "out").exists()


def test_a_row_is_predicted_like_its_file_with_a_relative_folder_for_results(
    done: Done,
    good_cohort: Path,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from wsi_vit.cohort import read_cohort

    monkeypatch.chdir(tmp_path)
    row = read_cohort(good_cohort).rows[1].model_copy(update={"annotations": None})

    model = pipeline.fetch_model(str(done.run), settings=settings)
    first, second = (
        pipeline.predict_row(model, row, out=Path("out"), settings=settings) for _ in range(2)
    )

    assert (first.state, second.state) == ("predicted", "reused")
    assert first.comparison is None
    assert Path("out/synthetic-002/overview.png").is_file()
    assert (
        pipeline.predict_row(
            model,
            row.model_copy(update={"slide": tmp_path / "gone.svs"}),
            out=Path("out"),
            settings=settings,
        ).reason
        == Reason.MISSING
    )
