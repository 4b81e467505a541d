"""Measure a masked autoencoder on images that it did not learn from."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsi_vit.datasets.example import Example
from wsi_vit.errors import DatasetError
from wsi_vit.evaluation.findings import MeasuredSet, SplitName, draws_for
from wsi_vit.evaluation.inference import SplitExamples
from wsi_vit.evaluation.intervals import FEW_PATIENTS, PatientDraws, bounds
from wsi_vit.evaluation.pretraining.records import PretrainingEvaluation
from wsi_vit.evaluation.records import REGIONS, Score, tidy
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.evaluation.units import one_of, so_many
from wsi_vit.models.pretraining.mae import Mae, Reconstruction
from wsi_vit.store import file_digest

Errors = NDArray[np.float64]


def measure_pretraining(
    model: Mae,
    dataset: MeasuredSet,
    *,
    split: SplitName,
    section: EvaluationSection,
    model_folder: Path,
) -> PretrainingEvaluation:
    """Measure a model on one split; what is hidden follows from each image, so it is repeatable.

    Raises:
        DatasetError: The split is empty.
    """
    examples = dataset.examples(split)
    if not len(examples):
        raise DatasetError(
            f"The {split} split is empty", remedy="Give it a share in the recipe's `split`"
        )
    ours, trivial = _errors(model, examples, batch_size=section.batch_size)
    patients = tuple(examples.patients)
    draws = draws_for(patients, dataset, section)
    return PretrainingEvaluation(
        split=split,
        estimate=dataset.estimate,
        dataset_digest=dataset.digest,
        split_digest=dataset.split_digest,
        model_digest=file_digest(model_folder / "model.safetensors"),
        resamples=section.resamples,
        seed=section.seed,
        examples=len(examples),
        patients=len(set(patients)),
        unit=dataset.unit,
        hidden_share=model.section.hidden_share,
        error=_score("error", ours, patients, draws),
        mean_colour=_score("mean colour", trivial, patients, draws),
        gain=_score("gain", trivial - ours, patients, draws),
        warnings=tuple(_warnings(dataset, split, len(set(patients)))),
    )


def reconstructions(
    model: Mae, examples: SplitExamples, *, batch_size: int
) -> Iterator[tuple[list[Example], Reconstruction]]:
    """Yield batches of examples, in order, with what the model draws of them.

    The model is left in the mode (training or not) it was found in.
    """
    device = next(iter(model.parameters())).device
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(examples), batch_size):
            batch = examples.__getitems__(range(start, min(start + batch_size, len(examples))))
            yield batch, model.reconstruct(model.collate(batch)["images"].to(device))
    finally:
        model.train(was_training)


def _errors(model: Mae, examples: SplitExamples, *, batch_size: int) -> tuple[Errors, Errors]:
    found = [made for _, made in reconstructions(model, examples, batch_size=batch_size)]
    ours = torch.cat([made.error for made in found])
    trivial = torch.cat([made.mean_colour_error for made in found])
    return ours.double().cpu().numpy(), trivial.double().cpu().numpy()


def _score(
    name: str, values: Errors, patients: tuple[str, ...], draws: PatientDraws | None
) -> Score:
    if draws is None:
        return Score(name=name, value=tidy(values.mean()))
    low, high = bounds(draws.of_means(values, patients))
    return Score(name=name, value=tidy(values.mean()), low=tidy(low), high=tidy(high))


def _warnings(dataset: MeasuredSet, split: SplitName, patients: int) -> Iterator[str]:
    if dataset.estimate == REGIONS:
        yield "Learnt and judged on regions of the same patient: no estimate on unseen patients"
    elif patients < FEW_PATIENTS:
        yield (
            f"Only {so_many(patients, dataset.unit)}: intervals over fewer than {FEW_PATIENTS} are "
            f"rough, and one {one_of(dataset.unit)} has none"
        )
    if split != "test":
        yield f"Measured on the {split} split, which chose the weights"
    yield (
        "A low error is no proof that a classifier gains by it: compare one that begins from these "
        "weights with one that does not"
    )
