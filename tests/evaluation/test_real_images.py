"""The trivial rules on real biopsies: the figures a model has to beat there are known."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.fakes import GLANDS, ColourModel, MemoryExamples, MemorySet
from wsi_vit.datasets.example import Example
from wsi_vit.evaluation.evaluate import evaluate_model
from wsi_vit.evaluation.section import EvaluationSection


def biopsies(folder: Path) -> MemoryExamples:
    items = []
    for path in sorted(folder.glob("ebhi-seg/*/image/*.png")):
        mask = Image.open(path.parents[1] / "label" / path.name).convert("L")
        case = re.search(r"\d{5,}", path.name)
        assert case
        items.append(
            Example(
                image=np.asarray(Image.open(path).convert("RGB")),
                target=(np.asarray(mask) > 127).astype(np.uint8),
                key=path.stem,
                slide_id=path.stem,
                patient=case.group(),
            )
        )
    return MemoryExamples(items)


@pytest.mark.real
def test_all_foreground_reaches_what_is_known_on_ebhi(real_data: Path) -> None:
    images = biopsies(real_data)
    dataset = MemorySet({"train": images, "test": images}, GLANDS, "segmentation")
    section = EvaluationSection(baseline_examples=40)

    found = evaluate_model(
        ColourModel(GLANDS, "segmentation", input_px=56), dataset, section=section
    )

    assert (found.examples, found.patients) == (269, 115)
    assert found.baselines[0].name == "all gland"
    assert found.baselines[0].value == pytest.approx(0.635, abs=0.001)
    assert not found.beats_trivial
    assert found.headline.low is not None
