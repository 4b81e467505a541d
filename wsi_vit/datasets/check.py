"""Data prove themselves before a GPU is asked for.

The usual traps: a class that no example shows, labels shifted by one, background counted as a class
by accident, masks that are ignored almost everywhere, a patient in two splits.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.cohort import SPLITS, Split
from wsi_vit.datasets.example import Example
from wsi_vit.datasets.image_targets import TargetReader
from wsi_vit.datasets.mask_census import Census, LabelledImage, take_census
from wsi_vit.datasets.reading import DatasetExamples, TrainingSet
from wsi_vit.datasets.splits import assert_disjoint
from wsi_vit.datasets.traps import problems_of, warnings_of
from wsi_vit.errors import DatasetError
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.section import Section

_SAMPLED = 16
"""Examples a split that are decoded and counted anew."""

_MOST_IGNORED = 0.95
_FEW_TO_TUNE_BY = 10


class SplitReport(Section):
    """What one split holds."""

    examples: int
    patients: int
    slides: int
    amount: dict[str, int]
    """Pixels (of masks) or examples (of classes and labels), by class."""
    ignored_share: float
    """Share of the masks' pixels that count nowhere, or of the labels that are not known."""
    sizes: tuple[str, ...]
    """Sizes of the examples that were decoded, such as `256x256`, width first."""


class LabelReport(Section):
    """What the labels of a dataset are, to be shown before training."""

    classes: tuple[str, ...]
    background: str | None
    background_share: float | None
    """Share of the labelled pixels or examples, over all splits."""
    splits: dict[str, SplitReport]
    warnings: tuple[str, ...]


class MaskReport(Section):
    """What masks and a label map make of each other, to be shown before a dataset is built."""

    census: Census
    problems: tuple[str, ...]
    """Why they must not be trained on; empty where all is well."""
    warnings: tuple[str, ...]


def check_masks(masks: Iterable[LabelledImage], reader: TargetReader) -> MaskReport:
    """Hold masks, with or without their images, against a label map and the known traps.

    Every mask is read once and taken from source ids to training ids, to export ids and back.
    Nothing is raised for what is wrong with them: all of it is in the report. `reader` comes from
    `TargetReader.of`; a bare `ImageSource` is enough for masks that belong to no source.
    """
    census = take_census(masks, reader)
    return MaskReport(
        census=census,
        problems=tuple(problems_of(census, reader)),
        warnings=tuple(warnings_of(census, reader)),
    )


def check_labels(dataset: TrainingSet) -> LabelReport:
    """Count what each split shows, decode a sample of it, and refuse what cannot be learnt.

    Raises:
        DatasetError: All faults at once: an empty split, a class that training never shows, labels
            that are not what was counted when the dataset was built, a patient in two splits.
    """
    parts: dict[Split, DatasetExamples] = {name: dataset.examples(name) for name in SPLITS}
    faults, sampled = list[str](), dict[Split, list[Example]]()
    for name, examples in parts.items():
        sampled[name] = _sample(examples)
        faults += _split_faults(name, examples, sampled[name], dataset)
    if dataset.task == "multi_label":
        faults += _never_lacking(parts["train"], dataset.labels)
    faults += _straddling(parts, dataset.split_kind)
    if faults:
        raise DatasetError(
            f"The dataset must not be trained on: {'; '.join(faults)}",
            got=dataset.folder,
            known=dataset.labels.names,
            remedy="Check the label map's sources, the annotations and the split, and build again",
        )
    reports = {str(name): _report(parts[name], sampled[name], dataset) for name in SPLITS}
    return LabelReport(
        classes=dataset.labels.names,
        background=dataset.labels.background,
        background_share=_background_share(reports, dataset.labels),
        splits=reports,
        warnings=(*dataset.warnings, *_warnings(reports, dataset)),
    )


def _sample(examples: DatasetExamples) -> list[Example]:
    """Decode examples spread evenly over the split."""
    count = min(_SAMPLED, len(examples))
    return examples.__getitems__([int(i) for i in np.linspace(0, len(examples) - 1, count)])


