"""The loss of mask classification, with ignored pixels left out.

Cheng, Schwing and Kirillov, "Per-Pixel Classification is Not All You Need for Semantic
Segmentation" (MaskFormer, NeurIPS 2021), section 3.2, and Cheng et al., "Masked-attention Mask
Transformer for Universal Image Segmentation" (Mask2Former, CVPR 2022), section 3.3: each query
predicts a class and a mask; the cheapest one-to-one matching of queries and true masks decides who
learns what; unmatched queries learn "no object".

Where nothing is ignored this equals the criterion of transformers (tested). transformers takes an
ignored pixel for "not this class", in the masks, and for "no object" where a whole image is
ignored. Here
- an ignored pixel counts in neither the matching, nor the mask loss, nor the Dice loss;
- an unmatched query that looks at ignored pixels for the most part is told nothing at all, for
  what lies there is unknown. So an image that is ignored altogether contributes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor

from wsi_vit.models.segments import IGNORED, Segments

Costs = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From mask logits to what each pixel costs if it is inside the true mask, and if it is not."""


class Prediction(NamedTuple):
    """What one decoder layer says."""

    classes: Tensor
    """Logits (B, queries, classes + 1); the last is "no object"."""
    masks: Tensor
    """Logits (B, queries, h, w)."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Losses on sampled points instead of all pixels (Mask2Former, section 3.3)."""

    points: int
    oversample: float = 3.0
    """How many candidates are drawn for each point that is kept."""
    uncertain: float = 0.75
    """Share of the points that lie where the prediction is least certain."""


