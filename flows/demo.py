"""The main job on a synthetic cohort, offline, through the real flows.

Prefect's embedded server and MLflow keep their databases in the demonstration's folder, so nothing
else on the computer is touched.
"""

import csv
import json
import os
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsi_vit import console

SLIDES = 12
RECIPES = ("demo_classification", "demo_segmentation")
_SEED = 1


def run_demo(out: Path) -> Path:
    """Synthesise, train twice, predict the held-out slides, write a page; return the page.

    A second call skips whatever is there already and says so.
    """
    _use_embedded_servers(out)
    clock = _Clock()
    with ThreadPoolExecutor(1, thread_name_prefix="server") as aside:
        server = aside.submit(_start_server)
        with clock.stage("slides"):
            cohort = _cohort(out / "cohort")
        with clock.stage("server"):
            server.result()
    trained: list[dict[str, Any]] = []
    for recipe in RECIPES:
        with clock.stage(recipe):
            trained.append(_train(recipe, cohort))
    with clock.stage("prediction"):
        predictions = _predict(trained[-1], cohort, out)
    with clock.stage("page"):
        page = _page(out, trained, predictions)
    clock.write(out / "stages.json")
    _tell(page, trained, clock.total_s)
    return page


class _Clock:
    """How long each stage took."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._stages: dict[str, float] = {}

    @property
    def total_s(self) -> float:
        return time.monotonic() - self._began

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        began = time.monotonic()
        yield
        self._stages[name] = round(time.monotonic() - began, 1)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self._stages, indent=1) + "\n")


def _use_embedded_servers(out: Path) -> None:
    """Name the folders and servers before Prefect is imported, as it reads them only once."""
    out.mkdir(parents=True, exist_ok=True)
    os.environ.pop("PREFECT_API_URL", None)
    os.environ.pop("WSI_VIT_MLFLOW_URI", None)
    os.environ.update(
        WSI_VIT_RUNS=str(out.resolve()),
        PREFECT_HOME=str(out.resolve() / "prefect"),
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="true",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_RESULTS_DEFAULT_SERIALIZER="json",
        PREFECT_LOGGING_LEVEL="ERROR",
        DO_NOT_TRACK="1",
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_LOGGING_LEVEL="WARNING",
        HF_HUB_OFFLINE="1",
    )


def _start_server() -> None:
    """Let Prefect start the server that it embeds; it ends with this process."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.hello().raise_for_status()


def _cohort(folder: Path) -> Path:
    from wsi_vit.slides.synthetic import synthesise_cohort
    from wsi_vit.slides.synthetic.settings import SyntheticSection

    cohort = folder / "cohort.csv"
    if cohort.exists():
        _skipped("synthetic slides", cohort)
        return cohort
    console.say(f"[bold]1/4[/bold]  drawing {SLIDES} synthetic colorectal slides ...")
    section = SyntheticSection(slides_per_patient=1)
    return synthesise_cohort(folder, slides=SLIDES, seed=_SEED, section=section)


def _train(recipe: str, cohort: Path) -> dict[str, Any]:
    from flows.parameters import TrainParameters
    from flows.progress import overheard
    from flows.train_wsi import train_wsi

    step = f"{RECIPES.index(recipe) + 2}/4"
    console.say(f"[bold]{step}[/bold]  flow train-wsi, recipe {recipe} ...")
    with (
        console.progress_bars() as show,
        overheard(lambda step: show(step.what, step.done, step.total)),
    ):
        result: Any = train_wsi(TrainParameters(recipe=recipe, cohort=cohort))
    for stage in result["reused"]:
        _skipped(f"{recipe}, {stage}", result["run"])
    console.say(f"     {result['sentence']}")
    return result


def _predict(trained: dict[str, Any], cohort: Path, out: Path) -> list[dict[str, Any]]:
    """Predict the slides of the test patients, whom neither training nor selection has seen."""
    from flows.parameters import PredictParameters
    from flows.predict_wsi import predict_wsi

    console.say("[bold]4/4[/bold]  flow predict-wsi on the held-out slides ...")
    model = f"models:/{trained['model']['name']}@champion"
    held_out = _held_out(Path(trained["run"]), cohort)
    asked = PredictParameters(model=model, cohort=held_out, out=out / "predictions")
    results: Any = predict_wsi(asked)
    for item in results:
        if item["state"] == "reused":
            _skipped(f"prediction of {item['slide_id']}", item["folder"])
    return results


def _held_out(run: Path, cohort: Path) -> Path:
    """Write a cohort of the test patients' slides beside the whole one."""
    from wsi_vit.datasets.reading import open_dataset

    slides = set(open_dataset((run / "dataset").resolve()).examples("test").slide_ids)
    path = cohort.with_name("held_out.csv")
    with cohort.open(newline="") as source, path.open("w", newline="") as target:
        rows = csv.DictReader(source)
        writer = csv.DictWriter(target, fieldnames=rows.fieldnames or [])
        writer.writeheader()
        writer.writerows(row for row in rows if row["slide_id"] in slides)
    return path


def _page(out: Path, trained: list[dict[str, Any]], predictions: list[dict[str, Any]]) -> Path:
    from wsi_vit.evaluation.overall import OverallRun, write_overall

    return write_overall(
        out / "report.html",
        title="wsi-vit: the main job on synthetic slides",
        runs=[OverallRun.of(Path(item["run"]), item["model"]) for item in trained],
        slides=[(p["slide_id"], Path(p["comparison"] or p["overview"])) for p in predictions],
    )


def _tell(page: Path, trained: list[dict[str, Any]], seconds: float) -> None:
    model = trained[-1]["model"]["name"]
    console.say(f"\n[bold green]Done in {seconds:.0f} s.[/bold green]  Look at [bold]{page}[/bold]")
    for item in trained:
        console.say(f"  {Path(item['run']).name}  {item['run']}/report.html")
    console.say(
        "\nNext, your own slides:  wsi-vit plan wsi_segmentation --cohort cohort.csv"
        f"\nOr this model again:    WSI_VIT_RUNS={page.parent} wsi-vit predict "
        f"models:/{model}@champion SLIDE.svs --out results"
    )


def _skipped(what: str, where: object) -> None:
    console.say(f"[dim]skipped[/dim]  {what}: there already ({where})")
