"""The main job, once through on real files: what each stage says and leaves."""

import json
import shutil
from pathlib import Path

import pytest

from tests.pipeline.conftest import Done, run_folder, trained_otherwise
from wsi_vit import pipeline
from wsi_vit.errors import CohortError, DatasetError, Reason, TrainingError
from wsi_vit.models.load import load_model
from wsi_vit.pipeline import learning
from wsi_vit.pipeline import run_folder as folders
from wsi_vit.pipeline.run_folder import RunPlace
from wsi_vit.prediction.applied import load_applied
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.recipe import Recipe, load_recipe
from wsi_vit.settings import Settings
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.store import file_digest, read_manifest, verify_folder
from wsi_vit.tracking.journal import Journal

GOOD = [f"synthetic-00{number}" for number in (1, 2, 3, 4)]


def kinds(run: Path) -> list[str]:
    return [record.kind for record in Journal(run / "journal.jsonl").read()]


def test_bad_slides_are_set_aside_and_the_others_go_on(done: Done) -> None:
    outcomes = {item.slide_id: item for item in done.slides}

    assert [name for name, item in outcomes.items() if item.state == "tiled"] == GOOD
    assert all(outcomes[name].tiles > 50 for name in GOOD)
    assert outcomes["letter"].reason == Reason.NOT_A_SLIDE
    assert outcomes["lost"].reason == Reason.MISSING
    for name in ("letter", "lost"):
        assert outcomes[name].state == "quarantined"
        assert "Got:" in outcomes[name].message  # then follows what to do
        assert outcomes[name].tiles_folder is None


def test_bad_outlines_set_a_slide_aside(recipe: Recipe, settings: Settings, tmp_path: Path) -> None:
    row = pipeline.cohort_of(recipe).rows[0]
    broken = tmp_path / "broken.geojson"
    broken.write_text("{")

    for annotations in (broken, tmp_path / "lost.geojson"):
        bad = row.model_copy(update={"annotations": annotations})
        outcome = pipeline.tile_row(bad, recipe=recipe, settings=settings)
        assert (outcome.state, outcome.reason) == ("quarantined", Reason.BAD_ANNOTATIONS)
        assert annotations.name in outcome.message