@dataclass(frozen=True, kw_only=True)
class MaskCriterion:
    """Weights and forms of the three losses."""

    costs: Costs
    class_weight: float
    mask_weight: float
    dice_weight: float
    match_class_weight: float
    no_object_weight: float
    sampling: Sampling | None = None

    def __call__(
        self,
        layers: Sequence[Prediction],
        truth: Segments,
        class_weights: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of all layers' predictions, a float32 scalar.

        Args:
            layers: The last decoder layer's prediction first, then those of earlier layers.
            truth: The true masks, with their classes.
            class_weights: What each class weighs in the class loss, (classes,).
            generator: Draws the sampled points; None uses torch's global one.
        """
        weights = torch.cat([class_weights, class_weights.new_tensor([self.no_object_weight])])
        losses = [self._layer(layer, truth, weights, generator) for layer in layers]
        return torch.stack(losses).sum()

    def _layer(
        self,
        prediction: Prediction,
        truth: Segments,
        weights: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        prediction = Prediction(prediction.classes.float(), prediction.masks.float())
        image, query, number, label = self._match(prediction, truth, generator)
        mask, dice = self._mask_losses(
            prediction.masks[image, query], truth.maps[image], number, generator
        )
        masks = max(sum(map(len, truth.classes)), 1)
        return (
            self.mask_weight * mask / masks
            + self.dice_weight * dice / masks
            + self.class_weight
            * _class_loss(prediction, truth.maps, (image, query, label), weights)
        )

    @torch.no_grad()
    def _match(
        self,
        prediction: Prediction,
        truth: Segments,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return image, query, segment and class of each matched pair, int64 (pairs,)."""
        from scipy.optimize import linear_sum_assignment

        tables = [
            self._match_costs(classes, masks, maps, labels, generator)
            for classes, masks, maps, labels in zip(*prediction, *truth, strict=True)
        ]
        flat = torch.cat([table.flatten() for table in tables]).cpu()  # one transfer for all
        pairs: list[tuple[int, int, int, int]] = []
        for image, (part, table) in enumerate(
            zip(flat.split([table.numel() for table in tables]), tables, strict=True)
        ):
            queries, columns = linear_sum_assignment(part.view(table.shape).numpy())
            pairs += [
                (image, int(q), int(n), truth.classes[image][n])
                for q, n in zip(queries, columns, strict=True)
            ]
        found = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 4).to(truth.maps.device)
        return found[:, 0], found[:, 1], found[:, 2], found[:, 3]

    def _match_costs(
        self,
        classes: Tensor,
        masks: Tensor,
        maps: Tensor,
        labels: list[int],
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return what it costs to match each query with each true mask, (queries, masks)."""
        numbers = torch.arange(len(labels), device=maps.device)
        wanted = torch.tensor(labels, dtype=torch.int64, device=maps.device)
        if self.sampling:
            where = _draw((1, self.sampling.points, 2), masks, generator)
            logits = _at(masks[:, None], where.expand(len(masks), -1, -1))
            truth, valid = _truth_at(maps.expand(len(labels), -1, -1), numbers, where)
            valid = valid[0] if len(labels) else valid.new_ones(self.sampling.points)
        else:
            small = _nearest(maps[None], masks.shape[-2:])[0].flatten()
            logits, valid = masks.flatten(1), (small != IGNORED).float()
            truth = (small == numbers[:, None]).float()
        inside, outside = self.costs(logits)
        total = inside @ (truth * valid).T + outside @ ((1 - truth) * valid).T
        mask = total / valid.sum().clamp(min=1)
        dice = _dice(logits.sigmoid() * valid, truth * valid)
        cost = self.mask_weight * mask + self.dice_weight * dice
        cost = cost - self.match_class_weight * classes.softmax(-1)[:, wanted]
        worst = torch.finfo(cost.dtype).max
        return torch.nan_to_num(cost, nan=worst, posinf=worst, neginf=worst)

    def _mask_losses(
        self, logits: Tensor, maps: Tensor, numbers: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return summed mask and Dice losses of matched masks (pairs, h, w)."""
        if not len(logits):
            return logits.sum(), logits.sum()
        if self.sampling:
            where = _uncertain_points(logits.detach()[:, None], self.sampling, generator)
            truth, valid = _truth_at(maps, numbers, where)
            logits = _at(logits[:, None], where)
        else:
            size = maps.shape[-2:]
            logits = F.interpolate(logits[:, None], size=size, mode="bilinear")[:, 0].flatten(1)
            truth = (maps == numbers[:, None, None]).flatten(1).float()
            valid = (maps != IGNORED).flatten(1).float()
        inside, outside = self.costs(logits)
        each = (inside * truth + outside * (1 - truth)) * valid
        mask = (each.sum(1) / valid.sum(1).clamp(min=1)).sum()
        probabilities, truth = logits.sigmoid() * valid, truth * valid
        joint, either = (probabilities * truth).sum(1), probabilities.sum(1) + truth.sum(1)
        return mask, (1 - (2 * joint + 1) / (either + 1)).sum()


def focal_costs(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the focal loss (Lin et al., 2017) inside and outside, alpha 0.25, gamma 2."""
    probability = logits.sigmoid()
    inside = 0.25 * (1 - probability) ** 2 * F.softplus(-logits)
    return inside, 0.75 * probability**2 * F.softplus(logits)


def cross_entropy_costs(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the binary cross-entropy inside and outside."""
    return F.softplus(-logits), F.softplus(logits)


def _class_loss(
    prediction: Prediction, maps: Tensor, matched: tuple[Tensor, Tensor, Tensor], weights: Tensor
) -> Tensor:
    """Return the weighted mean cross-entropy of the queries that can be told their class."""
    image, query, label = matched
    targets = torch.full(prediction.classes.shape[:2], len(weights) - 1, device=maps.device)
    targets[image, query] = label
    told = _looks_at_known(prediction.masks, maps)
    told[image, query] = True
    each = F.cross_entropy(
        prediction.classes.flatten(0, 1), targets.flatten(), weight=weights, reduction="none"
    )
    counted = weights[targets] * told
    tiny = torch.finfo(torch.float32).tiny
    return (each * told.flatten()).sum() / counted.sum().clamp(min=tiny)


@torch.no_grad()
def _looks_at_known(masks: Tensor, maps: Tensor) -> Tensor:
    """Say of each query whether at least half of its mask lies on known pixels, (B, queries)."""
    ignored = _nearest(maps, masks.shape[-2:]) == IGNORED
    attention = masks.sigmoid()
    on_ignored = (attention * ignored[:, None]).sum((-2, -1))
    mostly_known = on_ignored <= 0.5 * attention.sum((-2, -1))
    return mostly_known & ~ignored.flatten(1).all(1)[:, None]


def _nearest(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps[:, None].float(), size=tuple(size), mode="nearest")[:, 0].long()


def _dice(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the Dice loss of each pair, (queries, masks), of (queries, P) and (masks, P)."""
    either = predicted.sum(1)[:, None] + truth.sum(1)[None]
    return 1 - (2 * predicted @ truth.T + 1) / (either + 1)


@torch.no_grad()
def _uncertain_points(
    logits: Tensor, sampling: Sampling, generator: torch.Generator | None
) -> Tensor:
    """Return points (pairs, points, 2) in 0..1, most of them where the masks are uncertain."""
    near = int(sampling.uncertain * sampling.points)
    drawn = (len(logits), int(sampling.points * sampling.oversample), 2)
    candidates = _draw(drawn, logits, generator)
    best = _at(logits, candidates).abs().neg().topk(near, dim=1).indices
    kept = candidates.gather(1, best[..., None].expand(-1, -1, 2))
    rest = _draw((len(logits), sampling.points - near, 2), logits, generator)
    return torch.cat([kept, rest], dim=1)


def _draw(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(shape, device=like.device, generator=generator)


def _at(maps: Tensor, where: Tensor) -> Tensor:
    """Return maps (N, 1, H, W) at points (N, P, 2) in 0..1 as (N, P), bilinear."""
    return F.grid_sample(maps, 2 * where[:, :, None] - 1, align_corners=False)[:, 0, :, 0]


def _truth_at(maps: Tensor, numbers: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far points lie in a segment (N, P), and 1 where no ignored pixel is near."""
    where = where.expand(len(maps), -1, -1)
    truth = _at((maps == numbers[:, None, None]).float()[:, None], where)
    ignored = _at((maps == IGNORED).float()[:, None], where)
    return truth, (ignored == 0).float()
