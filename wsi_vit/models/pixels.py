"""From examples of any size to the tensors a network takes, the same way in training and after."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from numpy.typing import NDArray
from torch import Tensor

from wsi_vit.datasets.example import Example, Task
from wsi_vit.errors import ModelError
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.models.model import Batch


def stack_examples(
    examples: Sequence[Example], *, labels: LabelMap, task: Task, side_px: int
) -> Batch:
    """Stack examples into uint8 images (B, 3, side, side) and int64 targets.

    Raises:
        ModelError: A target has another shape than its task asks for, or an unknown class id.
    """
    images = [_image_side(example.image, side_px) for example in examples]
    targets = [_target_side(example, task, labels, side_px) for example in examples]
    stacked = torch.from_numpy(np.stack(targets).astype(np.int64))
    _refuse_strangers(stacked, labels, task, examples)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return {"images": pixels, "targets": stacked}


def fit_images(images: Tensor, side_px: int) -> Tensor:
    """Resize uint8 images (B, 3, H, W) to a square by area-weighted (antialiased) interpolation.

    Shapes other than squares are stretched. The result is uint8 again, so that a resized image is
    the same whether it was resized in `collate` or in `scores`.
    """
    if images.shape[-2:] == (side_px, side_px):
        return images
    size = (side_px, side_px)
    resized = F.interpolate(images.float(), size=size, mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def fit_masks(masks: Tensor, side_px: int) -> Tensor:
    """Resize integer masks (B, H, W) to a square; ids are picked, never mixed."""
    if masks.shape[-2:] == (side_px, side_px):
        return masks
    size = (side_px, side_px)
    return F.interpolate(masks[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()


def refuse_odd_images(images: Tensor) -> None:
    """Refuse anything but uint8 images (B, 3, H, W).

    Raises:
        ModelError: The tensor has another type or shape; a float image would be scaled twice.
    """
    if images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] == 3:
        return
    raise ModelError(
        "Images have the wrong form",
        got=f"{images.dtype} {tuple(images.shape)}",
        known=["torch.uint8 (B, 3, H, W)"],
        remedy="Hand over RGB images as they were decoded; the model normalises them itself",
    )


def _image_side(image: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (side_px, side_px):
        return image
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    return fit_images(pixels, side_px)[0].permute(1, 2, 0).numpy()


def _target_side(example: Example, task: Task, labels: LabelMap, side_px: int) -> NDArray[np.uint8]:
    target = np.asarray(example.target)
    shapes: dict[Task, tuple[int, ...]] = {
        "segmentation": example.image.shape[:2],
        "multi_label": (len(labels),),
    }
    expected = shapes.get(task, ())
    if target.shape != expected:
        raise ModelError(
            f"A target does not fit the task {task}",
            got=f"shape {target.shape} in {example.key}",
            known=[f"shape {expected}"],
            remedy="Build the dataset for this task",
        )
    if target.ndim < 2 or target.shape == (side_px, side_px):
        return target
    return fit_masks(torch.from_numpy(target.copy())[None], side_px)[0].numpy().astype(np.uint8)


def _refuse_strangers(
    targets: Tensor, labels: LabelMap, task: Task, examples: Sequence[Example]
) -> None:
    several = task == "multi_label"
    known = ["absent", "present"] if several else list(labels.names)
    strange = (targets >= len(known)) & (targets != IGNORE_ID)
    if not strange.any():
        return
    culprit = int(strange.nonzero()[0, 0])
    raise ModelError(
        "A target holds a number that says nothing of a label"
        if several
        else "A target holds a class id that the label map does not know",
        got=f"{sorted(set(targets[strange].tolist()))} in {examples[culprit].key}",
        known=[f"{i} {name}" for i, name in enumerate(known)] + [f"{IGNORE_ID} ignored"],
        remedy="Build the dataset with this label map",
    )
