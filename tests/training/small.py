"""The smallest model and data that can be learnt from, for the tests of the loop."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsi_vit.datasets.augmentation.section import Augmentation
from wsi_vit.datasets.example import Example, Task
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.models.model import Batch
from wsi_vit.training.section import TrainingSection

LABELS = LabelMap(
    classes=(
        LabelClass(name="dark", colour="#000000"),
        LabelClass(name="bright", colour="#ffffff"),
    )
)
SIDE_PX = 8


class Small(nn.Module):
    """A backbone with a norm and dropout, and a head: dark is class 0, bright is class 1."""

    def __init__(self, seed: int = 0, task: Task = "classification") -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.labels, self.task, self.input_px = LABELS, task, SIDE_PX
        self.backbone = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.LayerNorm(8), nn.Dropout(0.1))
        self.head = nn.Linear(8, 2)
        self.weights: Tensor | None = None
        self.seen: list[int] = []
        """Images of each forward pass."""
        self.fits = 10_000
        """Images that the pretended device holds."""
        self.spoiled_by: int | None = None
        """A grey value whose images make the loss NaN."""
        self.spoiled_times = 10_000
        self.told: list[float] = []
        """How far the run was at each step."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        images = np.stack([example.image for example in examples]).transpose(0, 3, 1, 2)
        targets = np.stack([example.target for example in examples]).astype(np.int64)
        return {"images": torch.from_numpy(images.copy()), "targets": torch.from_numpy(targets)}

    def logits(self, images: Tensor) -> Tensor:
        pixels = images.float().permute(0, 2, 3, 1) / 255
        if self.task == "classification":
            pixels = pixels.mean(dim=(1, 2))
        found = self.head(self.backbone(pixels))
        return found if self.task == "classification" else found.permute(0, 3, 1, 2)

    def loss(self, batch: Batch) -> Tensor:
        images = batch["images"]
        self.seen.append(len(images))
        if len(images) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        loss = nn.functional.cross_entropy(
            self.logits(images), batch["targets"], weight=self.weights, ignore_index=255
        )
        return loss * float("nan") if self._is_spoiled(images) else loss

    def _is_spoiled(self, images: Tensor) -> bool:
        if self.spoiled_by is None or not self.training or not self.spoiled_times:
            return False
        spoiled = bool((images == self.spoiled_by).all(dim=3).all(dim=2).all(dim=1).any())
        self.spoiled_times -= spoiled
        return spoiled

    def weigh_classes(self, weights: Tensor | None) -> None:
        self.weights = weights

    def progress(self, share: float) -> None:
        self.told.append(share)

    def scores(self, images: Tensor) -> Tensor:
        return self.logits(images).float().softmax(dim=1)

    def loss_and_scores(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.loss(batch), self.scores(batch["images"])

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        return self.backbone.parameters()

    def compiled_parts(self) -> list[nn.Module]:
        return [self.backbone, self.head]

    def recompute_blocks(self) -> None:
        raise NotImplementedError

    def remember_blocks(self) -> None:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        raise NotImplementedError


class Memory:
    """Examples in memory."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return [self.examples[index] for index in indices]


def shades(count: int, *, masks: bool = False, seed: int = 0) -> Memory:
    """Return images of one grey value each; the brighter half is class 1."""
    greys = np.random.default_rng(seed).permutation(np.linspace(5, 250, count).astype(np.uint8))
    return Memory([shade(int(grey), masks=masks) for grey in greys])


def shade(grey: int, *, masks: bool = False) -> Example:
    label = np.uint8(grey > 127)
    return Example(
        image=np.full((SIDE_PX, SIDE_PX, 3), grey, np.uint8),
        target=np.full((SIDE_PX, SIDE_PX), label) if masks else np.asarray(label),
        key=f"grey/{grey}",
        slide_id="grey",
        patient=f"patient-{grey}",
    )


def section(**changes: Any) -> TrainingSection:
    """Return three epochs of four steps of four images, for `shades(16)`."""
    plain: dict[str, Any] = {"epochs": 3, "batch_size": 4, "learning_rate": 0.05, "workers": 0}
    return TrainingSection.model_validate(plain | changes)


PLAIN = Augmentation(preset="none")


def weights_of(model: nn.Module) -> bytes:
    """Return all weights as bytes, for comparison to the last bit."""
    return b"".join(t.detach().numpy().tobytes() for t in model.state_dict().values())
