"""What later papers added to the Vision Transformer, each where its checkpoints need it."""

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor, nn

from wsi_vit.models.vit.architecture import Architecture


class GatedMlp(nn.Module):
    """SwiGLU (Shazeer 2020), as in the largest DINOv2: one half of the layer gates the other."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.gated = nn.Linear(architecture.width, 2 * architecture.inner)
        self.output = nn.Linear(architecture.inner, architecture.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, tokens, width) for tokens of that shape."""
        gate, value = self.gated(tokens).chunk(2, dim=-1)
        return self.output(F.silu(gate) * value)


class StochasticDepth(nn.Module):
    """In training, leave a residual branch out for a share of the images (Huang et al. 2016).

    What is kept is divided by the share that is, so that its mean does not change.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch (B, tokens, width), zero for some of B."""
        if not self.training or self.rate == 0:
            return branch
        kept = torch.empty_like(branch[:, :1, :1]).bernoulli_(1 - self.rate)
        return branch * (kept / (1 - self.rate))


class LayerScale(nn.Module):
    """A learned factor for each feature of a residual branch (Touvron et al. 2021, CaiT)."""

    def __init__(self, width: int, first: float) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.full((width,), first))

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch (B, tokens, width), scaled."""
        return branch * self.factors
