"""A masked autoencoder: most patches are hidden, and drawn from the few that are seen.

He et al., "Masked Autoencoders Are Scalable Vision Learners" (CVPR 2022), section 3:

```text
masking          a random share of patches is hidden (0.75), without replacement    draw_hidden
encoder          a ViT on the visible patches alone, with their positions           MaskedEncoder
decoder          a small ViT on all places: what was encoded, and mask tokens       Decoder
target           the pixels of each patch, less its mean, over its deviation        normalised
loss             mean squared error, on hidden patches alone                        hidden_error
```
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsi_vit.models.vit.architecture import Architecture
from wsi_vit.models.vit.transformer import Block, Encoder, sincos_positions

_LEAST_VARIANCE = 1e-6
"""Added to a patch's variance, as in the authors' code: a patch of one colour has none."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """Which patches of each image are hidden."""

    visible: Tensor
    """Places of the visible patches, int64 (B, visible), in an order drawn at random."""
    mask: Tensor
    """Whether a patch is hidden, bool (B, patches)."""


@dataclass(frozen=True, slots=True)
class Patches:
    """Patches as a decoder predicts them."""

    values: Tensor
    """Less its mean and over its deviation, each patch by itself: (B, patches, patch pixels)."""
    mean: Tensor
    """(B, patches, 1)."""
    deviation: Tensor
    """(B, patches, 1), above 0."""


def draw_hidden(noise: Tensor, share: float) -> Hidden:
    """Hide the patches with the highest noise (B, patches): a share of them, never all, some."""
    count = noise.shape[1]
    visible = noise.argsort(dim=1)[:, : visible_of(count, share)]
    mask = torch.ones_like(noise, dtype=torch.bool).scatter(1, visible, value=False)
    return Hidden(visible, mask)


def visible_of(patches: int, share: float) -> int:
    """Return how many of so many patches stay visible where a share is hidden; at least one."""
    return min(max(int(patches * (1 - share)), 1), patches - 1)


def patches_of(pixels: Tensor, side_px: int) -> Tensor:
    """Cut pixels (B, 3, H, W) into patches (B, rows * columns, side * side * 3), row by row."""
    from einops import rearrange

    form = "b rgb (rows y) (columns x) -> b (rows columns) (y x rgb)"
    return rearrange(pixels, form, y=side_px, x=side_px)


def image_of(patches: Tensor, side_px: int, rows: int) -> Tensor:
    """Put patches (B, rows * columns, side * side * 3) together to pixels (B, 3, H, W)."""
    from einops import rearrange

    form = "b (rows columns) (y x rgb) -> b rgb (rows y) (columns x)"
    return rearrange(patches, form, y=side_px, x=side_px, rows=rows, rgb=3)


def normalised(patches: Tensor) -> Patches:
    """Return patches as they are to be predicted (section 3, "Reconstruction target")."""
    mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
    deviation = (variance + _LEAST_VARIANCE).sqrt()
    return Patches((patches - mean) / deviation, mean, deviation)


def hidden_error(predicted: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error of each image's hidden patches, (B,)."""
    each = (predicted.float() - wanted).square().mean(-1)
    return (each * mask).sum(1) / mask.sum(1)


def seen_colour(wanted: Tensor, hidden: Hidden) -> Tensor:
    """Return the trivial prediction, as large as `wanted`: the mean colour of what is visible.

    It lies in the space of the targets: red, green and blue of normalised patches, averaged over
    the visible ones of an image.
    """
    colours = wanted.unflatten(-1, (-1, 3)).mean(2)
    seen = _taken(colours, hidden.visible).mean(1, keepdim=True)
    return seen.repeat(1, 1, wanted.shape[-1] // 3).expand_as(wanted)


class MaskedEncoder(nn.Module):
    """An encoder that sees some patches of an image."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor, visible: Tensor) -> Tensor:
        """Return tokens (B, special + visible, width) of pixels (B, 3, H, W).

        Args:
            pixels: Normalised.
            visible: Places of the patches that are seen, (B, visible).
        """
        tokens = self.encoder.embedding(pixels)
        special, patches = tokens.tensor_split([self.encoder.architecture.special], dim=1)
        tokens = torch.cat([special, _taken(patches, visible)], dim=1)
        for block in self.encoder.blocks:
            tokens = block(tokens)
        return self.encoder.norm(tokens)


class Decoder(nn.Module):
    """A small ViT that predicts the pixels of every patch; only pre-training has a use for it."""

    positions: Tensor

    def __init__(self, encoder: Architecture, *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        made = Architecture(width=width, depth=depth, heads=heads)
        self.special = encoder.special
        self.embedding = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        places = sincos_positions(encoder.grid, encoder.grid, width).float()
        self.register_buffer("positions", places[None], persistent=False)
        self.blocks = nn.ModuleList(Block(made, drop_path=0.0) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=made.norm_eps)
        self.pixels = nn.Linear(width, 3 * encoder.patch_px**2)
        self.apply(_draw)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, encoded: Tensor, visible: Tensor) -> Tensor:
        """Return patches (B, patches, patch pixels), predicted from what was seen.

        Args:
            encoded: (B, special + visible, encoder's width).
            visible: Places of the visible patches, (B, visible).
        """
        special, seen = self.embedding(encoded).tensor_split([self.special], dim=1)
        everywhere = self.mask_token.to(seen.dtype).expand(len(seen), self.positions.shape[1], -1)
        places = visible[..., None].expand(-1, -1, seen.shape[-1])
        tokens = everywhere.scatter(1, places, seen) + self.positions
        tokens = torch.cat([special, tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.pixels(self.norm(tokens[:, self.special :]))


def _taken(tokens: Tensor, places: Tensor) -> Tensor:
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


def _draw(module: nn.Module) -> None:
    """Draw first weights as the authors do: Xavier, uniform; no bias."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
