"""What convolutions answered, and how alike positions are: arithmetic on tensors only."""

import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor


def grad_cam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Return max(0, sum over k of a_k A_k), a_k being the mean of dy/dA_k over places.

    Selvaraju et al., "Grad-CAM" (ICCV 2017), equations 1 and 2. A network of pixels has no one
    score y; y is then the sum of a class's logits over the pixels that are given to it (Vinogradova
    et al., "Towards Interpretable Semantic Segmentation via Gradient-weighted Class Activation
    Mapping", AAAI 2020, equation 1).

    Args:
        maps: A, the last feature maps, (B, features, rows, columns).
        gradients: dy/dA, of the same shape.

    Returns:
        (B, rows, columns), 0 or more, no fixed sum.
    """
    weights = gradients.mean((2, 3), keepdim=True)
    return (weights * maps).sum(1).clamp(min=0)


def position_similarity(positions: Tensor) -> Tensor:
    """Return the cosine of every position with every other, (places, places), -1 to 1.

    What all positions have in common is taken away first: it says nothing about where they are.

    Args:
        positions: Position embeddings of the patches, (places, width).
    """
    unit = F.normalize(positions - positions.mean(0), dim=1)
    return unit @ unit.T
