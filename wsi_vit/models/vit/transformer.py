"""A Vision Transformer in one file, to be read beside the paper.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021), section 3.1, equations 1 to 4. The
steps, in the order in which they follow here:

```text
 1 patches                       LinearPatches, ConvPatches
 2 flatten                       .
 3 project                       .
 4 class token                   Embedding
 5 positions                     .                 sincos_positions, interpolated
 6 queries, keys, values         Attention
 7 scores                        .
 8 softmax                       .
 9 heads                         .
10 residual sum                  Block
11 MLP                           Mlp
12 norm                          Block, Encoder
13 head                          VisionTransformer
14 cross-entropy                 cross_entropy
```

What later papers added (stochastic depth, LayerScale, SwiGLU) is in `additions`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor, nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import IGNORE_ID
from wsi_vit.models.recomputation import Recomputable
from wsi_vit.models.sections import Pool, TokenLearnerSection
from wsi_vit.models.vit.additions import GatedMlp, LayerScale, StochasticDepth
from wsi_vit.models.vit.architecture import Architecture
from wsi_vit.models.vit.token_learner import TokenFuser, new_token_learner


class LinearPatches(nn.Module):
    """Cut an image into patches and project each: the paper's words, step by step."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.patch_px, self.step_px = architecture.patch_px, architecture.step_px
        self.projection = nn.Linear(3 * self.patch_px**2, architecture.width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return tokens (B, rows * columns, width) of pixels (B, 3, H, W)."""
        from einops import rearrange

        patches = pixels.unfold(2, self.patch_px, self.step_px)  # 1. patches
        patches = patches.unfold(3, self.patch_px, self.step_px)
        flat = rearrange(patches, "b rgb rows columns y x -> b (rows columns) (rgb y x)")  # 2.
        return self.projection(flat)  # 3. project


class ConvPatches(nn.Module):
    """The same as one convolution, whose kernel is a patch and whose stride is the step."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        patch, step = architecture.patch_px, architecture.step_px
        self.projection = nn.Conv2d(3, architecture.width, kernel_size=patch, stride=step)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return tokens (B, rows * columns, width) of pixels (B, 3, H, W)."""
        return self.projection(pixels).flatten(2).transpose(1, 2)


class Embedding(nn.Module):
    """Equation 1: patches, class token, positions."""

    positions: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        width, side = architecture.width, architecture.grid
        linear = architecture.embedding == "linear"
        self.patches = LinearPatches(architecture) if linear else ConvPatches(architecture)
        self.class_token = nn.Parameter(torch.zeros(1, architecture.class_tokens, width))
        self.distillation_token = _tokens(architecture.distillation, width)
        self.register_tokens = _tokens(architecture.registers, width)
        if architecture.mask_token:
            self.register_buffer("mask_token", torch.zeros(1, width))
        if architecture.positions == "learned":
            self.positions = nn.Parameter(torch.zeros(1, architecture.placed + side**2, width))
        else:
            fixed = _fixed_positions(architecture, (side, side))
            self.register_buffer("positions", fixed, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return tokens (B, special + patches, width) of pixels (B, 3, H, W).

        First the class token (or one a label), then a teacher's, then registers, then the patches
        row by row.
        """
        patches = self.patches(pixels)
        first, placed = self.architecture.placed, self.placed(pixels.shape[-2:])
        named = [self.class_token, self.distillation_token]  # 4. class token
        before = torch.cat([token for token in named if token is not None], dim=1)
        before = before + placed[:, :first]  # 5. positions
        if self.register_tokens is not None:
            before = torch.cat([before, self.register_tokens], dim=1)
        before = before.expand(len(pixels), -1, -1)
        return torch.cat([before, patches + placed[:, first:]], dim=1)

    def placed(self, size: torch.Size) -> Tensor:
        """Return positions (1, placed + patches, width) for images of a size (H, W)."""
        made = self.architecture
        grid = (made.along(size[0]), made.along(size[1]))
        if grid == (made.grid, made.grid):
            return self.positions
        if made.positions == "learned":
            return interpolated(self.positions, made, grid)
        return _fixed_positions(made, grid).to(self.positions)


def sincos_positions(rows: int, columns: int, width: int) -> Tensor:
    """Return fixed positions (rows * columns, width) by sines and cosines in two dimensions.

    With d = width / 4, frequencies w_i = 10000^(-i / d) for i = 0 .. d - 1, and x, y the column and
    the row of a patch, a position is

        [sin(x w), cos(x w), sin(y w), cos(y w)]

    (Vaswani et al. 2017, section 3.5, for each axis; both axes side by side as in MoCo v3, Chen et
    al. 2021, `build_2d_sincos_position_embedding` of its code). A class token has none. Being a
    formula, they need no interpolation for images of another size.
    """
    frequencies = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [axis.flatten()[:, None] * frequencies for axis in (x, y)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)


def _fixed_positions(architecture: Architecture, grid: tuple[int, int]) -> Tensor:
    patches = sincos_positions(*grid, architecture.width).float()
    return torch.cat([patches.new_zeros(architecture.placed, architecture.width), patches])[None]


def interpolated(positions: Tensor, made_for: Architecture, grid: tuple[int, int]) -> Tensor:
    """Return learned positions (1, placed + patches, width) for a grid of another size.

    Bicubic between patches, in float32, as the authors of ViT (section 3.2) and DINOv2 do; those of
    DINOv2 with registers smooth what is made smaller. The class token's stays as it is.
    """
    side, first = made_for.grid, made_for.placed
    if grid == (side, side):
        return positions
    image = positions[:, first:].float().transpose(1, 2).unflatten(2, (side, side))
    smooth = made_for.registers > 0
    image = F.interpolate(image, size=grid, mode="bicubic", antialias=smooth)
    patches = image.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat([positions[:, :first], patches], dim=1)


class Attention(nn.Module):
    """Multi-head self-attention (appendix A of the paper, equations 5 to 8)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.heads = architecture.heads
        self.qkv = nn.Linear(architecture.width, 3 * architecture.width, architecture.qkv_bias)
        self.output = nn.Linear(architecture.width, architecture.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what tokens (B, tokens, width) take of one another; 7 and 8 in one kernel."""
        queries, keys, values = self._queries_keys_values(tokens)
        return self._together(F.scaled_dot_product_attention(queries, keys, values))

    def watched(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same, and the weights (B, heads, tokens, tokens), whose rows sum to 1."""
        queries, keys, values = self._queries_keys_values(tokens)
        scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5  # 7. scores
        weights = scores.softmax(-1)  # 8. softmax
        return self._together(weights @ values), weights

    def _queries_keys_values(self, tokens: Tensor) -> list[Tensor]:
        """Return three tensors (B, heads, tokens, width / heads)."""
        three = self.qkv(tokens).chunk(3, dim=-1)  # 6. queries, keys, values
        return [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in three]

    def _together(self, mixed: Tensor) -> Tensor:
        return self.output(mixed.transpose(1, 2).flatten(2))  # 9. heads


class Mlp(nn.Module):
    """Two layers with GELU between them, for each token by itself."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.hidden = nn.Linear(architecture.width, architecture.inner)
        self.output = nn.Linear(architecture.inner, architecture.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, tokens, width) for tokens of that shape."""
        return self.output(F.gelu(self.hidden(tokens)))  # 11. MLP


class Block(Recomputable):
    """Equations 2 and 3: attention and MLP, each after a norm and added to what came in."""

    def __init__(self, architecture: Architecture, drop_path: float) -> None:
        super().__init__()
        width, scale = architecture.width, architecture.layer_scale
        self.norm1 = nn.LayerNorm(width, eps=architecture.norm_eps)
        self.attention = Attention(architecture)
        self.scale1 = nn.Identity() if scale is None else LayerScale(width, scale)
        self.norm2 = nn.LayerNorm(width, eps=architecture.norm_eps)
        self.mlp = (Mlp if architecture.mlp == "gelu" else GatedMlp)(architecture)
        self.scale2 = nn.Identity() if scale is None else LayerScale(width, scale)
        self.depth = StochasticDepth(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, tokens, width) for tokens of that shape."""
        return self._add(tokens, self.attention(self.norm1(tokens)))

    def watched(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same, and the attention's weights."""
        mixed, weights = self.attention.watched(self.norm1(tokens))
        return self._add(tokens, mixed), weights

    def _add(self, tokens: Tensor, mixed: Tensor) -> Tensor:
        tokens = tokens + self.depth(self.scale1(mixed))  # 10. residual sum
        return tokens + self.depth(self.scale2(self.mlp(self.norm2(tokens))))


@dataclass(frozen=True)
class Learned:
    """What a TokenLearner did."""

    maps: Tensor
    """Weight of every patch in every learned token, (B, learned tokens, patches)."""
    patches: Tensor
    """What it learned from, (B, patches, width)."""


@dataclass(frozen=True)
class Watched:
    """A forward pass with all that explains it; in the graph of autograd where that is on."""

    tokens: Tensor
    """After the last norm, (B, special + patches or learned tokens, width)."""
    attention: tuple[Tensor, ...]
    """Of each block, (B, heads, tokens, tokens); rows sum to 1. Fewer tokens after TokenLearner."""
    learned: Learned | None
    logits: Tensor | None = None
    """(B, classes); None of an encoder alone."""


class Encoder(nn.Module):
    """Equations 1 to 3 and the last norm: from an image to tokens."""

    def __init__(
        self,
        architecture: Architecture,
        *,
        token_learner: TokenLearnerSection | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding = Embedding(architecture)
        rates = torch.linspace(0, drop_path, architecture.depth).tolist()
        self.blocks = nn.ModuleList(Block(architecture, rate) for rate in rates)
        self.norm = nn.LayerNorm(architecture.width, eps=architecture.norm_eps)
        self.apply(draw)
        self.learns_after = token_learner.after_block if token_learner else 0
        width = architecture.width
        self.token_learner = new_token_learner(token_learner, width) if token_learner else None

    def forward(self, pixels: Tensor) -> Tensor:
        """Return tokens (B, special + patches or learned tokens, width) of pixels (B, 3, H, W)."""
        return self.norm(self.before_norm(pixels))

    def before_norm(self, pixels: Tensor) -> Tensor:
        """Return tokens as they leave the last block; what is not looked at needs no norm."""
        return self._through(pixels, lambda block, tokens: block(tokens))[0]

    def dense(self, pixels: Tensor, fuser: TokenFuser | None = None) -> Tensor:
        """Return a token for each patch, (B, patches, width), also where a TokenLearner took part.

        Args:
            pixels: (B, 3, H, W).
            fuser: Brings learned tokens back to the patches.
        """
        if (self.token_learner is None) != (fuser is None):
            raise ModelError(
                "A TokenFuser belongs to a TokenLearner, and a TokenLearner needs one here",
                got=f"fuser {type(fuser).__name__}, learner {type(self.token_learner).__name__}",
                remedy="Hand over a TokenFuser if, and only if, the section has a token_learner",
            )
        tokens, learned = self._through(pixels, lambda block, tokens: block(tokens))
        found = tokens[:, self.architecture.special :]
        if fuser is not None and learned is not None:
            found = fuser(found, learned.patches)
        return self.norm(found)

    def watched(self, pixels: Tensor) -> Watched:
        """Return tokens, attention of every block and TokenLearner's maps."""
        attention: list[Tensor] = []

        def step(block: Any, tokens: Tensor) -> Tensor:
            tokens, weights = block.watched(tokens)
            attention.append(weights)
            return tokens

        tokens, learned = self._through(pixels, step)
        return Watched(self.norm(tokens), tuple(attention), learned)

    def _through(
        self, pixels: Tensor, step: Callable[[Any, Tensor], Tensor]
    ) -> tuple[Tensor, Learned | None]:
        self._refuse(pixels)
        tokens, learned = self.embedding(pixels), None
        for number, block in enumerate(self.blocks, start=1):
            tokens = step(block, tokens)
            if number == self.learns_after:
                tokens, learned = self._learn(tokens, pixels.shape[-2:])
        return tokens, learned

    def _learn(self, tokens: Tensor, size: torch.Size) -> tuple[Tensor, Learned]:
        """Put learned tokens in the place of the patches; special tokens stay."""
        assert self.token_learner is not None
        special, patches = tokens.tensor_split([self.architecture.special], dim=1)
        grid = (self.architecture.along(size[0]), self.architecture.along(size[1]))
        found, maps = self.token_learner(patches, grid)
        return torch.cat([special, found], dim=1), Learned(maps, patches)

    def _refuse(self, pixels: Tensor) -> None:
        made = self.architecture
        if pixels.ndim == 4 and pixels.shape[1] == 3 and all(map(made.fills, pixels.shape[2:])):
            return
        raise ModelError(
            "A Vision Transformer cannot take this tensor",
            got=f"shape {tuple(pixels.shape)}",
            known=[f"(B, 3, H, W), filled by patches of {made.patch_px} px every {made.step_px}"],
            remedy="Hand over normalised RGB images of such a size",
        )


class VisionTransformer(nn.Module):
    """An encoder and a head (equation 4)."""

    def __init__(self, encoder: Encoder, *, classes: int, pool: Pool, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.pool: Pool = encoder.architecture.native_pool(pool)
        self.dropout = nn.Dropout(dropout)
        width = encoder.architecture.width * (2 if self.pool == "cls+mean" else 1)
        self.head = nn.Linear(width, classes)
        draw(self.head)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, classes) of normalised pixels (B, 3, H, W)."""
        tokens = self.encoder.before_norm(pixels)
        if self.pool == "cls":
            return self._said(self.encoder.norm(tokens[:, 0]))  # 12. norm
        return self._said(self.pooled(self.encoder.norm(tokens)))

    def watched(self, pixels: Tensor) -> Watched:
        """Return the same logits with all that explains them."""
        seen = self.encoder.watched(pixels)
        logits = self._said(self.pooled(seen.tokens))
        return Watched(seen.tokens, seen.attention, seen.learned, logits)

    def pooled(self, tokens: Tensor) -> Tensor:
        """Return what the head sees of tokens (B, tokens, width) after the last norm."""
        parts = {"cls": tokens[:, 0]}
        if "mean" in self.pool:
            parts["mean"] = tokens[:, self.encoder.architecture.special :].mean(1)
        return torch.cat([parts[name] for name in self.pool.split("+")], dim=-1)

    def _said(self, seen: Tensor) -> Tensor:
        return self.head(self.dropout(seen))  # 13. head


def cross_entropy(
    logits: Tensor, targets: Tensor, *, class_weights: Tensor, smoothing: float
) -> Tensor:
    """Return the weighted mean of -log softmax(logits)[target], a scalar.

    Targets of 255 are left out; a batch of nothing else has loss 0 and no gradient.

    Args:
        logits: float32 (B, classes), or for one class a pixel (B, classes, H, W).
        targets: int64 (B,) or (B, H, W).
        class_weights: (classes,), 0 or more.
        smoothing: Share of the target that is spread over all classes (Szegedy et al. 2016).
    """
    each = F.cross_entropy(  # 14. cross-entropy
        logits,
        targets,
        weight=class_weights,
        ignore_index=IGNORE_ID,
        reduction="none",
        label_smoothing=smoothing,
    )
    counted = class_weights[targets.clamp(max=len(class_weights) - 1)] * (targets != IGNORE_ID)
    return each.sum() / counted.sum().clamp(min=torch.finfo(torch.float32).tiny)


def _tokens(count: int, width: int) -> nn.Parameter | None:
    return nn.Parameter(torch.zeros(1, count, width)) if count else None


def draw(module: nn.Module) -> None:
    """Draw first weights: normal, std 0.02, cut at two (as the authors of DeiT do); no bias."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, Embedding):
        for parameter in module.parameters(recurse=False):
            nn.init.trunc_normal_(parameter, std=0.02)
