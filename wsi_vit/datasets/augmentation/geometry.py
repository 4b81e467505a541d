"""Where the pixels of a batch go: flips, turns, and one resampling for angle, scale and crop.

Masks move with their images, by the nearest pixel; what comes from outside an image is mirrored in
the image and ignored in the mask.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from wsi_vit.datasets.augmentation.draws import Draws, to_bytes
from wsi_vit.datasets.augmentation.section import Crop, Flip, QuarterTurns, Rotate
from wsi_vit.labels import IGNORE_ID

_PLACES = 10
"""Places that are drawn for a part, as many as mmsegmentation's RandomCrop tries."""
_JUDGED_PX = 64
"""Side of the lattice of points by which a place is judged: exact to about one part in a hundred,
and a fraction of the time that all pixels of ten places would take."""


def turn(
    images: Tensor, targets: Tensor, draws: Draws, *, flip: Flip, quarter_turns: QuarterTurns
) -> None:
    """Flip and turn in place by whole pixels, so that nothing is interpolated."""
    across = draws.chosen(flip.probability)
    down = draws.chosen(flip.upside_down)
    turned = draws.chosen(quarter_turns.probability)
    quarters = draws.uniform(1.0, 4.0)[:, 0].floor().clamp(max=3).long()
    if images.shape[-1] != images.shape[-2]:
        quarters = torch.full_like(quarters, 2)
    quarters = torch.where(turned, quarters, 0)
    # The eight symmetries of a square: group images that share one, and move each group at once.
    code = across * 8 + down * 4 + quarters
    for value in code.unique().tolist():
        if value:
            rows = (code == value).nonzero()[:, 0].to(images.device)
            for batch in (images, targets) if targets.ndim == 3 else (images,):
                batch[rows] = _moved(batch[rows], value)


def _moved(batch: Tensor, code: int) -> Tensor:
    axes = [axis for bit, axis in ((8, -1), (4, -2)) if code & bit]
    return torch.rot90(batch.flip(axes) if axes else batch, code % 4, (-2, -1))


def resample(images: Tensor, targets: Tensor, draws: Draws, *, rotate: Rotate, crop: Crop) -> None:
    """Turn by a small angle, zoom and cut out in place, interpolating once."""
    angle = draws.uniform(-rotate.degrees, rotate.degrees)[:, 0]
    turned = draws.chosen(rotate.probability) & (angle != 0)
    zoom = draws.uniform(crop.smallest, crop.largest)[:, 0]
    zoomed = draws.chosen(crop.probability) & (zoom != 1)
    places = draws.uniform(-1.0, 1.0, columns=2 * _PLACES).view(-1, _PLACES, 2)
    rows = (turned | zoomed).nonzero()[:, 0]
    if not len(rows):
        return
    angle, zoom = torch.where(turned, angle, 0.0)[rows], torch.where(zoomed, zoom, 1.0)[rows]
    maps = _maps(angle.deg2rad(), zoom, places[rows], images.shape[-1] / images.shape[-2])
    rows, maps = rows.to(images.device), maps.to(images.device)
    judged = targets.ndim == 3 and crop.least_other > 0
    chosen = _chosen(targets[rows], maps, crop.least_other) if judged else maps[:, 0]
    grid = _grid(chosen, images.shape[-2:])
    images[rows] = to_bytes(
        functional.grid_sample(
            images[rows].float(), grid, padding_mode="reflection", align_corners=False
        )
    )
    if targets.ndim == 3:
        targets[rows] = _nearest(targets[rows], grid)


def _maps(angle: Tensor, zoom: Tensor, places: Tensor, aspect: float) -> Tensor:
    """Return maps from output to input, (n, places, 2, 3), in coordinates of -1 to 1 a side.

    Where the image is enlarged, the part that is seen lies anywhere inside it; where it shrinks,
    it lies anywhere inside what is seen.
    """
    shift = places * (1 - 1 / zoom).abs()[:, None, None]
    cosine, sine = (wave[:, None].expand(shift.shape[:2]) for wave in (angle.cos(), angle.sin()))
    cosine, sine = cosine / zoom[:, None], sine / zoom[:, None]
    across = torch.stack([cosine, -sine / aspect, shift[..., 0]], dim=-1)
    down = torch.stack([sine * aspect, cosine, shift[..., 1]], dim=-1)
    return torch.stack([across, down], dim=-2)


def _chosen(masks: Tensor, maps: Tensor, least_other: float) -> Tensor:
    """Return of each image's maps (n, places, 2, 3) the first that holds the floor, or the best."""
    count, places = maps.shape[:2]
    size = [min(side, _JUDGED_PX) for side in masks.shape[-2:]]
    grid = _grid(maps.flatten(0, 1), size).reshape(count, -1, size[1], 2)
    seen = _nearest(masks, grid).view(count * places, -1)
    counts = torch.zeros(len(seen), IGNORE_ID + 1, device=masks.device)
    known = counts.scatter_add_(1, seen, torch.ones_like(seen, dtype=counts.dtype))[:, :IGNORE_ID]
    total = known.sum(dim=1)
    other = ((total - known.amax(dim=1)) / total.clamp(min=1)).view(count, places)
    # All that hold the floor are equally good, and argmax takes the first of the best.
    chosen = torch.where(other >= least_other, 1.0, other).argmax(dim=1)
    return maps[torch.arange(count, device=maps.device), chosen]


def _grid(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Return where maps (n, 2, 3) take the centres of pixels, (n, *size, 2)."""
    return functional.affine_grid(maps, [len(maps), 1, *size], align_corners=False)


def _nearest(masks: Tensor, grid: Tensor) -> Tensor:
    """Sample masks (n, H, W) at the nearest pixels of a grid; what lies outside is ignored."""
    # Outside counts as 0, so 0 must stand for "ignored" while sampling.
    shifted = (masks - IGNORE_ID).float()[:, None]
    found = functional.grid_sample(
        shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return found[:, 0].round().to(masks.dtype) + IGNORE_ID
