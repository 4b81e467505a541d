"""The limit of an anomaly score, and its file beside a model's weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contracts.model import LABELS
from tests.models.test_contract import TINY_OURS, TINY_VIT
from wsi_vit.errors import ModelError
from wsi_vit.models.anomaly.scorer import (
    ANOMALY,
    AnomalyScorer,
    Known,
    fit_scorer,
    load_scorer,
    save_scorer,
)
from wsi_vit.models.anomaly.section import AnomalySection
from wsi_vit.models.building import build_model
from wsi_vit.models.load import load_model
from wsi_vit.models.sections import ClassifierSection, VitSection
from wsi_vit.models.start import ConfigStart

SECTIONS = [AnomalySection(score="mahalanobis"), AnomalySection(score="knn", neighbours=3)]


def known(patients: int, each: int, *, spread: float = 1.0, seed: int = 0) -> Known:
    """Return examples whose patients differ by `spread` times what their own examples do."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), each)
    features = (
        5 + rng.normal(size=(len(patient), 8)) + spread * rng.normal(size=(patients, 8))[patient]
    )
    return Known(
        features=torch.tensor(features).float(),
        classes=rng.integers(0, 3, len(patient)),
        patients=tuple(f"p{number}" for number in patient),
    )


def saved_model(folder: Path, *, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    start = ConfigStart(options=TINY_OURS)
    build_model(VitSection(start=start, input_px=64), LABELS, "classification").save(folder)
    return folder


@pytest.mark.parametrize("section", SECTIONS)
def test_one_in_a_hundred_tiles_of_patients_it_does_not_know_passes_the_limit(
    section: AnomalySection,
) -> None:
    every = known(400, 10, spread=3.0)
    is_new = np.repeat(np.arange(400), 10) >= 200

    scorer = fit_scorer(every.only(~is_new), section, seed=0)

    new, old = (
        (scorer.scores(every.only(part).features) > scorer.limit).mean()
        for part in (is_new, ~is_new)
    )
    assert 0.004 < new < 0.025
    assert old < new  # what it was fitted on lies nearer, which is why the limit is not told by it


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_far_from_all_classes_is_beyond_the_limit(section: AnomalySection) -> None:
    scorer = fit_scorer(known(20, 10), section, seed=0)

    assert (scorer.scores(-torch.rand(5, 8)) > scorer.limit).all()


def test_examples_of_one_patient_are_left_out_by_themselves() -> None:
    section = AnomalySection(score="knn", neighbours=1)

    assert fit_scorer(known(1, 50), section, seed=0).limit > 0


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(ModelError, match="Too few training examples"):
        fit_scorer(known(3, 3), AnomalySection(), seed=0)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_scorer_comes_back_as_it_was_saved(section: AnomalySection, tmp_path: Path) -> None:
    folder = saved_model(tmp_path)
    scorer = fit_scorer(known(10, 6), section, seed=0)

    save_scorer(scorer, folder)
    again = load_scorer(folder)

    assert isinstance(again, AnomalyScorer)
    asked = torch.randn(4, 8)
    np.testing.assert_array_equal(again.scores(asked), scorer.scores(asked))
    assert (again.limit, again.section, again.examples) == (scorer.limit, section, 60)
    assert again.digest == scorer.digest
    assert load_model(folder).task == "classification"  # which its file beside does not disturb


def test_a_model_may_have_no_scorer(tmp_path: Path) -> None:
    assert load_scorer(saved_model(tmp_path)) is None


def test_a_scorer_of_other_weights_is_refused(tmp_path: Path) -> None:
    one, other = saved_model(tmp_path / "one"), saved_model(tmp_path / "other", seed=1)
    path = save_scorer(fit_scorer(known(10, 6), SECTIONS[0], seed=0), one)
    (other / ANOMALY).write_bytes(path.read_bytes())

    with pytest.raises(ModelError, match="other weights"):
        load_scorer(other)


def test_a_damaged_scorer_is_refused(tmp_path: Path) -> None:
    (saved_model(tmp_path) / ANOMALY).write_bytes(b"not a tensor in sight")

    with pytest.raises(ModelError, match="damaged"):
        load_scorer(tmp_path)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(ModelError, match="other features"):
        fit_scorer(known(10, 6), SECTIONS[0], seed=0).scores(torch.randn(2, 9))


@pytest.mark.parametrize(
    ("kind", "width"), [("ours", 64), ("theirs", 32), ("own head", 64), ("resnet", 8)]
)
def test_features_are_what_the_head_sees(kind: str, width: int) -> None:
    resnet = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8], "depths": [1]}
    sections: dict[str, Any] = {
        "ours": VitSection(start=ConfigStart(options=TINY_OURS), input_px=64, pool="cls+mean"),
        "theirs": ClassifierSection(start=ConfigStart(options=TINY_VIT), input_px=64, dropout=0.5),
        "own head": ClassifierSection(
            start=ConfigStart(options=TINY_VIT), input_px=64, pool="cls+mean"
        ),
        "resnet": ClassifierSection(start=ConfigStart(options=resnet), input_px=64),
    }
    model: Any = build_model(sections[kind], LABELS, "classification").eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)

    seen = model.features(images)

    assert seen.shape == (2, width)
    head = model.head_layer()
    said = head(seen[:, :, None, None] if kind == "resnet" else seen).softmax(-1)
    torch.testing.assert_close(said, model.scores(images))
