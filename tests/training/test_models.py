"""The loop with the models it is made for, small."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.small import LABELS, Memory, section, weights_of
from wsi_vit.datasets.augmentation.section import Augmentation
from wsi_vit.datasets.example import Example
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import (
    AnyModel,
    ClassifierSection,
    EomtSection,
    MaeSection,
    MaskFormerSection,
    SegformerSection,
    SegmenterSection,
    UnetSection,
    VitSection,
)
from wsi_vit.models.start import ConfigStart
from wsi_vit.training.checkpoints import load_best
from wsi_vit.training.loop import fit, learn
from wsi_vit.training.records import Step

SIDE_PX = 32
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_dropout_prob": 0.1,
}
OURS = {"width": 16, "depth": 3, "heads": 2, "mlp_width": 32, "layer_scale": 0.1}
MASKS = {
    "widths": (8, 8, 16, 16),
    "d_model": 32,
    "decoder_layers": 1,
    "heads": 2,
    "queries": 4,
    "points": 32,
    "dropout": 0.1,
}
EOMT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 8,
    "train_num_points": 32,
}
SEGMENTER = {
    "input_px": SIDE_PX,
    "drop_path": 0.3,
    "decoder": {"kind": "mask_transformer", "blocks": 1},
    "token_learner": {"after_block": 1, "tokens": 2},
}
DENSE: dict[str, AnyModel] = {
    "segmenter": SegmenterSection.model_validate(
        SEGMENTER | {"start": ConfigStart(options=OURS | {"patch_px": 8})}
    ),
    "unet": UnetSection(
        start=ConfigStart(options={"features": (4, 4, 8, 8, 8, 4), "dropout": 0.1}),
        input_px=SIDE_PX,
    ),
    "segformer": SegformerSection(
        start=ConfigStart(
            options={
                "hidden_sizes": [8, 16, 16, 16],
                "num_attention_heads": [1, 1, 2, 2],
                "depths": [1, 1, 1, 1],
                "decoder_hidden_size": 16,
            }
        ),
        input_px=SIDE_PX,
    ),
}


def make(kind: str, seed: int) -> Any:
    torch.manual_seed(seed)
    if kind in DENSE:
        return build_model(DENSE[kind], LABELS, "segmentation")
    if kind == "vit":
        start = ConfigStart(options=VIT)
        return build_model(
            ClassifierSection(start=start, input_px=SIDE_PX), LABELS, "classification"
        )
    if kind == "adapted vit":
        tuning = {"lora_rank": 2, "lora_dropout": 0.1}
        start = ConfigStart(options=OURS)
        adapted = VitSection.model_validate({"start": start, "input_px": SIDE_PX, "tuning": tuning})
        return build_model(adapted, LABELS, "classification")
    if kind == "masked vit":
        decoder = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
        options = OURS | {"patch_px": 8}
        start = ConfigStart(options=options)
        masked = MaeSection.model_validate({"start": start, "input_px": SIDE_PX} | decoder)
        return build_model(masked, LABELS, "pretraining")
    if kind == "our vit":
        learner = {"after_block": 1, "tokens": 2}
        options = {"drop_path": 0.3, "dropout": 0.1, "token_learner": learner}
        start = ConfigStart(options=OURS)
        ours = VitSection.model_validate({"start": start, "input_px": SIDE_PX} | options)
        return build_model(ours, LABELS, "classification")
    if kind == "eomt":
        start = ConfigStart(options=EOMT)
        options = {"queries": 4, "blocks": 1, "upscales": 1, "targets": "instances"}
        eomt = EomtSection.model_validate({"start": start, "input_px": SIDE_PX} | options)
        return build_model(eomt, LABELS, "segmentation")
    start = ConfigStart(options=MASKS)
    return build_model(
        MaskFormerSection(architecture=kind, start=start, input_px=SIDE_PX), LABELS, "segmentation"
    )


def halves(count: int, *, masks: bool) -> Memory:
    """Return noisy images, red on the left or, for class 1, green on the right."""
    chance = np.random.default_rng(0)
    examples: list[Example] = []
    for index in range(count):
        label = index % 2
        image = chance.integers(0, 60, (SIDE_PX, SIDE_PX, 3), np.uint8)
        bright = slice(SIDE_PX // 2, None) if label else slice(SIDE_PX // 2)
        image[:, bright, label] += 190
        mask = (image.max(axis=2) > 127).astype(np.uint8)
        examples.append(
            Example(
                image=image,
                target=mask if masks else np.asarray(np.uint8(label)),
                key=str(index),
                slide_id="one",
                patient=str(index),
            )
        )
    return Memory(examples)


@pytest.mark.parametrize(
    "kind",
    ["vit", "our vit", "adapted vit", "masked vit", "maskformer", "mask2former", "eomt", *DENSE],
)
def test_real_models_resume_to_the_very_same_weights(kind: str, tmp_path: Path) -> None:
    masks = "vit" not in kind
    options: dict[str, Any] = {
        "train": halves(8, masks=masks),
        "validation": halves(4, masks=masks),
        "training": section(
            epochs=2,
            learning_rate=1e-3,
            class_weights="balanced",
            layer_decay=0.7,
            sampling="rare_classes",
            ema=0.9,
        ),
        "augmentation": Augmentation(preset="scenes"),
    }
    straight, resumed = make(kind, 0), make(kind, 1)
    list(fit(straight, **options, folder=tmp_path / "straight"))
    events = learn(make(kind, 0), **options, folder=tmp_path / "resumed")
    while not (isinstance(event := next(events), Step) and event.step == 3):
        pass
    events.close()

    list(fit(resumed, **options, folder=tmp_path / "resumed"))

    assert weights_of(resumed) == weights_of(straight)


def test_a_vit_learns_red_from_green_and_its_best_weights_are_saved(tmp_path: Path) -> None:
    model = make("vit", 0)
    examples = halves(32, masks=False)

    epochs = list(
        fit(
            model,
            examples,
            examples,
            training=section(epochs=8, batch_size=8, learning_rate=3e-3),
            augmentation=Augmentation(preset="none"),
            folder=tmp_path / "checkpoints",
        )
    )
    best = load_best(model, tmp_path / "checkpoints")
    model.save(tmp_path / "model")

    assert max(e.validation.value or 0.0 for e in epochs) >= 0.95
    assert best.state.epochs[-1].validation.value == max(e.validation.value or 0 for e in epochs)
    assert (tmp_path / "model" / "model.safetensors").is_file()
