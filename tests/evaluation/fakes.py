"""A small cohort in memory and a model that sees colours: quick, and with known truth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsi_vit.datasets.example import Example, Task
from wsi_vit.labels import IGNORE_ID, LabelClass, LabelMap
from wsi_vit.models.model import Batch

TISSUE = LabelMap(
    classes=(
        LabelClass(name="tumour", colour="#d55e00"),
        LabelClass(name="stroma", colour="#0072b2"),
        LabelClass(name="mucus", colour="#009e73"),
    )
)
GLANDS = LabelMap(
    classes=(
        LabelClass(name="background", colour="#000000"),
        LabelClass(name="gland", colour="#d55e00"),
    ),
    background="background",
)
COLOURS = np.array([[150, 70, 160], [215, 150, 190], [180, 200, 220]], float)


@dataclass
class MemoryExamples:
    items: list[Example]

    @property
    def keys(self) -> list[str]:
        return [item.key for item in self.items]

    @property
    def slide_ids(self) -> list[str]:
        return [item.slide_id for item in self.items]

    @property
    def patients(self) -> list[str]:
        return [item.patient for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return [self.items[i] for i in indices]


@dataclass
class MemorySet:
    splits: dict[str, MemoryExamples]
    labels: LabelMap
    task: Task
    estimate: str = "unseen patients"
    unit: str = "patients"
    digest: str = "d" * 64
    split_digest: str = "e" * 64

    def examples(self, split: str) -> MemoryExamples:
        return self.splits.get(split, MemoryExamples([]))


class ColourModel(nn.Module):
    """Scores by the distance of (mean or pixel) colour to each class's; `blur` makes it unsure."""

    def __init__(
        self, labels: LabelMap, task: Task, *, input_px: int = 32, blur: float = 400.0
    ) -> None:
        super().__init__()
        self.labels, self.task, self.input_px, self.blur = labels, task, input_px, blur
        self.centres = nn.Parameter(torch.tensor(COLOURS[: len(labels)], dtype=torch.float32))
        self.calls = 0

    def collate(self, examples: Sequence[Example]) -> Batch:
        stack = np.stack([example.image for example in examples])
        images = torch.from_numpy(stack).permute(0, 3, 1, 2)
        side = (self.input_px, self.input_px)
        small = nn.functional.interpolate(images.float(), side, mode="area").round().byte()
        return {"images": small, "targets": torch.zeros(len(examples), dtype=torch.int64)}

    def scores(self, images: Tensor) -> Tensor:
        self.calls += 1
        assert not self.training
        pixels = images.float().permute(0, 2, 3, 1)
        if self.task == "classification":
            pixels = pixels.mean(dim=(1, 2), keepdim=True)
        far = ((pixels[..., None, :] - self.centres) ** 2).sum(dim=-1) / self.blur
        scores = torch.softmax(-far, dim=-1).permute(0, 3, 1, 2)
        return scores[:, :, 0, 0] if self.task == "classification" else scores

    def loss(self, batch: Batch) -> Tensor:
        raise NotImplementedError

    def loss_and_scores(self, batch: Batch) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def backbone_parameters(self) -> Iterable[nn.Parameter]:
        return ()

    def weigh_classes(self, weights: Tensor | None) -> None:
        raise NotImplementedError

    def progress(self, share: float) -> None:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True)
        save_file(dict(self.state_dict()), folder / "model.safetensors")


@dataclass
class Cohort:
    """Makes tiles: texture in the class's colour, each patient stained a little differently."""

    seed: int = 0
    noise: float = 22.0
    side: int = 48
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def tile(self, ids: NDArray[np.integer], stain: NDArray[np.floating]) -> NDArray[np.uint8]:
        grain = self.rng.normal(0, 14, (self.side, self.side, 3))
        return np.clip(COLOURS[ids] + stain + grain, 0, 255).astype(np.uint8)

    def tiles(self, patients: int, per_patient: int, *, prefix: str) -> MemoryExamples:
        items: list[Example] = []
        for p in range(patients):
            for i in range(per_patient):
                k = (p + i // 4) % 3
                ids = np.full((self.side, self.side), k)
                image = self.tile(ids, self.rng.normal(0, self.noise, 3))
                items.append(_example(image, np.array(k, np.uint8), f"{prefix}{p}", i))
        return MemoryExamples(items)

    def masks(self, patients: int, per_patient: int, *, prefix: str) -> MemoryExamples:
        items: list[Example] = []
        rows, columns = np.mgrid[: self.side, : self.side]
        for p in range(patients):
            stain = self.rng.normal(0, self.noise, 3)
            for i in range(per_patient):
                y, x, r = self.rng.uniform(0.25, 0.75, 3) * self.side
                mask = ((rows - y) ** 2 + (columns - x) ** 2 < (r / 2) ** 2).astype(np.uint8)
                image = self.tile(mask, stain)
                mask[:2] = IGNORE_ID
                items.append(_example(image, mask, f"{prefix}{p}", i))
        return MemoryExamples(items)


def _example(image: NDArray[np.uint8], target: NDArray[np.uint8], patient: str, i: int) -> Example:
    slide = f"{patient}-s{i // 6}"
    return Example(image=image, target=target, key=f"{slide}/{i}", slide_id=slide, patient=patient)


def tile_set(
    *, patients: int = 6, per_patient: int = 12, estimate: str = "unseen patients"
) -> MemorySet:
    cohort = Cohort()
    train = cohort.tiles(6, 12, prefix="t")
    test = cohort.tiles(patients, per_patient, prefix="p")
    splits = {"train": train, "test": test}
    return MemorySet(splits, TISSUE, "classification", estimate=estimate)


def mask_set(
    *, patients: int = 5, per_patient: int = 6, estimate: str = "unseen patients"
) -> MemorySet:
    cohort = Cohort(noise=10.0)
    train = cohort.masks(4, 6, prefix="t")
    test = cohort.masks(patients, per_patient, prefix="p")
    return MemorySet({"train": train, "test": test}, GLANDS, "segmentation", estimate=estimate)


def relabelled(examples: MemoryExamples, at: int, target: int) -> MemoryExamples:
    items = list(examples.items)
    items[at] = replace(items[at], target=np.array(target, np.uint8))
    return MemoryExamples(items)


def relabelled_masks(examples: MemoryExamples) -> MemoryExamples:
    """All background: whoever learns from these knows no gland."""
    return MemoryExamples([replace(i, target=np.zeros_like(i.target)) for i in examples.items])
