"""The flows on a real Prefect server with a process worker and a real MLflow, as `make up` starts
them: the synthetic cohort, and the real colon slide where it is at hand."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.flows.stack import Stack
from wsi_vit import console
from wsi_vit.datasets.digits import DigitsSource
from wsi_vit.recipe import dump_recipe, load_recipe
from wsi_vit.slides.synthetic import synthesise_cohort
from wsi_vit.slides.synthetic.settings import SyntheticSection

TINY = """
labels:
  background: glass
  classes:
    - {{name: glass, source: [0, glass], colour: "#000000"}}
    - {{name: tissue, source: [1, tumour, normal, stroma, mucus], colour: "#d55e00"}}
source:
  kind: cohort
  tiles:
    grid: {{tile_px: 64, mpp: {mpp}, min_tissue: {min_tissue}}}
  labelling: {{outside: background}}
split: {split}
model:
  kind: maskformer
  start:
    kind: config
    options: {{widths: [8, 16, 32, 64], d_model: 32, decoder_layers: 1, queries: 4}}
  input_px: 64
augmentation: {{preset: none}}
training: {{epochs: {epochs}, batch_size: 16, learning_rate: 2.0e-3}}
evaluation: {{resamples: 200}}
"""

UNLABELLED = """
labels: {classes: [{name: tile, colour: "#999999"}]}
source:
  kind: cohort
  tiles: {grid: {tile_px: 64, mpp: 2.0, min_tissue: 0.3}}
split: {kind: patients, validation: 0.25, test: 0.25}
model:
  kind: mae
  start: {kind: config, options: {patch_px: 16, width: 32, depth: 1, heads: 2}}
  input_px: 64
  decoder_width: 32
  decoder_depth: 1
  decoder_heads: 2
