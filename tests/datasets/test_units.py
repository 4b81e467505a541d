"""What a dataset calls its units, and what its scores may speak of."""

from pathlib import Path

import pytest

from tests.datasets.making import LABELS, image_folder
from wsi_vit.datasets.build import build_from_images
from wsi_vit.datasets.camvid import CamVidSource
from wsi_vit.datasets.folder import FolderSource
from wsi_vit.datasets.reading import TrainingSet, open_dataset
from wsi_vit.datasets.splits import AnySplit, CohortSplit, PatientSplit, SiteSplit
from wsi_vit.store import Store

HALVES = PatientSplit(validation=0.25, test=0.25)


def opened(place: Path, source: FolderSource, split: AnySplit = HALVES) -> TrainingSet:
    source = source.model_copy(update={"root": image_folder(place / "images")})
    artefact = build_from_images(
        source,
        labels=LABELS,
        task="classification",
        split=split,
        name="tiny",
        store=Store(place / "store"),
    )
    return open_dataset(artefact.folder)


SOURCE = FolderSource(label=r"^(\w+)/", images="*/image/*.png")
OF_PATIENTS = SOURCE.model_copy(update={"patient": r"P(\d+)-"})
AT_SITES = OF_PATIENTS.model_copy(update={"site": r"P\d+-(\d+)", "patient": r"-(\d+)"})


@pytest.mark.parametrize(
    ("source", "unit"),
    [
        (OF_PATIENTS, "patients"),
        (SOURCE, "images"),
        (SOURCE.model_copy(update={"unit": "photos"}), "photos"),
    ],
)
def test_units_are_patients_images_or_what_the_recipe_says(
    tmp_path: Path, source: FolderSource, unit: str
) -> None:
    dataset = opened(tmp_path, source)

    assert dataset.unit == unit
    assert dataset.estimate == f"unseen {unit}"


@pytest.mark.parametrize(
    ("sites", "estimate"), [(("3",), "unseen site"), (("3", "6"), "unseen sites")]
)
def test_scores_on_whole_sites_speak_of_sites(
    tmp_path: Path, sites: tuple[str, ...], estimate: str
) -> None:
    dataset = opened(tmp_path, AT_SITES, SiteSplit(test=sites, validation=0.3))

    assert dataset.estimate == estimate
    assert any("One site judges (3)" in text for text in dataset.warnings) == (len(sites) == 1)


def test_a_given_split_that_shares_sites_is_warned_of(tmp_path: Path) -> None:
    image_folder(tmp_path / "images")
    for folder in ("train", "val", "test"):
        (tmp_path / "images" / folder).mkdir()
    for path in sorted((tmp_path / "images").glob("*/image/*.png")):
        number = int(path.stem.split("-")[1])
        path.rename(tmp_path / "images" / ("train", "val", "test")[number % 3] / path.name)
    source = FolderSource(
        root=tmp_path / "images",
        images="[tv]*/P*.png",
        label=r"(P)",
        site=r"(P)",
        split=r"^(\w+)/",
        unknown="background",
    )
    artefact = build_from_images(
        source,
        labels=LABELS,
        task="classification",
        split=CohortSplit(),
        name="tiny",
        store=Store(tmp_path / "store"),
    )

    warnings = open_dataset(artefact.folder).warnings

    assert any("sites in training and test alike (P)" in text for text in warnings)


@pytest.mark.parametrize(
    ("frames", "unit"), [(5, "runs of five frames"), (7, "runs of 7 frames"), (1, "frames")]
)
def test_camvid_counts_runs_of_frames(frames: int, unit: str) -> None:
    assert CamVidSource(run_frames=frames).units == unit
