"""The augmentation of a recipe, to be seen: training samples as they are, and as learnt from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from wsi_vit.datasets.augmentation.batches import augment
from wsi_vit.datasets.example import Example
from wsi_vit.datasets.reading import DatasetExamples, TrainingSet, open_dataset
from wsi_vit.errors import DatasetError
from wsi_vit.labels import LabelMap
from wsi_vit.models.pixels import stack_examples
from wsi_vit.pipeline.outcomes import Progress, silent
from wsi_vit.pipeline.sheets import Cell, class_words, draw_grid, plain, save_sheet, tinted
from wsi_vit.pipeline.tiling import build, tile_cohort
from wsi_vit.prediction.drawing import Heading, class_legend
from wsi_vit.recipe import Recipe
from wsi_vit.settings import Settings
from wsi_vit.training.randomness import generator_of

_DRAWS = 4
_CELL_PX = 300


def show_augmentation(
    recipe: Recipe, *, out: Path | None = None, settings: Settings, progress: Progress = silent
) -> Path:
    """Draw training samples and augmented draws of each, with masks below; return the PNG.

    The draws are those of the training loop: its `augment`, on batches of the model's input size,
    seeded as the first step of each of the first epochs. The picture goes to `out`, else to
    `checks/<recipe>` beside the runs.

    Raises:
        DatasetError: The dataset cannot be built, or its training split is empty.
    """
    folder = settings.runs / "checks" / recipe.name if out is None else out
    outcomes = tile_cohort(recipe, settings=settings, progress=progress)
    data = open_dataset(build(recipe, outcomes, settings=settings).folder)
    masks = data.task == "segmentation"
    samples = telling_examples(data, 3 if masks else 6)
    drawn = _drawn(samples, recipe, data)
    sheet = draw_grid(
        Heading(f"Augmentation of {recipe.name}", _said(recipe)),
        ["as it is", *(f"drawn in epoch {number}" for number in range(1, _DRAWS + 1))],
        [row for pictures in drawn for row in _rows(pictures, data.labels)],
        class_legend(data.labels) if masks else [],
        cell_px=_CELL_PX,
    )
    return save_sheet(sheet, folder / "augmentation.png")


def draw_examples(data: TrainingSet, path: Path) -> Path:
    """Draw training samples with their labels; return the PNG.

    Raises:
        DatasetError: The training split is empty.
    """
    masks = data.task == "segmentation"
    samples = telling_examples(data, 3 if masks else 12)
    across = 1 if masks else 4
    groups = [samples[start : start + across] for start in range(0, len(samples), across)]
    rows = [
        [Cell(plain(sample, _CELL_PX), _words(sample, data.labels)) for sample in group]
        + [Cell(tinted(sample, data.labels, _CELL_PX)) for sample in group if masks]
        for group in groups
    ]
    sheet = draw_grid(
        Heading("Training samples with their labels", str(data.facts["name"])),
        ["image", "its classes"] if masks else [""] * across,
        rows,
        class_legend(data.labels),
        cell_px=_CELL_PX,
    )
    return save_sheet(sheet, path)


def telling_examples(data: TrainingSet, most: int) -> list[Example]:
    """Return training examples that show the classes, the rarest class first.

    Of each class the example that holds most of it, then those that hold next most; background
    alone is shown only where there is nothing else.

    Raises:
        DatasetError: The training split is empty.
    """
    examples = data.examples("train")
    if not len(examples):
        raise DatasetError(
            "There is no training sample to show", got=data.folder, remedy="Mend the split"
        )
    ranked = _ranked(examples, data.labels.background_id)
    spread = range(0, len(examples), max(1, len(examples) // most))
    return examples.__getitems__(list(dict.fromkeys([*ranked, *spread]))[:most])


def _ranked(examples: DatasetExamples, background: int | None) -> list[int]:
    """Return positions: best of each class, rarest class first, then second best, and so on."""
    counts = examples.counts[:, :-1]
    classes = [
        int(index)
        for index in np.argsort(counts.sum(axis=0), kind="stable")
        if index != background and counts[:, index].any()
    ]
    best = [np.argsort(-counts[:, index], kind="stable")[: len(examples)] for index in classes]
    return [
        int(order[rank])
        for rank in range(len(examples))
        for index, order in zip(classes, best, strict=True)
        if counts[order[rank], index]
    ]


def _rows(pictures: Sequence[Example], labels: LabelMap) -> list[list[Cell]]:
    """Return a row of pictures, and one below it of the same with their masks."""
    first = [Cell(plain(item, _CELL_PX)) for item in pictures]
    first[0] = Cell(first[0].picture, _words(pictures[0], labels))
    if pictures[0].target.ndim < 2:
        return [first]
    return [first, [Cell(tinted(item, labels, _CELL_PX)) for item in pictures]]


def _words(example: Example, labels: LabelMap) -> str:
    return " · ".join(filter(None, [class_words(example, labels), example.key]))


def _said(recipe: Recipe) -> str:
    side_px = recipe.model.input_px
    told = f"preset {recipe.augmentation.preset}, {side_px} x {side_px} px, seed "
    return f"{told}{recipe.training.seed}" + (
        "; faded pixels are ignored" if recipe.task == "segmentation" else ""
    )


def _drawn(samples: Sequence[Example], recipe: Recipe, data: TrainingSet) -> list[list[Example]]:
    """Return each sample at the model's input size, then augmented as the training loop does it."""
    batch = stack_examples(
        samples, labels=data.labels, task=data.task, side_px=recipe.model.input_px
    )
    drawn = [(batch["images"], batch["targets"])]
    for epoch in range(1, _DRAWS + 1):
        generator = generator_of("augmentation", recipe.training.seed, epoch, 0)
        drawn.append(augment(batch["images"], batch["targets"], recipe.augmentation, generator))
    return [
        [_example(sample, images[place], targets[place]) for images, targets in drawn]
        for place, sample in enumerate(samples)
    ]


def _example(sample: Example, image: torch.Tensor, target: torch.Tensor) -> Example:
    return Example(
        image=image.permute(1, 2, 0).contiguous().numpy(),
        target=target.to(torch.uint8).numpy(),
        key=sample.key,
        slide_id=sample.slide_id,
        patient=sample.patient,
    )