def test_the_second_call_finds_everything_there(
    done: Done, recipe: Recipe, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kinds(done.run)
    monkeypatch.setattr(learning, "learn", pytest.fail)
    monkeypatch.setattr(learning, "evaluate_run", pytest.fail)

    slides = pipeline.tile_cohort(recipe, settings=settings)
    dataset = pipeline.build(recipe, slides, settings=settings)
    again = pipeline.train(recipe, dataset.folder, settings=settings)
    supervised = pipeline.train_supervised(recipe, dataset.folder, settings=settings)
    pipeline.evaluate(again.run, settings=settings)

    assert [item.state for item in slides if item.slide_id in GOOD] == ["reused"] * 4
    assert dataset.reused
    assert again == supervised == pipeline.Trained(run=done.run, reused=True)
    assert kinds(done.run) == before


def test_a_run_leaves_what_the_interface_promises_and_nothing_pickled(done: Done) -> None:
    files = {path.relative_to(done.run).as_posix() for path in done.run.rglob("*")}

    assert {
        "recipe.yaml",
        "journal.jsonl",
        "dataset",
        "checkpoints",
        "model/config.json",
        "model/model.safetensors",
        "model/labels.json",
        "model/preprocessing.json",
        "model/tiles.json",
        "model/prediction.json",
        "model/anomaly.safetensors",
        "model/card.md",
        "metrics.json",
        "report.html",
        "manifest.json",
    } <= files
    assert any(name.startswith("figures/") and name.endswith(".png") for name in files)
    assert not [name for name in files if name.endswith((".pkl", ".pt", ".bin", ".pth"))]
    hidden = [name for name in files if "/." in f"/{name}"]
    assert all(name.startswith(".mlflow-") for name in hidden)  # how far MLflow was fed
    assert (done.run / "dataset").resolve() == done.dataset


def test_the_manifest_vouches_for_the_run_and_names_its_damage(
    done: Done, settings: Settings
) -> None:
    files, faults = verify_folder(settings.runs)
    assert files > 20
    assert faults == []

    report = done.run / "report.html"
    whole = report.read_bytes()
    report.write_bytes(whole + b" ")
    try:
        assert [fault.path for fault in verify_folder(done.run)[1]] == [report]
    finally:
        report.write_bytes(whole)


def test_the_model_carries_the_tiling_it_learnt_on(done: Done, recipe: Recipe) -> None:
    saved = TilesSection.model_validate_json((done.run / "model" / "tiles.json").read_bytes())

    assert saved == recipe.source.tiles  # type: ignore[union-attr]
    assert load_model(done.run / "model").labels == recipe.labels


def test_another_way_to_apply_a_trained_model_is_saved_with_it_and_trains_nothing(
    recipe: Recipe, done: Done, settings: Settings, tmp_path: Path
) -> None:
    place = RunPlace(shutil.copytree(done.run, tmp_path / "run", symlinks=True))
    weights = file_digest(place.model / "model.safetensors")
    flips = recipe.model_copy(update={"prediction": PredictionSection(average="flips")})

    place.take_over(recipe)
    assert (place.folder / "manifest.json").is_file()
    place.take_over(flips)

    assert not (place.folder / "manifest.json").exists()
    assert load_applied(place.model).section.average == "flips"
    assert RunPlace(place.folder).recipe.prediction == flips.prediction
    assert file_digest(place.model / "model.safetensors") == weights


def test_the_journal_tells_the_run_from_attempt_to_end(done: Done, recipe: Recipe) -> None:
    records = list(Journal(done.run / "journal.jsonl").read())
    epochs = [record.payload["number"] for record in records if record.kind == "epoch"]

    assert (records[0].kind, records[-1].kind) == ("attempt", "finished")
    assert epochs == list(range(1, recipe.training.epochs + 1))
    learns = next(record.payload for record in records if record.kind == "learns")
    assert learns["trained"] == learns["parameters"] > 1000
    weights = file_digest(done.run / "model" / "model.safetensors")
    assert records[-1].payload == {"model": weights}


def test_the_report_and_the_card_name_command_and_figure(done: Done) -> None:
    report = (done.run / "report.html").read_text()
    card = (done.run / "model" / "card.md").read_text()
    headline = json.loads((done.run / "metrics.json").read_text())["headline"]

    assert "wsi-vit run tiny --cohort all.csv" in report
    assert "2 patients, 121 tiles" in report
    assert "parameters learn (100 %)" in report
    assert f"{headline['value']:.3f}" in card
    assert "Tells apart tumour, normal, stroma, mucus" in card
    for text in (report, card):
        assert str(done.run.parent.parent) not in text


def test_another_way_of_measuring_measures_again_and_trains_nothing(
    done: Done, recipe: Recipe, settings: Settings, tmp_path: Path
) -> None:
    otherwise = recipe.evaluation.model_copy(update={"resamples": 101})
    key = read_manifest(done.run).key

    for evaluation in (otherwise, recipe.evaluation):
        asked = recipe.model_copy(update={"evaluation": evaluation})
        assert pipeline.train(asked, done.dataset, settings=settings).reused
        assert not (done.run / "manifest.json").exists()
        pipeline.evaluate(done.run, settings=settings)
        assert RunPlace(done.run).recipe.evaluation == evaluation
        assert verify_folder(done.run)[1] == []

    assert read_manifest(done.run).key == key


def test_a_model_is_scored_on_any_dataset_of_its_classes(done: Done, settings: Settings) -> None:
    found = pipeline.evaluate_on(done.run / "model", done.dataset, settings=settings)

    own = json.loads((done.run / "metrics.json").read_text())["headline"]["value"]
    assert found.headline.value == pytest.approx(own)


def test_a_failed_training_says_so_in_its_journal(
    done: Done, recipe: Recipe, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TrainingError("The loss is nan", remedy="Lower the rate")

    monkeypatch.setattr(learning, "learn", fail)
    broken = trained_otherwise(recipe, learning_rate=9.0)

    with pytest.raises(TrainingError, match="loss is nan"):
        pipeline.train(broken, done.dataset, settings=settings)

    last = list(Journal(run_folder(broken, done.dataset, settings) / "journal.jsonl").read())[-1]
    assert last.kind == "failed"
    assert last.payload == {"error": "TrainingError", "message": "The loss is nan. Lower the rate."}


def test_a_kill_just_before_the_last_word_is_made_good(
    done: Done, recipe: Recipe, settings: Settings
) -> None:
    journal = done.run / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert kinds(done.run)[-1] == "epoch"

    pipeline.train(recipe, done.dataset, settings=settings)

    assert kinds(done.run)[-1] == "finished"


def test_where_the_data_lie_does_not_make_another_run(
    done: Done, recipe: Recipe, settings: Settings, good_cohort: Path
) -> None:
    moved = recipe.reading(good_cohort)
    threads = trained_otherwise(recipe, workers=7)
    rate = trained_otherwise(recipe, learning_rate=1.0)

    assert run_folder(moved, done.dataset, settings) == done.run
    assert run_folder(threads, done.dataset, settings) == done.run
    assert run_folder(rate, done.dataset, settings) != done.run


def test_nothing_is_built_of_quarantined_slides(
    done: Done, recipe: Recipe, settings: Settings
) -> None:
    lost = [item for item in done.slides if item.state == "quarantined"]

    with pytest.raises(DatasetError, match=r"Every slide is quarantined.*letter"):
        pipeline.build(recipe, lost, settings=settings)


def test_a_recipe_without_slides_has_no_cohort(recipe_file: Path, settings: Settings) -> None:
    with pytest.raises(CohortError, match="not a cohort of slides"):
        pipeline.cohort_of(load_recipe("ebhi_segmentation"))
    with pytest.raises(CohortError, match="Give --cohort"):
        pipeline.cohort_of(load_recipe(recipe_file))
    assert pipeline.tile_cohort(load_recipe("ebhi_segmentation"), settings=settings) == []


def test_the_commit_is_that_of_a_checkout_or_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    assert folders.git_commit() is None  # there is no git here

    monkeypatch.undo()
    monkeypatch.setattr(folders, "__file__", str(tmp_path / "a" / "b" / "run_folder.py"))
    assert folders.git_commit() is None  # an installed package
