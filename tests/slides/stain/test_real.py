"""Real biopsies: nearly all have two stains, and come out more alike than they went in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsi_vit.slides.stain.fit import fit_stains
from wsi_vit.slides.stain.mapping import map_to
from wsi_vit.slides.stain.section import StainTarget
from wsi_vit.slides.stain.separation import degrees_between
from wsi_vit.slides.tissue.glass import glass_colour

pytestmark = pytest.mark.real


def test_biopsies_are_fitted_and_come_out_more_alike(real_data: Path) -> None:
    paths = sorted((real_data / "ebhi-seg").glob("*/image/*.png"))[::6]
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    before, after, apart = [], [], []
    for picture in pictures:
        fit = fit_stains(picture.reshape(-1, 3), glass_colour(picture))
        found = map_to(fit, StainTarget())
        if found is None or fit.stains is None:
            continue
        apart.append(degrees_between(*fit.stains))
        before.append(np.median(picture.reshape(-1, 3), axis=0))
        after.append(np.median(found.apply(picture).reshape(-1, 3), axis=0))
    assert len(pictures) > 40
    assert len(after) > 0.9 * len(pictures)
    assert np.std(after, axis=0).mean() < np.std(before, axis=0).mean()
    assert 12 < np.median(apart) < 45
