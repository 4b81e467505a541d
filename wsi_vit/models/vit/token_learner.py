"""TokenLearner: a few learned tokens instead of all patches; TokenFuser: and back again.

Ryoo et al., "TokenLearner: What Can 8 Learned Tokens Do for Images and Videos?" (NeurIPS 2021,
arXiv 2106.11297). A learned token is a weighted sum of all patches; its weights, a map over the
image, are computed from the patches themselves. Blocks after it see only the learned tokens.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from wsi_vit.models.sections import TokenLearnerSection

_HIDDEN = 32
"""Hidden units of each learned token's MLP: for two tokens the 64 of the authors' code in all."""


class TokenLearner(nn.Module):
    """Patches (B, patches, width) to learned tokens (B, tokens, width), with their maps."""

    def forward(self, patches: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return learned tokens, and the maps (B, tokens, patches) that made them.

        Args:
            patches: (B, rows * columns, width), row by row.
            grid: Rows and columns.
        """
        maps = self.maps(patches, grid)
        return maps @ patches, maps

    @abstractmethod
    def maps(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the weight of every patch in every learned token, (B, tokens, patches)."""


class TokenLearnerV11(TokenLearner):
    """Version 1.1 (appendix of the paper, and its code): an MLP a token, softmax over patches.

    A group of hidden units serves one learned token alone: the second layer is grouped. Each map
    sums to 1, so that a learned token is a mean.
    """

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, tokens * _HIDDEN)
        self.activation = nn.GELU()
        self.weight = nn.Parameter(torch.empty(tokens, _HIDDEN))
        nn.init.trunc_normal_(self.hidden.weight, std=0.02)
        nn.init.zeros_(self.hidden.bias)
        # No bias: softmax over patches would cancel it, so it could never learn.
        nn.init.trunc_normal_(self.weight, std=_HIDDEN**-0.5)

    def maps(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:  # noqa: ARG002
        """Return maps that sum to 1 over patches; the grid does not matter."""
        hidden = self.activation(self.hidden(self.norm(patches)))
        groups = hidden.unflatten(-1, self.weight.shape)
        return (groups * self.weight).sum(-1).softmax(1).transpose(1, 2)


class TokenLearnerOriginal(TokenLearner):
    """The original (section 2.1): four 3x3 convolutions without bias, a sigmoid, a spatial mean.

    The authors' code sums where the paper writes a spatial average (equation 2); we take the mean,
    which keeps tokens as large as patches whatever the size of the image.
    """

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width if first else tokens, tokens, 3, padding=1, bias=False)
            for first in (True, False, False, False)
        )
        self.activation = nn.GELU()

    def maps(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return sigmoid maps, divided by the number of patches."""
        image = self.norm(patches).transpose(1, 2).unflatten(2, grid)
        first, *others = self.convolutions
        image = first(image)
        for convolution in others:
            image = convolution(self.activation(image))
        return image.flatten(2).sigmoid() / patches.shape[1]


class TokenFuser(nn.Module):
    """Learned tokens back to all patches, for heads that say something about every pixel.

    Section 2.2 of the paper and its code: tokens are mixed with one another, and each patch takes
    of each as much as a sigmoid of the patch's own MLP says. Theirs begins with a mixing of zeros,
    which adds nothing to the patches; here it begins with the identity.
    """

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.norm_before = nn.LayerNorm(width)
        # No bias: it would be the same for all features, which the norm after it takes away.
        self.mixing = nn.Linear(tokens, tokens, bias=False)
        self.norm_after = nn.LayerNorm(width)
        self.norm_patches = nn.LayerNorm(width)
        self.shares = nn.Sequential(
            nn.Linear(width, 2 * _HIDDEN), nn.GELU(), nn.Linear(2 * _HIDDEN, tokens)
        )
        nn.init.eye_(self.mixing.weight)

    def forward(self, learned: Tensor, patches: Tensor) -> Tensor:
        """Return what learned tokens say about each patch, added to the patch.

        Args:
            learned: (B, tokens, width), after the last block.
            patches: (B, patches, width), as they were before they were learned from.

        Returns:
            (B, patches, width).
        """
        mixed = self.mixing(self.norm_before(learned).transpose(1, 2)).transpose(1, 2)
        shares = self.shares(self.norm_patches(patches)).sigmoid()
        return patches + shares @ self.norm_after(mixed)


def new_token_learner(section: TokenLearnerSection, width: int) -> TokenLearner:
    """Return a TokenLearner of random weights."""
    kind = TokenLearnerV11 if section.version == "v1.1" else TokenLearnerOriginal
    return kind(width, section.tokens)
