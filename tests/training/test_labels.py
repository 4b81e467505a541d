"""Several labels an image in the loop: what weighs how much, and what chooses the best epoch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tests.contracts.model import LABELS
from tests.models.test_contract import TINY_OURS
from tests.training.small import PLAIN, Memory, section
from wsi_vit.datasets.example import Example
from wsi_vit.labels import IGNORE_ID
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import MultiLabelSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.training.batches import positive_weights
from wsi_vit.training.loop import fit


def pictures(count: int, seed: int) -> Memory:
    """Return pictures whose channels say which label is present; one in ten is not known."""
    rng = np.random.default_rng(seed)
    items = []
    for number in range(count):
        target = (rng.random(3) < 0.4).astype(np.uint8)
        level = np.where(target == 1, 200, 40).astype(np.uint8)
        target[rng.random(3) < 0.1] = IGNORE_ID
        image = np.broadcast_to(level, (32, 32, 3)).copy()
        items.append(
            Example(image=image, target=target, key=f"{number}", slide_id=f"{number}", patient="p")
        )
    return Memory(items)


def test_positives_weigh_what_negatives_do_together() -> None:
    presence = np.array([[1, 0, 1], [0, 0, 1], [0, IGNORE_ID, 1], [0, 0, IGNORE_ID]], np.uint8)
    assert positive_weights(presence).tolist() == [3.0, 1.0, 1.0]


def test_it_learns_and_the_best_epoch_is_that_of_the_best_mean_ap(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    start = ConfigStart(options=TINY_OURS | {"patch_px": 8, "depth": 1})
    model = build_model(MultiLabelSection(start=start, input_px=32), LABELS, "multi_label")
    train, judges = pictures(48, 0), pictures(32, 1)
    training = section(epochs=8, batch_size=8, learning_rate=5e-3, class_weights="balanced")
    epochs = list(fit(model, train, judges, training=training, augmentation=PLAIN, folder=tmp_path))

    last = epochs[-1].validation
    assert last.metric == "mean_ap"
    assert last.value and last.value > 0.9
    assert last.loss < 0.5 * epochs[0].validation.loss
    targets = np.stack([item.target for item in judges.examples])
    images = torch.from_numpy(np.stack([item.image for item in judges.examples]))
    scores = model.eval().scores(images.permute(0, 3, 1, 2).contiguous()).numpy()
    by_hand = [
        average_precision_score(targets[known, k], scores[known, k])
        for k in range(3)
        if (known := targets[:, k] != IGNORE_ID).any()
    ]
    assert last.value == pytest.approx(np.mean(by_hand))
    assert [sum(row) for row in last.counts] == (targets != IGNORE_ID).sum(axis=0).tolist()
