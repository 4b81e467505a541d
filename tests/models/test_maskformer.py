"""What mask classifiers do besides the contract: learn, agree with transformers, start anew."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.model import LABELS
from tests.models.test_contract import TINY_MASKS
from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.model import Batch
from wsi_vit.models.sections import Architecture, MaskFormerSection
from wsi_vit.models.start import ConfigStart, FolderStart

BOTH = pytest.mark.parametrize("architecture", ["maskformer", "mask2former"])


def make(architecture: Architecture = "maskformer", **options: Any) -> Any:
    torch.manual_seed(0)
    section = {"start": ConfigStart(options=TINY_MASKS), "input_px": 64} | options
    return build_model(
        MaskFormerSection.model_validate(section | {"architecture": architecture}),
        LABELS,
        "segmentation",
    )


def discs(count: int, *, seed: int, side_px: int = 64) -> Batch:
    """Return images of a violet or a blue disc on pink, and their masks."""
    generator = torch.Generator().manual_seed(seed)
    along = torch.arange(side_px)
    images, masks = [], []
    for index in range(count):
        x, y, r = torch.randint(16, 48, (3,), generator=generator).tolist()
        inside = (along - x) ** 2 + (along[:, None] - y) ** 2 < (8 + r / 4) ** 2
        label = 1 + index % 2
        colour = torch.tensor([[230, 180, 200], [120, 40, 140], [60, 90, 200]])
        mask = torch.where(inside, label, 0)
        noise = torch.randint(-20, 20, (side_px, side_px, 3), generator=generator)
        images.append((colour[mask] + noise).clamp(0, 255).to(torch.uint8).permute(2, 0, 1))
        masks.append(mask)
    return {"images": torch.stack(images), "targets": torch.stack(masks)}


def train(model: Any, batch: Batch, *, steps: int, rate: float = 1e-3) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    model.train()
    for step in range(steps):
        part = slice(8 * (step % 4), 8 * (step % 4) + 8)
        optimiser.zero_grad()
        loss = model.loss({"images": batch["images"][part], "targets": batch["targets"][part]})
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()


def mean_iou(model: Any, batch: Batch) -> float:
    found, truth = model.eval().scores(batch["images"]).argmax(1), batch["targets"]
    ious: list[Tensor] = [
        ((found == c) & (truth == c)).sum() / ((found == c) | (truth == c)).sum() for c in range(3)
    ]
    return float(torch.stack(ious).mean())


def assert_mixed_precision_is_close(model: Any) -> None:
    batch = discs(2, seed=0)
    with torch.no_grad():
        exact = model.eval().loss(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough, scores = model.loss(batch), model.scores(batch["images"])
    assert rough.dtype == scores.dtype == torch.float32
    assert abs(rough - exact) < 0.05 * exact
    assert torch.allclose(scores.sum(1), torch.ones(()), atol=1e-5)


@BOTH
def test_it_learns_from_a_configuration_and_does_not_collapse_in_evaluation(
    architecture: Architecture,
) -> None:
    options = TINY_MASKS | {"widths": (32, 32, 64, 64), "d_model": 64}
    model, batch = make(architecture, start=ConfigStart(options=options)), discs(32, seed=0)
    train(model, batch, steps=60, rate=2e-3)
    with torch.no_grad():
        learning, resting = model.train().loss(batch), model.eval().loss(batch)
    assert 0.7 < resting / learning < 1.4
    assert mean_iou(model, discs(16, seed=1)) > 0.65  # background alone: 0.3


@BOTH
def test_queries_of_a_configuration_start_apart_without_dropout(architecture: Architecture) -> None:
    model = make(architecture).eval()
    with torch.no_grad():
        output = model.network(model._pixels(discs(2, seed=0)["images"]))
    masks = output.masks_queries_logits
    assert masks.std(1).mean() > 0.1 * masks.std()  # 0.0001 as transformers draws them
    classes = output.class_queries_logits
    assert classes.std(1).mean() > 0.05 * classes.std()


@BOTH
def test_its_scores_give_the_semantic_map_of_transformers(architecture: Architecture) -> None:
    import transformers

    model, images = make(architecture).eval(), discs(2, seed=2)["images"]
    kind = {"maskformer": "MaskFormer", "mask2former": "Mask2Former"}[architecture]
    processor = getattr(transformers, f"{kind}ImageProcessorPil")()
    with torch.no_grad():
        output = model.network(model._pixels(images))
    if architecture == "mask2former":
        # transformers samples these maps at 384 px first; compare at the decoder's own size.
        expected = torch.einsum(
            "bqc,bqhw->bchw",
            output.class_queries_logits.softmax(-1)[..., :-1],
            output.masks_queries_logits.sigmoid(),
        )
        maps = torch.nn.functional.interpolate(expected, size=(64, 64), mode="bilinear").argmax(1)
    else:
        maps = torch.stack(
            processor.post_process_semantic_segmentation(output, target_sizes=[(64, 64)] * 2)
        )
    assert (model.scores(images).argmax(1) == maps).float().mean() > 0.999


def test_a_checkpoint_of_other_classes_keeps_all_but_its_class_layer(tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path)
    two = LabelMap(classes=LABELS.classes[:2])
    section = MaskFormerSection(start=FolderStart(path=tmp_path), input_px=96)
    other = build_model(section, two, "segmentation")
    mine, theirs = other.state_dict(), model.state_dict()
    differ = {name for name in mine if not torch.equal(mine[name], theirs[name])}
    assert differ == {
        "network.class_predictor.weight",
        "network.class_predictor.bias",
        "network.criterion.empty_weight",
    }
    assert other.eval().scores(discs(1, seed=0)["images"]).shape == (1, 2, 64, 64)


def test_a_checkpoint_of_the_other_architecture_is_refused(tmp_path: Path) -> None:
    make().save(tmp_path)
    with pytest.raises(ModelError, match="another architecture"):
        make("mask2former", start=FolderStart(path=tmp_path))


def test_fewer_queries_than_classes_are_refused() -> None:
    with pytest.raises(ModelError, match="Fewer queries than classes"):
        make(start=ConfigStart(options=TINY_MASKS | {"queries": 2}))


def test_the_backbone_is_the_image_encoder() -> None:
    model = make()
    names = {id(p): name for name, p in model.named_parameters()}
    assert all("encoder" in names[id(p)] for p in model.backbone_parameters())


def test_a_classification_task_is_refused() -> None:
    with pytest.raises(ModelError, match="classifier"):
        build_model(MaskFormerSection(start=ConfigStart()), LABELS, "classification")


def test_mixed_precision_scores_and_losses_stay_close() -> None:
    assert_mixed_precision_is_close(make())
