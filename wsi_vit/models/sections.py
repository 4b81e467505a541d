"""The `model` part of a recipe: one section for each kind of model.

What a model is made of is said here, in plain values; `building` makes it. So a recipe is read, and
slides are tiled, without torch.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from wsi_vit.datasets.example import Task
from wsi_vit.models.section import ModelSection
from wsi_vit.models.start import ConfigStart, HubStart, Start
from wsi_vit.section import Section

Pool = Literal["native", "cls", "mean", "cls+mean"]
"""What the head sees: as the architecture does, the class token, the mean patch, or both."""

Targets = Literal["semantic", "instances"]
"""What is one mask: all of a class in an image, or each connected piece of it."""

Architecture = Literal["maskformer", "mask2former"]

STEP_PX = 32
"""The deepest feature map of a MaskFormer or a SegFormer is this much smaller than the image."""

UNET_STEP_PX = 16
"""The same of a U-Net of five levels."""


class LastBlocks(Section):
    """Train the last blocks of the backbone, its final norm, and the head."""

    last_blocks: int = Field(ge=1)


class Lora(Section):
    """Train low-rank additions to the attention of every block (Hu et al. 2022), and the head.

    Queries, keys, values and the output of the heads are adapted, the MLPs are not. A saved model
    has them merged into its weights.
    """

    lora_rank: int = Field(ge=1)
    """Rank of what is added to a weight; 8 is usual."""
    lora_alpha: int = Field(default=16, ge=1)
    """What is added is multiplied by this divided by the rank."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that are dropped in training."""


Tuning = Literal["full", "head"] | LastBlocks | Lora
"""What learns: everything, the head alone, the last blocks and the head, or adapters and the head.
What comes before the first part that learns costs no backward pass."""


class ImageSection(ModelSection):
    """A classifier of images: where its weights come from and how its head learns."""

    task: ClassVar[Task] = "classification"
    start: Start = HubStart(id="google/vit-base-patch16-224-in21k")
    input_px: int = Field(default=224, ge=16, le=4096)
    """Position encodings are interpolated where a checkpoint was trained at another size."""
    pool: Pool = "native"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the head's inputs that are dropped in training."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    tuning: Tuning = "full"


class ClassifierSection(ImageSection):
    """Any image classifier of transformers.

    Options of a `config` start: `model_type` (default vit) and what transformers calls its keys;
    what is not said is ViT-Ti's.
    """

    kind: Literal["classifier"] = "classifier"


class TokenLearnerSection(Section):
    """A few learned tokens in the place of all patches, after a block (Ryoo et al. 2021)."""

    after_block: int = Field(ge=1)
    """Blocks before it see all patches, those after it the learned tokens; 1 is the first."""
    tokens: int = Field(ge=1)
    version: Literal["v1.1", "original"] = "v1.1"
    """`v1.1`: an MLP and a softmax over patches. `original`: convolutions and a sigmoid."""


class EncoderSection(ModelSection):
    """Our own Vision Transformer under any head, begun from a ViT, DeiT or DINOv2, or drawn.

    Options of a `config` start: those of `Architecture`; what is not said is ViT-Ti's.
    """

    stride_px: int | None = Field(default=None, ge=1)
    """From one patch to the next; less than the patch's side: patches overlap. Absent: as wide as a
    patch, or as the checkpoint has it."""
    embedding: Literal["conv", "linear"] = "conv"
    """How patches are projected: the same numbers by another way."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Share of images for which the last block is left out in training; less in earlier ones."""
    token_learner: TokenLearnerSection | None = None


class VitSection(ImageSection, EncoderSection):
    """Our own Vision Transformer as a classifier."""

    kind: Literal["vit"] = "vit"


class MultiLabelSection(EncoderSection):
    """Our own Vision Transformer with a class token a label: any number of them an image."""

    task: ClassVar[Task] = "multi_label"
    kind: Literal["multi_label"] = "multi_label"
    start: Start = HubStart(id="facebook/dinov2-small")
    input_px: int = Field(default=224, ge=16, le=4096)
    """Position encodings are interpolated to it; a multiple of the patch size."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the heads' inputs that are dropped in training."""
    tuning: Tuning = "full"
    """The labels' tokens and heads always learn; so gradients go back to the first block, whatever
    of it learns."""


class MaskSection(ModelSection):
    """A mask classifier: what it learns from."""

    task: ClassVar[Task] = "segmentation"
    targets: Targets = "semantic"
    """`instances` suits many small things, which need enough queries to have one each."""


class MaskFormerSection(MaskSection):
    """MaskFormer or Mask2Former: where its weights come from and what it is made of."""

    kind: Literal["maskformer"] = "maskformer"
    architecture: Architecture = "maskformer"
    start: Start = ConfigStart()
    """Options of a configuration: those of `MaskOptions`. The published weights, such as
    facebook/maskformer-swin-base-ade, are not for commercial use; who wants them names them."""
    input_px: int = Field(default=512, ge=STEP_PX, le=4096, multiple_of=STEP_PX)


