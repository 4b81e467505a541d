"""An anomaly score with its limit, fitted on training examples and kept beside a model."""

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import Tensor

from wsi_vit.errors import ModelError
from wsi_vit.models.anomaly.distances import Distance, Mahalanobis, Neighbours, fitted_distance
from wsi_vit.models.anomaly.section import AnomalySection
from wsi_vit.models.folder import WEIGHTS, read_part
from wsi_vit.section import Section
from wsi_vit.store import file_digest, write_whole

ANOMALY = "anomaly.safetensors"
"""The scorer's file beside a model's weights."""

_NOTE = "wsi_vit"
_FOLDS = 5
_USUAL = 0.99

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What a model's head saw of training examples."""

    features: Tensor
    """Float32 (n, features)."""
    classes: NDArray[np.int64]
    """Training ids, (n,)."""
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.patients)

    def only(self, kept: NDArray[np.bool_]) -> "Known":
        """Return some of the examples; `kept` is (n,)."""
        patients = tuple(p for p, is_kept in zip(self.patients, kept, strict=True) if is_kept)
        return Known(
            features=self.features[torch.from_numpy(kept)],
            classes=self.classes[kept],
            patients=patients,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnomalyScorer:
    """Tells how unlike the training examples a picture is."""

    section: AnomalySection
    distance: Distance
    limit: float
    """99 of 100 training examples score less, each asked without its patient: see `fit_scorer`."""
    examples: int
    """That it was fitted on."""
    usual_share: float | None = None
    """Share of the test split beyond the limit: what is usual on patients it does not know."""

    @property
    def digest(self) -> str:
        """The sha256 of what decides its scores and what is said of them."""
        return sha256(_bytes_of(self, weights="")).hexdigest()

    def scores(self, features: Tensor) -> Floats:
        """Return the scores (n,) of features (n, features); beyond `limit` is unusual.

        Raises:
            ModelError: It was fitted on features of another width.
        """
        width = next(iter(self.distance.tensors().values())).shape[1]
        if features.shape[1] != width:
            raise ModelError(
                "The anomaly score was fitted on other features than this model's",
                got=f"{features.shape[1]} features",
                known=[width],
                remedy="Evaluate the run again; it fits the score anew",
            )
        return self.distance(features.cpu()).numpy()

    def refitted(self, known: Known) -> "AnomalyScorer":
        """Return the same score fitted on other examples; its limit stays what it was."""
        return replace(self, distance=_fitted(known, self.section), examples=len(known))


def fit_scorer(known: Known, section: AnomalySection, *, seed: int) -> AnomalyScorer:
    """Fit a score on training examples, and find what is usual for it.

    Examples are nearer to a score that was fitted on them, or on their neighbours on the slide,
    than any other ever is. So the limit is the 99th percentile of what the examples score when
    they are left out together with their whole patient: one fifth of the patients at a time (of
    the examples, where all are one patient's).

    Raises:
        ModelError: There are too few examples.
    """
    if len(known) < 2 * _FOLDS:
        raise ModelError(
            "Too few training examples for an anomaly score",
            got=len(known),
            known=[f"{2 * _FOLDS} or more"],
            remedy="Leave `evaluation.anomaly` out, or bring more labelled examples",
        )
    return AnomalyScorer(
        section=section,
        distance=_fitted(known, section),
        limit=float(np.quantile(_left_out(known, section, seed), _USUAL)),
        examples=len(known),
    )


def _fitted(known: Known, section: AnomalySection) -> Distance:
    return fitted_distance(known.features, torch.from_numpy(known.classes), section)


def _left_out(known: Known, section: AnomalySection, seed: int) -> Floats:
    """Return each example's score by a score that was fitted without its fold, (n,)."""
    _, unit = np.unique(np.asarray(known.patients), return_inverse=True)
    if unit.max() == 0:
        unit = np.arange(len(known))
    shuffled = np.random.default_rng(seed).permutation(unit.max() + 1)
    fold = shuffled[unit] % min(_FOLDS, len(shuffled))
    scores = np.empty(len(known))
    for number in np.unique(fold):
        out = fold == number
        distance = _fitted(known.only(~out), section)
        scores[out] = distance(known.features[torch.from_numpy(out)]).numpy()
    return scores


class _Note(Section):
    """What the file says beside its tensors."""

    version: int = Field(default=1, le=1)
    section: AnomalySection
    limit: float
    examples: int
    usual_share: float | None
    weights: str
    """The sha256 of the weights whose features it knows."""


def save_scorer(scorer: AnomalyScorer, folder: Path) -> Path:
    """Write a scorer beside the weights of a model's folder; return its path.

    Raises:
        ModelError: The folder is no model of ours.
    """
    path = folder / ANOMALY
    with write_whole(path) as scratch:
        scratch.write_bytes(_bytes_of(scorer, weights=read_part(folder).sha256[WEIGHTS]))
    return path


def _bytes_of(scorer: AnomalyScorer, *, weights: str) -> bytes:
    from safetensors.torch import save

    note = _Note(
        section=scorer.section,
        limit=scorer.limit,
        examples=scorer.examples,
        usual_share=scorer.usual_share,
        weights=weights,
    )
    tensors = {name: value.contiguous() for name, value in scorer.distance.tensors().items()}
    return save(tensors, metadata={_NOTE: note.model_dump_json()})


def load_scorer(folder: Path) -> AnomalyScorer | None:
    """Read the scorer beside a model's weights; None where there is none.

    Raises:
        ModelError: It is damaged, another version's, or belongs to other weights.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / ANOMALY
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            note = _Note.model_validate(json.loads((file.metadata() or {})[_NOTE]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        distance = _distance(note.section, tensors)
    except (SafetensorError, ValidationError, ValueError, KeyError, TypeError) as error:
        raise _unlike(path, f"damaged or another version's ({type(error).__name__})") from error
    if note.weights != file_digest(folder / WEIGHTS):
        raise _unlike(path, "fitted on other weights than these")
    return AnomalyScorer(
        section=note.section,
        distance=distance,
        limit=note.limit,
        examples=note.examples,
        usual_share=note.usual_share,
    )


def _distance(section: AnomalySection, tensors: dict[str, Tensor]) -> Distance:
    if section.score == "knn":
        bank = tensors["bank"]
        return Neighbours(bank=bank, neighbours=min(section.neighbours, len(bank)))
    return Mahalanobis(whitening=tensors["whitening"], means=tensors["means"])


def _unlike(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"An anomaly score cannot be used: {reason}",
        got=path,
        remedy="Evaluate the run again, or delete the file: the model works without it",
    )
