"""A picture explained: map, figure and JSON, whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.explanation.blobs import GRID, PATCH_PX, applied, blobs, new_vit
from wsi_vit.explanation import picture
from wsi_vit.explanation.figure import painted, relative
from wsi_vit.explanation.maps import Explainer
from wsi_vit.explanation.picture import explain_picture
from wsi_vit.explanation.section import ExplanationSection, FaithfulnessSection
from wsi_vit.models.sections import TokenLearnerSection
from wsi_vit.store import verify_folder

QUICK = FaithfulnessSection(steps=6, random_maps=3)


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    """A picture twice as wide as high; the model sees it squeezed."""
    images, _, _ = blobs(1, seed=4)
    path = tmp_path / "blob.png"
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).resize((288, 144), 0).save(path)
    return path


def explainer(**section: object) -> Explainer:
    return Explainer(applied(), ExplanationSection.model_validate(section))


def test_the_map_its_scale_and_the_figure_are_there(blob: Path, tmp_path: Path) -> None:
    found = explain_picture(explainer(), blob, out=tmp_path / "out", mpp=0.5)
    record = json.loads((found.folder / "explanation.json").read_text())
    values = np.load(found.map)
    _, _, places = blobs(1, seed=4)

    assert values.shape == (1, GRID, GRID)
    assert values.dtype == np.float32
    assert divmod(int(values.argmax()), GRID) == tuple(places[0].tolist())
    assert record["map"]["cell_px"] == [288 / GRID, 144 / GRID]
    assert record["map"]["pixel_um"] == 0.5
    assert record["model"]["digest"] == "b1" * 32
    assert record["method"] == record["settings"]["method"] == "rollout"
    assert record["explained_class"] in ("red", "green")
    assert sum(item["score"] for item in record["classes"]) == pytest.approx(1, abs=1e-5)
    assert record["faithfulness"] is None
    with Image.open(found.figure) as figure:
        assert figure.width > 2 * PATCH_PX * GRID
    assert verify_folder(found.folder) == (3, [])


def test_what_was_explained_is_not_explained_again_and_other_questions_are(
    blob: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = explain_picture(explainer(), blob, out=out)

    assert explain_picture(explainer(), blob, out=out).reused
    assert explain_picture(explainer(batch_size=3), blob, out=out).folder == first.folder
    others = [
        explain_picture(explainer(**section), blob, out=out)
        for section in ({"method": "gradient"}, {"fusion": "max"}, {"class_name": "none"})
    ]
    assert len({first.folder, *(other.folder for other in others)}) == 4


def test_a_test_of_the_map_is_kept_when_asked_for(blob: Path, tmp_path: Path) -> None:
    found = explain_picture(explainer(faithfulness=QUICK), blob, out=tmp_path)

    assert found.record.faithfulness
    deletion = found.record.faithfulness.deletion
    assert 0 <= deletion.random_low <= deletion.random <= deletion.random_high <= 1
    assert deletion.area < deletion.random


def test_nothing_stays_of_what_was_broken_off(
    blob: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture, "explained_sheet", full)
    with pytest.raises(Exception, match="No space left"):
        explain_picture(explainer(), blob, out=tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".npy", ".json")]


def test_heads_and_learned_tokens_have_a_small_picture_each(blob: Path, tmp_path: Path) -> None:
    learner = TokenLearnerSection(after_block=1, tokens=5)
    model = applied(new_vit(token_learner=learner))
    whole, parts = (
        explain_picture(
            Explainer(model, ExplanationSection(method=method)), blob, out=tmp_path / "out"
        )
        for method in ("rollout", "tokens")
    )

    assert np.load(parts.map).shape == (5, GRID, GRID)
    with Image.open(whole.figure) as plain, Image.open(parts.figure) as more:
        assert more.height > plain.height


def test_an_even_map_is_one_everywhere_and_an_empty_one_stays_empty() -> None:
    assert (relative(np.full((2, 3, 3), 0.2, np.float32)) == 1).all()
    assert (relative(np.zeros((3, 3), np.float32)) == 0).all()


def test_where_there_is_no_value_there_is_no_colour() -> None:
    tissue = np.full((60, 80, 3), (200, 120, 160), np.uint8)
    values = np.tile(np.linspace(0, 2, 80, dtype=np.float32), (60, 1))
    values[:, :20] = np.nan
    shown = painted(tissue, values, top=2.0).astype(int)

    assert (np.ptp(shown[:, :20], axis=2) == 0).all()
    lightness = shown[30, 25:70] @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(lightness) > -1).all()
    assert lightness[-1] > lightness[0] + 45
