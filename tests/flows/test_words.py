"""What the flows ask, refuse, retry and declare; no server is needed for any of it."""

import errno
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect.flows import Flow
from prefect.states import Completed, Failed
from pydantic import ValidationError

from flows import deployments, predict_wsi, runs, stages
from flows.alone import End
from flows.artifacts import slug
from flows.parameters import (
    Ade20kParameters,
    PretrainParameters,
    TrainAllParameters,
    TrainParameters,
)
from flows.retries import is_passing
from flows.side_by_side import Ran
from flows.train_all import final_state
from wsi_vit.cohort import CohortRow
from wsi_vit.errors import Reason, ServiceError, SlideError, TrainingError, UsageError
from wsi_vit.pipeline import PredictionOutcome

SETS = ("ade20k", "sidewalk", "crack")


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ServiceError("MLflow does not answer", remedy="Wait"), True),
        (OSError(errno.EIO, "hiccup"), True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (MemoryError(), True),
        (OSError(errno.ENOSPC, "full"), False),
        (PermissionError(errno.EACCES, "no"), False),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (TrainingError("The loss is nan", remedy="Lower the rate"), False),
        (SlideError(Reason.NO_MPP, "No size", remedy="Give mpp"), False),
        (ValueError("nonsense"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_passes_by_itself_is_tried_again(error: Exception, again: bool) -> None:  # noqa: FBT001
    assert is_passing(None, None, Failed(data=error)) is again


def test_parameters_are_pairs_and_places_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()

    found = runs.parsed(
        ["recipe=mine.yaml", "cohort=a=b.csv", "out=results", "model=run", "promotion=never"]
    )

    assert found == {
        "recipe": f"{tmp_path}/mine.yaml",
        "cohort": f"{tmp_path}/a=b.csv",
        "out": f"{tmp_path}/results",
        "model": f"{tmp_path}/run",
        "promotion": "never",
    }
    assert runs.parsed(["recipe=wsi_segmentation"]) == {"recipe": "wsi_segmentation"}
    assert runs.parsed(["model=models:/m@champion"]) == {"model": "models:/m@champion"}


def test_a_dot_leads_into_a_part_commas_make_a_list_and_counts_are_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    found = runs.parsed(
        ["subsets=crack,sidewalk", "crack.data=cfd", "crack.recipe=c.yaml", "slides.cohort=s.csv"]
    )
    counted = runs.parsed(["seeds=7", "recipe=7"])

    assert found == {
        "subsets": ["crack", "sidewalk"],
        "crack": {"data": f"{tmp_path}/cfd", "recipe": f"{tmp_path}/c.yaml"},
        "slides": {"cohort": f"{tmp_path}/s.csv"},
    }
    assert counted == {"seeds": 7, "recipe": "7"}
    assert runs.parsed(["seeds=many"]) == {"seeds": "many"}  # the flow says what is wrong with it


@pytest.mark.parametrize("text", ["cohort", "=a.csv", "crack.=cfd", ".data=cfd"])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        runs.parsed([text])


def test_a_short_name_is_made_whole_or_refused_with_those_there_are() -> None:
    assert deployments.full_name("train-wsi", None) == "train-wsi/local"
    assert deployments.full_name("train-wsi", "gpu") == "train-wsi/gpu"
    assert deployments.full_name("predict-wsi/gpu", "local") == "predict-wsi/gpu"
    with pytest.raises(UsageError, match=r"Known: train-wsi/local, .*train-all/gpu, .*predict-w"):
        deployments.full_name("train", "local")


def test_each_flow_is_deployed_to_both_pools_from_an_entrypoint_that_exists() -> None:
    declared = yaml.safe_load(deployments.prefect_file().read_text())["deployments"]
    places = set()
    for item in declared:
        module, name = item["entrypoint"].rsplit(".", 1)
        flow = getattr(import_module(module), name)
        assert isinstance(flow, Flow)
        places.add((flow.name, item["name"], item["work_pool"]["name"]))
        flow.validate_parameters(item["parameters"])
        assert all(schedule["active"] is False for schedule in item.get("schedules", []))

    assert places == {
        (flow, pool, pool)
        for flow in (
            "predict-wsi",
            "compare-token-learner",
            "pretrain-wsi",
            *(f"train-{set_}" for set_ in ("wsi", *SETS, "all")),
        )
        for pool in ("local", "gpu")
    }


def test_a_flow_refuses_an_unknown_recipe_and_an_unknown_word_early() -> None:
    with pytest.raises(UsageError, match="No such recipe"):
        TrainParameters(recipe="nonsense")
    with pytest.raises(ValidationError, match="promotion"):
        TrainParameters(promotion="always")  # type: ignore[arg-type]


def test_pre_training_takes_no_recipe_that_learns_from_labels() -> None:
    assert PretrainParameters().resolved().task == "pretraining"
    with pytest.raises(ValidationError, match="learns from labels; train-wsi is for it"):
        PretrainParameters(recipe="wsi_classification")


def test_a_flow_reads_the_places_that_were_named(tmp_path: Path) -> None:
    asked = TrainParameters(recipe="demo_segmentation", cohort=tmp_path / "c.csv")

    assert asked.resolved().source.cohort == tmp_path / "c.csv"  # type: ignore[union-attr]


def test_a_scene_flow_takes_its_own_recipes_and_files_only(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"ade20k_5.*ade20k_5_interior"):
        Ade20kParameters.model_validate({"recipe": "wsi_segmentation"})
    with pytest.raises(UsageError, match="No such recipe file"):
        Ade20kParameters(recipe=f"{tmp_path}/mine.yaml")
    assert Ade20kParameters(data=tmp_path).place == tmp_path


def test_slides_join_in_where_their_cohort_is_named(tmp_path: Path) -> None:
    slides = TrainParameters(cohort=tmp_path / "cohort.csv")

    assert TrainAllParameters().spoken == "ade20k, sidewalk, crack"
    assert TrainAllParameters(subsets=("crack",), slides=slides).spoken == "crack, slides"
    assert list(TrainAllParameters(subsets=(), slides=slides).asked()) == ["slides"]


def test_runs_side_by_side_are_several_and_different(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="nothing to train"):
        TrainAllParameters(subsets=())
    with pytest.raises(ValidationError, match="recipe of its own"):
        TrainAllParameters(subsets=("crack", "crack"))


def test_one_failure_is_told_by_the_final_state_with_its_reason_and_with_what_succeeded() -> None:
    good = Ran(name="crack", recipe="crack", end=End(completed=True, message="IoU 0.7; 1 quaran"))
    bad = Ran(name="slides", recipe="wsi", end=End(completed=False, message="DatasetError: empty"))

    assert final_state([good]).is_completed()
    assert final_state([good]).message == "crack: IoU 0.7; 1 quaran"
    mixed = final_state([good, bad])
    assert mixed.is_failed()
    assert mixed.message == (
        "1 of 2 failed: slides: DatasetError: empty || trained: crack: IoU 0.7; 1 quaran"
    )
    assert final_state([bad]).message == "1 of 1 failed: slides: DatasetError: empty"


def test_the_end_of_a_run_is_its_result_or_its_error_in_words() -> None:
    done = End.of(Completed(message="well", data={"run": "runs/a/b"}))
    lost = End.of(Failed(message="Flow run…", data=ServiceError("No answer", remedy="Wait")))

    assert (done.completed, done.message, done.result) == (True, "well", {"run": "runs/a/b"})
    assert (lost.completed, lost.message) == (False, "ServiceError: No answer. Wait.")


def test_a_large_cohort_goes_in_batches_that_lose_no_slide() -> None:
    rows = [
        CohortRow(slide=Path(f"/{n}.svs"), slide_id=str(n), patient=str(n)) for n in range(1201)
    ]

    batches = stages._batches(rows)

    assert len(batches) <= stages.MAX_TASKS
    assert [row for batch in batches for row in batch] == rows
    assert stages._batches([]) == []
    assert stages._span(batches[0]) == "0 to 2"


def test_a_slide_that_is_no_slide_is_an_outcome_and_not_a_failure(tmp_path: Path) -> None:
    letter = tmp_path / "letter.svs"
    letter.write_text("Dear colleague,\n")
    row = CohortRow(slide=letter, slide_id="letter", patient="p")
    asked = TrainParameters(recipe="demo_classification", cohort=tmp_path / "cohort.csv")

    (outcome,) = stages.tile_slides.fn(asked, [row])

    assert (outcome.state, outcome.reason) == ("quarantined", Reason.NOT_A_SLIDE)


def test_a_model_is_fetched_or_the_way_to_one_is_told(tmp_path: Path) -> None:
    from wsi_vit.errors import RegistryError

    with pytest.raises(RegistryError, match="No model there"):
        predict_wsi.fetch_model.fn(str(tmp_path / "nowhere"))


def test_lost_slides_are_named_so_that_who_follows_a_run_hears_of_them() -> None:
    """`runs.follow` ends with 3 where it reads "quarantined:"."""
    good = PredictionOutcome(slide_id="a", state="predicted")
    bad = PredictionOutcome(slide_id="b", state="quarantined", reason=Reason.MISSING)

    assert predict_wsi._summary([good, bad]) == "1 predicted, 0 reused; 1 quarantined: b"
    assert "quarantined" not in predict_wsi._summary([good])


def test_keys_are_what_prefect_takes() -> None:
    assert slug("EBHI_seg", "Réseau 1.png") == "ebhi-seg-r-seau-1-png"