class EomtSection(MaskSection):
    """An encoder-only mask transformer: where its weights come from and what is added to them."""

    kind: Literal["eomt"] = "eomt"
    start: Start = HubStart(id="facebook/dinov2-small")
    """A ViT or DINOv2 backbone, or a whole EoMT; options of a configuration are transformers'."""
    input_px: int = Field(default=448, ge=16, le=4096)
    """Position encodings are interpolated to it; a multiple of the patch size."""
    queries: int | None = Field(default=None, ge=1)
    """Absent: a whole EoMT's own, else 50."""
    blocks: int | None = Field(default=None, ge=1)
    """How many of the last blocks the queries take part in; absent: an EoMT's own, else 4."""
    upscales: int | None = Field(default=None, ge=1, le=4)
    """How often the masks' side is doubled, from one pixel a patch; absent: an EoMT's own, else 2.
    On a CPU each costs as much as several blocks."""
    tuning: Tuning = "full"


class MaskTransformerSection(Section):
    """Class tokens join the patches for a few blocks (Strudel et al. 2021, section 3.3)."""

    kind: Literal["mask_transformer"] = "mask_transformer"
    blocks: int = Field(default=2, ge=1)


Decoder = Literal["linear"] | MaskTransformerSection
"""From patch tokens to a map a class: a linear layer, or a mask transformer."""


class DenseSection(ModelSection):
    """One class a pixel, learnt pixel by pixel."""

    task: ClassVar[Task] = "segmentation"


class SegmenterSection(DenseSection, EncoderSection):
    """Segmenter on our own Vision Transformer (Strudel et al. 2021)."""

    kind: Literal["segmenter"] = "segmenter"
    start: Start = HubStart(id="facebook/dinov2-small")
    input_px: int = Field(default=448, ge=16, le=4096)
    """Position encodings are interpolated to it; a multiple of the patch size."""
    decoder: Decoder = "linear"
    tuning: Tuning = "full"


class UnetSection(DenseSection):
    """MONAI's BasicUNet, the convolutional baseline, from random weights."""

    kind: Literal["unet"] = "unet"
    start: Start = ConfigStart()
    """Its options are those of `UnetOptions`."""
    input_px: int = Field(default=512, ge=2 * UNET_STEP_PX, le=4096, multiple_of=UNET_STEP_PX)

    @field_validator("start")
    @classmethod
    def _begins_from_nothing(cls, start: Start) -> Start:
        if not isinstance(start, ConfigStart):
            raise ValueError(f"a U-Net takes no checkpoint, so no {start.kind}: say `kind: config`")
        return start


class SegformerSection(DenseSection):
    """SegFormer (Xie et al. 2021): an encoder of four stages, or a whole one, of transformers.

    Options of a `config` start are transformers'; what is not said is that of SegFormer-B0. The
    published weights, nvidia/mit-b0 to b5, are for research alone; who wants them names them.
    """

    kind: Literal["segformer"] = "segformer"
    start: Start = ConfigStart()
    input_px: int = Field(default=512, ge=STEP_PX, le=4096, multiple_of=STEP_PX)


class MaeSection(EncoderSection):
    """Our own Vision Transformer, pre-trained on images without labels (He et al. 2022).

    A share of an image's patches is hidden; what they show is to be drawn from the rest.
    """

    task: ClassVar[Task] = "pretraining"
    kind: Literal["mae"] = "mae"
    start: Start = ConfigStart()
    """From random weights, or from a ViT's that are to be trained further."""
    input_px: int = Field(default=224, ge=16, le=4096)
    hidden_share: float = Field(default=0.75, gt=0, lt=1)
    """Share of the patches that is hidden; the encoder's cost falls with it."""
    decoder_width: int = Field(default=512, ge=4, multiple_of=4)
    decoder_depth: int = Field(default=4, ge=1)
    """Blocks; the paper (table 1) finds no loss for fine-tuning with fewer than eight."""
    decoder_heads: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.token_learner is not None:
            raise ValueError("no token_learner: what is learnt must be of every patch")
        if self.decoder_width % self.decoder_heads:
            raise ValueError(
                f"decoder_width {self.decoder_width} is not shared by {self.decoder_heads} heads"
            )
        return self


AnyModel = Annotated[
    ClassifierSection
    | VitSection
    | MultiLabelSection
    | MaskFormerSection
    | EomtSection
    | SegmenterSection
    | UnetSection
    | SegformerSection
    | MaeSection,
    Field(discriminator="kind"),
]
"""The `model` part of a recipe."""
