"""Every kind of model, small, through the same contract."""

from typing import Any

from tests.contracts.model import LABELS, ModelContract
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import ClassifierSection, EomtSection, LastBlocks, MaskFormerSection
from wsi_vit.models.start import ConfigStart

TINY_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
TINY_MASKS = {
    "widths": (16, 16, 32, 32),
    "d_model": 32,
    "decoder_layers": 2,
    "heads": 2,
    "queries": 6,
    "points": 64,
}
TINY_EOMT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 8,
    "train_num_points": 64,
}


class TestViT(ModelContract):
    def make(self) -> Any:
        return build_model(
            ClassifierSection(start=ConfigStart(options=TINY_VIT), input_px=64),
            LABELS,
            "classification",
        )


class TestViTAtAnotherSize(ModelContract):
    """Position encodings for 64 px, interpolated to 96 px."""

    def make(self) -> Any:
        return build_model(
            ClassifierSection(
                start=ConfigStart(options=TINY_VIT | {"image_size": 64}), input_px=96
            ),
            LABELS,
            "classification",
        )


class TestViTWithItsOwnHead(ModelContract):
    def make(self) -> Any:
        return build_model(
            ClassifierSection(
                start=ConfigStart(options=TINY_VIT),
                input_px=64,
                pool="cls+mean",
                label_smoothing=0.1,
            ),
            LABELS,
            "classification",
        )

    def idle_parameters(self, model: Any) -> list[str]:
        return []


class TestLinearProbe(ModelContract):
    def make(self) -> Any:
        return build_model(
            ClassifierSection(
                start=ConfigStart(options=TINY_VIT), input_px=64, pool="mean", tuning="head"
            ),
            LABELS,
            "classification",
        )


class TestLastBlocks(ModelContract):
    def make(self) -> Any:
        return build_model(
            ClassifierSection(
                start=ConfigStart(options=TINY_VIT),
                input_px=64,
                tuning=LastBlocks(last_blocks=1),
            ),
            LABELS,
            "classification",
        )


class TestDinov2(ModelContract):
    def make(self) -> Any:
        options = {
            "model_type": "dinov2",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        }
        return build_model(
            ClassifierSection(start=ConfigStart(options=options), input_px=70),
            LABELS,
            "classification",
        )

    def idle_parameters(self, model: Any) -> list[str]:
        return ["network.dinov2.embeddings.mask_token"]  # for masked pre-training alone


class TestSwinClassifier(ModelContract):
    def make(self) -> Any:
        options = {
            "model_type": "swin",
            "image_size": 64,
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "window_size": 4,
            "drop_path_rate": 0.0,
        }
        return build_model(
            ClassifierSection(start=ConfigStart(options=options), input_px=64),
            LABELS,
            "classification",
        )


class TestMaskFormerOnResNet(ModelContract):
    def make(self) -> Any:
        return build_model(
            MaskFormerSection(start=ConfigStart(options=TINY_MASKS), input_px=64),
            LABELS,
            "segmentation",
        )


class TestMaskFormerOnSwin(ModelContract):
    def make(self) -> Any:
        options = TINY_MASKS | {"backbone": "swin", "widths": (32, 64, 128, 256)}
        return build_model(
            MaskFormerSection(start=ConfigStart(options=options), input_px=64),
            LABELS,
            "segmentation",
        )

    def idle_parameters(self, model: Any) -> list[str]:
        # transformers norms each stage's features; this last norm of Swin itself goes unused.
        norm = "network.model.pixel_level_module.encoder.model.layernorm"
        return [f"{norm}.weight", f"{norm}.bias"]


class TestMask2Former(ModelContract):
    def make(self) -> Any:
        return build_model(
            MaskFormerSection(
                architecture="mask2former", start=ConfigStart(options=TINY_MASKS), input_px=64
            ),
            LABELS,
            "segmentation",
        )


class TestMaskFormerOfInstances(ModelContract):
    def make(self) -> Any:
        start = ConfigStart(options=TINY_MASKS)
        return build_model(
            MaskFormerSection(start=start, input_px=64, targets="instances"), LABELS, "segmentation"
        )


class TestEomt(ModelContract):
    def make(self) -> Any:
        start = ConfigStart(options=TINY_EOMT)
        return build_model(
            EomtSection(start=start, input_px=64, queries=6, blocks=2, upscales=1),
            LABELS,
            "segmentation",
        )


class TestEomtOfInstancesWithoutMasks(ModelContract):
    """As it is at the end of its training."""

    def make(self) -> Any:
        start = ConfigStart(options=TINY_EOMT)
        section = EomtSection(
            start=start, input_px=64, queries=8, blocks=1, upscales=1, targets="instances"
        )
        model = build_model(section, LABELS, "segmentation")
        model.progress(1.0)
        return model


class TestEomtWithFrozenBlocks(ModelContract):
    def make(self) -> Any:
        return build_model(
            EomtSection(
                start=ConfigStart(options=TINY_EOMT),
                input_px=64,
                queries=6,
                blocks=1,
                tuning=LastBlocks(last_blocks=2),
            ),
            LABELS,
            "segmentation",
        )
