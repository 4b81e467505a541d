"""From a token for each patch to logits for each patch (Strudel et al. 2021, sections 3.2, 3.3)."""

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor, nn

from wsi_vit.models.sections import Decoder
from wsi_vit.models.vit.architecture import Architecture
from wsi_vit.models.vit.transformer import Block, draw

_SCALE = 10.0
"""First factor of the cosines, which alone could not say more than e^2 to 1."""


class LinearDecoder(nn.Module):
    """One matrix from a patch's token to its classes (section 3.2)."""

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(architecture.width, classes)
        draw(self.head)

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits (B, patches, classes) of tokens (B, patches, width)."""
        return self.head(patches)


class MaskTransformer(nn.Module):
    """A learned token for each class joins the patches for a few blocks (section 3.3).

    A patch's logit for a class is the cosine between the two tokens, each through a matrix of its
    own, times a learned factor, plus a learned offset of the class:

        logit[n, c] = s * <P z_n / |P z_n|, C z_c / |C z_c|> + b_c

    The authors' code norms the cosines over classes instead (`mask_norm`, a LayerNorm): of two
    classes that leaves nothing but which is the greater, plus or minus one without a gradient
    (tested), and gland against the rest is two classes.
    """

    def __init__(self, architecture: Architecture, classes: int, *, blocks: int) -> None:
        super().__init__()
        width, eps = architecture.width, architecture.norm_eps
        usual = {"layer_scale": None, "mlp": "gelu", "mlp_width": None, "qkv_bias": True}
        plain = architecture.model_copy(update=usual)
        self.entry = nn.Linear(width, width)
        self.class_tokens = nn.Parameter(torch.empty(1, classes, width))
        self.blocks = nn.ModuleList(Block(plain, 0.0) for _ in range(blocks))
        self.norm = nn.LayerNorm(width, eps=eps)
        self.apply(draw)
        self.of_patches = nn.Linear(width, width, bias=False)
        self.of_classes = nn.Linear(width, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor([_SCALE]).log())
        self.offsets = nn.Parameter(torch.zeros(classes))
        nn.init.trunc_normal_(self.class_tokens, std=0.02)
        for side in (self.of_patches, self.of_classes):
            nn.init.normal_(side.weight, std=width**-0.5)

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits (B, patches, classes), float32, of tokens (B, patches, width)."""
        classes = self.class_tokens.expand(len(patches), -1, -1)
        tokens = torch.cat([self.entry(patches), classes], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        found, named = self.norm(tokens).tensor_split([patches.shape[1]], dim=1)
        found, named = self.of_patches(found).float(), self.of_classes(named).float()
        with torch.autocast(found.device.type, enabled=False):  # bf16 tells no near cosines apart
            cosines = F.normalize(found, dim=-1) @ F.normalize(named, dim=-1).transpose(1, 2)
            return self.log_scale.exp() * cosines + self.offsets


def new_decoder(decoder: Decoder, architecture: Architecture, classes: int) -> nn.Module:
    """Return a decoder of random weights."""
    if decoder == "linear":
        return LinearDecoder(architecture, classes)
    return MaskTransformer(architecture, classes, blocks=decoder.blocks)