augmentation: {preset: none}
training: {epochs: 1, batch_size: 16, learning_rate: 1.0e-3, workers: 0}
evaluation: {resamples: 100}
"""


@pytest.fixture(scope="module")
def trained(stack: Stack) -> dict[str, Any]:
    """A run on four synthetic slides and a file that is none."""
    section = SyntheticSection(width_px=1536, height_px=1152, slides_per_patient=1)
    cohort = synthesise_cohort(stack.folder / "cohort", slides=4, seed=3, section=section)
    (cohort.parent / "slides" / "bad.svs").write_text("no slide")
    with cohort.open("a") as table:
        table.write("slides/bad.svs,bad,patient-bad,site-1,,0.5\n")
    recipe = stack.folder / "tiny.yaml"
    split = "{kind: patients, validation: 0.25, test: 0.25}"
    recipe.write_text(TINY.format(mpp=2.0, min_tissue=0.3, split=split, epochs=2))
    result = stack.call(
        "trigger", "train-wsi", "-p", f"recipe={recipe}", "-p", f"cohort={cohort}", "--watch"
    )
    return {"result": result, "cohort": cohort, "recipe": recipe}


def test_a_deployment_trains_and_says_which_slide_is_quarantined(
    stack: Stack, trained: dict[str, Any]
) -> None:
    result = trained["result"]

    assert result.returncode == console.QUARANTINED, result.stdout + result.stderr
    assert "Completed" in result.stdout
    assert "1 quarantined: bad" in result.stdout
    (run,) = (stack.folder / "runs" / "tiny").iterdir()
    assert (run / "report.html").is_file()
    assert (run / "manifest.json").is_file()


def test_pictures_tables_and_progress_are_in_prefects_pages(
    stack: Stack, trained: dict[str, Any]
) -> None:
    assert trained["result"].returncode == console.QUARANTINED
    found = stack.api("artifacts/filter", limit=100)

    kinds = {item["type"] for item in found}
    assert {"image", "table", "markdown", "progress"} <= kinds
    slides = next(item for item in found if item["key"] == "tiny-slides")
    assert "not_a_slide" in slides["data"]


def test_the_model_is_in_mlflow_and_predicts_through_its_deployment(
    stack: Stack, trained: dict[str, Any]
) -> None:
    (model,) = json.loads(stack.done("models", "--json"))
    assert model["name"] == "wsi-vit-tiny"

    asked = [
        *("-p", "model=models:/wsi-vit-tiny/1", "-p", f"cohort={trained['cohort']}"),
        *("-p", f"out={stack.folder / 'out'}", "--watch"),
    ]
    first = stack.call("trigger", "predict-wsi", *asked)
    again = stack.call("trigger", "predict-wsi", *asked)

    assert first.returncode == console.QUARANTINED, first.stdout + first.stderr
    assert "4 predicted, 0 reused; 1 quarantined: bad" in first.stdout
    assert "0 predicted, 4 reused; 1 quarantined: bad" in again.stdout
    assert (stack.folder / "out" / "synthetic-001" / "annotations.geojson").is_file()


def test_a_second_deploy_changes_nothing_and_the_nightly_schedule_sleeps_until_it_is_woken(
    stack: Stack,
) -> None:
    def deployed() -> tuple[list[str], set[bool]]:
        found = stack.api("deployments/filter")
        assert {item["name"] for item in found} == {"local", "gpu"}
        active = {schedule["active"] for item in found for schedule in item["schedules"]}
        return sorted(item["id"] for item in found), active

    first, sleeping = deployed()
    assert sleeping == {False}
    stack.done("deploy", "--schedule")
    assert deployed() == (first, {True})
    stack.done("deploy")  # neither wakes it nor lets it sleep
    assert deployed() == (first, {True})
    stack.done("deploy", "--no-schedule")
    assert deployed() == (first, {False})
    assert len(stack.api("automations/filter")) == 1


def test_a_parameter_that_is_wrong_is_refused_before_a_run_exists(stack: Stack) -> None:
    result = stack.call("trigger", "train-wsi", "-p", "recipie=tiny")

    assert result.returncode == console.USAGE
    assert "recipie" in result.stderr
    assert "Traceback" not in result.stderr


def test_status_shows_servers_and_runs(stack: Stack, trained: dict[str, Any]) -> None:
    assert trained["result"].returncode == console.QUARANTINED
    said = json.loads(stack.done("status", "--json"))

    assert {item["name"] for item in said["servers"]} == {"prefect", "mlflow", "worker-local"}
    assert any("train" in run["run"] for run in said["runs"])


@pytest.fixture(scope="module")
def others(stack: Stack, trained: dict[str, Any]) -> dict[str, subprocess.CompletedProcess[str]]:
    """A comparison on a few digits and a pre-training on the cohort, side by side."""
    digits = load_recipe("token_learner_digits")
    quick = {
        "source": DigitsSource(rows=120),
        "training": digits.training.model_copy(update={"epochs": 1}),
        "evaluation": digits.evaluation.model_copy(update={"resamples": 100}),
    }
    compared, unlabelled = stack.folder / "digits.yaml", stack.folder / "unlabelled.yaml"
    compared.write_text(dump_recipe(digits.model_copy(update=quick)))
    unlabelled.write_text(UNLABELLED)
    asked = {
        "compare-token-learner": [f"recipe={compared}", "seeds=2"],
        "pretrain-wsi": [f"recipe={unlabelled}", f"cohort={trained['cohort']}"],
    }

    def trigger(flow: str) -> subprocess.CompletedProcess[str]:
        words = [word for pair in asked[flow] for word in ("-p", pair)]
        return stack.call("trigger", flow, *words, "--watch")

    with ThreadPoolExecutor(len(asked)) as pool:
        return dict(zip(asked, pool.map(trigger, asked), strict=True))


def test_a_comparison_says_what_token_learner_costs_and_shows_it(
    stack: Stack, others: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    result = others["compare-token-learner"]

    assert result.returncode == console.OK, result.stdout + result.stderr
    assert "48 test images" in result.stdout
    assert len(list((stack.folder / "runs" / "token_learner_digits").iterdir())) == 4
    (folder,) = (stack.folder / "runs" / "comparisons" / "token-learner").iterdir()
    assert str(folder / "comparison.html") in result.stdout.replace("\n", "")
    shown = {item["key"]: item for item in stack.api("artifacts/filter", limit=200)}
    rows = json.loads(shown["digits-comparison"]["data"])
    assert len(rows) == 2
    assert shown["digits-comparison-comparison"]["type"] == "image"
    assert "48 test images" in shown["digits-comparison-result"]["data"]


def test_a_pre_training_says_where_to_begin_from_it_and_shows_what_it_draws(
    stack: Stack, others: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    result = others["pretrain-wsi"]

    assert result.returncode == console.QUARANTINED, result.stdout + result.stderr
    assert "1 quarantined: bad" in result.stdout
    (run,) = (stack.folder / "runs" / "unlabelled").iterdir()
    assert "Begin from" in result.stdout.replace("\n", " ")
    assert str(run / "model") in result.stdout.replace("\n", "")
    assert (run / "report.html").is_file()
    shown = {item["key"] for item in stack.api("artifacts/filter", limit=200)}
    assert shown >= {
        f"unlabelled-{name}" for name in ("reconstruction", "training", "slides", "result")
    }


@pytest.mark.real
def test_the_real_colon_slide_is_learnt_on_one_part_and_judged_on_another(
    stack: Stack, real_data: Path
) -> None:
    slide = real_data / "wsi-colon" / "P2_0039_section1_half.tif"
    outlines = slide.with_name("P2_0039_section1_half_tissue-mask.tif")
    cohort = stack.folder / "colon.csv"
    cohort.write_text(f"slide,slide_id,patient,annotations,mpp\n{slide},colon,P2,{outlines},1.0\n")
    recipe = stack.folder / "colon.yaml"
    split = "{kind: regions, validation: 0.15, test: 0.3}"
    recipe.write_text(TINY.format(mpp=8.0, min_tissue=0.02, split=split, epochs=12))

    result = stack.call(
        "trigger", "train-wsi", "-p", f"recipe={recipe}", "-p", f"cohort={cohort}", "--watch"
    )

    assert result.returncode == console.OK, result.stdout + result.stderr
    (run,) = (stack.folder / "runs" / "colon").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["estimate"] == "regions of one patient"
    assert metrics["headline"]["low"] is None
    assert metrics["headline"]["value"] > 0.6
    assert "refused" in result.stdout
    stack.done(
        *("predict", str(run), str(slide), "--mpp", "1.0", "--out", str(stack.folder / "colon"))
    )
    assert (stack.folder / "colon" / slide.stem / "overview.png").is_file()
