"""Every kind of model, small, through the same contract."""

from typing import Any, ClassVar

from tests.contracts.model import LABELS, ModelContract
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import (
    ClassifierSection,
    EomtSection,
    LastBlocks,
    MaskFormerSection,
    MultiLabelSection,
    SegformerSection,
    SegmenterSection,
    UnetSection,
    VitSection,
)
from wsi_vit.models.start import ConfigStart

TINY_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
TINY_OURS = {"width": 32, "depth": 3, "heads": 2, "mlp_width": 64}
TINY_DINO = TINY_OURS | {"patch_px": 8, "layer_scale": 0.5}
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
TINY_UNET = {"features": (8, 8, 16, 16, 32, 8)}
TINY_SEGFORMER = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 16, 32],
    "num_attention_heads": [1, 2, 2, 4],
    "mlp_ratios": [2, 2, 2, 2],
    "decoder_hidden_size": 16,
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


class OurViTContract(ModelContract):
    """Our own Vision Transformer, in one of its forms."""

    options: ClassVar[dict[str, Any]] = {}
    section: ClassVar[dict[str, Any]] = {}

    def make(self) -> Any:
        start = ConfigStart(options=TINY_OURS | self.options)
        said = {"start": start, "input_px": 64} | self.section
        return build_model(VitSection.model_validate(said), LABELS, "classification")


class TestOurViT(OurViTContract):
    section: ClassVar = {"label_smoothing": 0.1, "dropout": 0.1}


class TestOurViTOfTheMeanPatch(OurViTContract):
    section: ClassVar = {"pool": "mean"}


class TestOurViTOfLinearPatches(OurViTContract):
    section: ClassVar = {"embedding": "linear"}


class TestOurViTOfOverlappingPatches(OurViTContract):
    section: ClassVar = {"stride_px": 8, "drop_path": 0.1}


class TestOurViTOfOverlappingLinearPatches(OurViTContract):
    options: ClassVar = {"positions": "sincos"}
    section: ClassVar = {"stride_px": 12, "embedding": "linear"}


class TestOurViTWithFixedPositions(OurViTContract):
    options: ClassVar = {"positions": "sincos"}


class TestOurDeiT(OurViTContract):
    options: ClassVar = {"distillation": 1, "qkv_bias": False}


class TestOurDinov2(OurViTContract):
    options: ClassVar = TINY_DINO | {"mask_token": 1}


class TestOurDinov2WithGatesAndRegisters(OurViTContract):
    options: ClassVar = TINY_DINO | {"mlp": "swiglu", "mlp_width": 48, "registers": 2}
    section: ClassVar = {"pool": "cls"}


class TestOurViTWithRegistersAlone(OurViTContract):
    """What no class of transformers is."""

    options: ClassVar = {"registers": 1, "mlp": "swiglu"}


class TestOurViTWithTokenLearner(OurViTContract):
    section: ClassVar = {"token_learner": {"after_block": 1, "tokens": 2}}


class TestOurViTWithTheOriginalTokenLearner(OurViTContract):
    section: ClassVar = {
        "token_learner": {"after_block": 3, "tokens": 5, "version": "original"},
        "pool": "cls+mean",
    }


class TestOurLinearProbe(OurViTContract):
    section: ClassVar = {"tuning": "head", "drop_path": 0.5}


class TestOurLastBlocksWithTokenLearner(OurViTContract):
    section: ClassVar = {
        "tuning": {"last_blocks": 1},
        "token_learner": {"after_block": 1, "tokens": 2},
    }


class MultiLabelContract(ModelContract):
    """A class token a label on our own Vision Transformer, in one of its forms."""

    options: ClassVar[dict[str, Any]] = {}
    section: ClassVar[dict[str, Any]] = {}

    def make(self) -> Any:
        start = ConfigStart(options=TINY_OURS | self.options)
        said = {"start": start, "input_px": 64} | self.section
        return build_model(MultiLabelSection.model_validate(said), LABELS, "multi_label")


class TestMultiLabel(MultiLabelContract):
    section: ClassVar = {"dropout": 0.1}


class TestMultiLabelOnDinov2WithTokenLearner(MultiLabelContract):
    options: ClassVar = TINY_DINO | {"registers": 2}
    section: ClassVar = {"token_learner": {"after_block": 2, "tokens": 3}, "tuning": "head"}


class TestMultiLabelWithAdapters(MultiLabelContract):
    options: ClassVar = {"positions": "sincos"}
    section: ClassVar = {"tuning": {"lora_rank": 2}, "stride_px": 8}


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


class SegmenterContract(ModelContract):
    """Segmenter on our own Vision Transformer, in one of its forms."""

    options: ClassVar[dict[str, Any]] = {}
    section: ClassVar[dict[str, Any]] = {}

    def make(self) -> Any:
        start = ConfigStart(options=TINY_OURS | {"patch_px": 8} | self.options)
        said = {"start": start, "input_px": 64} | self.section
        return build_model(SegmenterSection.model_validate(said), LABELS, "segmentation")


class TestLinearSegmenter(SegmenterContract):
    section: ClassVar = {"drop_path": 0.1}


class TestSegmenterWithMaskTransformer(SegmenterContract):
    options: ClassVar = TINY_DINO | {"registers": 1}
    section: ClassVar = {"decoder": {"kind": "mask_transformer", "blocks": 1}}


class TestSegmenterOfOverlappingPatches(SegmenterContract):
    options: ClassVar = {"patch_px": 16, "positions": "sincos"}
    section: ClassVar = {"stride_px": 8, "tuning": "head"}


class TestSegmenterWithTokenLearner(SegmenterContract):
    section: ClassVar = {
        "token_learner": {"after_block": 3, "tokens": 4, "version": "original"},
        "tuning": {"last_blocks": 1},
    }


class TestSegmenterWithAdapters(SegmenterContract):
    section: ClassVar = {"tuning": {"lora_rank": 2}, "decoder": {"kind": "mask_transformer"}}


class TestUnet(ModelContract):
    def make(self) -> Any:
        start = ConfigStart(options=TINY_UNET)
        return build_model(UnetSection(start=start, input_px=64), LABELS, "segmentation")


class TestSegformer(ModelContract):
    def make(self) -> Any:
        start = ConfigStart(options=TINY_SEGFORMER)
        return build_model(SegformerSection(start=start, input_px=64), LABELS, "segmentation")