def _split_faults(
    name: Split, examples: DatasetExamples, sampled: list[Example], dataset: TrainingSet
) -> Iterator[str]:
    if not len(examples):
        if name != "test":
            yield f"the {name} split is empty"
        return
    amount = examples.counts.sum(axis=0)
    lacking = [word for word, held in zip(dataset.labels.names, amount, strict=False) if not held]
    if name == "train" and lacking:
        yield f"training never shows {', '.join(lacking)}"
    indices = np.linspace(0, len(examples) - 1, len(sampled)).astype(int)
    unlike = [
        example.key
        for example, stored in zip(sampled, examples.counts[indices], strict=True)
        if not np.array_equal(_counted(example, len(dataset.labels)), stored)
    ]
    if unlike:
        yield f"labels of {', '.join(unlike[:3])} are not what was counted when it was built"
    shapes = [e.key for e in sampled if e.target.ndim == 2 and e.target.shape != e.image.shape[:2]]
    if shapes:
        yield f"masks of {', '.join(shapes[:3])} are not the size of their images"


def _never_lacking(train: DatasetExamples, labels: LabelMap) -> Iterator[str]:
    """Yield what keeps labels from being told from nothing: no training example is without."""
    shown = train.presence
    constant = [
        name
        for index, name in enumerate(labels.names)
        if (shown[:, index] == 1).any() and not (shown[:, index] == 0).any()
    ]
    if constant:
        yield f"no training example is known to be without {', '.join(constant)}"


def _counted(example: Example, classes: int) -> NDArray[np.int64]:
    """Count a target as the dataset's `counts` do: training ids (or labels), then the ignored."""
    if example.target.ndim == 1:
        return np.append(example.target == 1, (example.target == IGNORE_ID).sum()).astype(np.int64)
    found = np.bincount(example.target.ravel(), minlength=256)
    return np.append(found[:classes], found[IGNORE_ID])


def _straddling(parts: Mapping[Split, DatasetExamples], split_kind: str) -> Iterator[str]:
    if split_kind == "regions":
        return
    patients = [patient for examples in parts.values() for patient in examples.patients]
    splits = [str(name) for name, examples in parts.items() for _ in range(len(examples))]
    try:
        assert_disjoint(patients, splits)
    except DatasetError as error:
        yield f"{error.what} ({error.got})"


def _report(examples: DatasetExamples, sampled: list[Example], dataset: TrainingSet) -> SplitReport:
    labels = dataset.labels
    if not len(examples):
        nothing: dict[str, Any] = {"examples": 0, "patients": 0, "slides": 0, "sizes": ()}
        return SplitReport(**nothing, amount=dict.fromkeys(labels.names, 0), ignored_share=0.0)
    amount = examples.counts.sum(axis=0)
    every = len(examples) * len(labels) if dataset.task == "multi_label" else amount.sum()
    return SplitReport(
        examples=len(examples),
        patients=len(set(examples.patients)),
        slides=len(set(examples.slide_ids)),
        amount={name: int(held) for name, held in zip(labels.names, amount, strict=False)},
        ignored_share=float(amount[-1] / every),
        sizes=tuple(sorted({f"{e.image.shape[1]}x{e.image.shape[0]}" for e in sampled})),
    )


def _rarely_chosen_by(validation: SplitReport) -> Iterator[str]:
    """Yield the labels whose thresholds few examples decide."""
    rare = [name for name, held in validation.amount.items() if held < _FEW_TO_TUNE_BY]
    if rare:
        yield (
            f"Fewer than {_FEW_TO_TUNE_BY} validation examples show {', '.join(rare)}: the "
            "threshold that is tuned on them is a guess."
        )


def _background_share(reports: Mapping[str, SplitReport], labels: LabelMap) -> float | None:
    if labels.background is None:
        return None
    total = sum(sum(report.amount.values()) for report in reports.values())
    return sum(report.amount[labels.background] for report in reports.values()) / total


def _warnings(reports: Mapping[str, SplitReport], dataset: TrainingSet) -> Iterator[str]:
    several = dataset.task == "multi_label"
    what, labels = "labels are not known" if several else "pixels are ignored", dataset.labels
    for name, report in reports.items():
        if report.ignored_share > _MOST_IGNORED:
            yield f"{report.ignored_share:.0%} of the {name} split's {what}."
    if several:
        yield from _rarely_chosen_by(reports["validation"])
    sizes = {size for report in reports.values() for size in report.sizes}
    if len(sizes) > 1:
        yield f"Images differ in size ({', '.join(sorted(sizes))}); models resize them."
    share = _background_share(reports, labels)
    if share is not None and share > _MOST_IGNORED:
        yield f"{share:.1%} is {labels.background}: judge by IoU, not by accuracy."
