"""A model that learnt from slides in a target's stains is shown slides in those."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.prediction.colours import ByColour, applied
from tests.slides.making import write_tiff
from tests.slides.stain.making import GLASS, STAINS, mixed
from wsi_vit.models.model import Model
from wsi_vit.prediction.applied import AppliedModel
from wsi_vit.prediction.slide import predict_slide
from wsi_vit.slides.stain.section import MacenkoStain, StainTarget
from wsi_vit.slides.stain.stage import SlideStain

SIDE = 512


@dataclass
class Watching(ByColour):
    """Remembers what it was shown."""

    shown: list[Tensor] = field(default_factory=list)

    def scores(self, images: Tensor) -> Tensor:
        self.shown.append(images.clone())
        return super().scores(images)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tissue in known stains, a broad frame of glass around it."""
    pixels = np.tile(GLASS.astype(np.uint8), (SIDE, SIDE, 1))
    tissue = mixed(STAINS["blue"], count=320 * 320).reshape(320, 320, 3)
    pixels[96:416, 96:416] = tissue
    path = tmp_path_factory.mktemp("slides") / "blue.tif"
    return write_tiff(path, pixels, mpp=1.0, compression="deflate")


def shown(slide: Path, out: Path, stain: MacenkoStain | None) -> tuple[np.ndarray, dict]:
    model = Watching()
    ready: AppliedModel = replace(applied(), model=cast(Model, model), stain=stain)
    record = predict_slide(ready, slide, out=out).record
    return torch.cat(model.shown).permute(0, 2, 3, 1).numpy(), record.settings


def test_tiles_are_shown_in_the_targets_stains_and_the_record_says_so(
    slide: Path, tmp_path: Path
) -> None:
    plain, settings = shown(slide, tmp_path, None)
    assert "stain" not in settings
    target = StainTarget(glass=(250.0, 250.0, 250.0))
    mapped, settings = shown(slide, tmp_path, MacenkoStain(target=target))
    found = SlideStain.model_validate(settings["stain"])
    assert found.fit.outcome == "fitted"
    assert found.map is not None
    np.testing.assert_array_equal(mapped, found.map.apply(plain))
    assert np.abs(mapped.max(axis=(0, 1, 2)).astype(int) - 250).max() <= 6


def test_a_slide_whose_stains_cannot_be_told_is_shown_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((SIDE, SIDE, 3), 242, np.uint8)
    pixels[96:416, 96:416] = (np.array([150, 70, 150]) + rng.normal(0, 2, (320, 320, 3))).round()
    slide = write_tiff(tmp_path / "one.tif", pixels, mpp=1.0, compression="deflate")
    plain, _ = shown(slide, tmp_path / "plain", None)
    mapped, settings = shown(slide, tmp_path / "mapped", MacenkoStain())
    assert settings["stain"]["fit"]["outcome"] == "one_stain"
    np.testing.assert_array_equal(mapped, plain)
