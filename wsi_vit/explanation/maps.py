"""From a model and pictures to maps on the grid of its patches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from wsi_vit.errors import ModelError, UsageError
from wsi_vit.explanation.features import grad_cam
from wsi_vit.explanation.rollout import (
    followed,
    gradient_matrices,
    looked_at,
    rollout_matrices,
    with_learned,
)
from wsi_vit.explanation.section import ExplanationSection, Method
from wsi_vit.models.attended import Attended, FeatureMaps
from wsi_vit.prediction.applied import AppliedModel, Pixels

_GRAPH_BYTES = 512 * 4
"""What a convolutional network keeps for its gradients of each pixel of its input, generously."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What a model looked at in pictures."""

    maps: NDArray[np.float32]
    """(B, parts, rows, columns), 0 or more: one part, or one a head or a learned token."""
    scores: NDArray[np.float32]
    """(B, classes)."""
    class_ids: NDArray[np.int64]
    """The class that each was explained for, (B,)."""

    @property
    def whole(self) -> NDArray[np.float32]:
        """The parts together, (B, rows, columns)."""
        return self.maps.mean(1)


class Explainer:
    """A model with a method that fits it.

    Raises:
        ModelError: The model cannot be explained in this way, or in any.
        UsageError: It does not know the class.
    """

    def __init__(self, applied: AppliedModel, section: ExplanationSection) -> None:
        self.applied, self.section = applied, section
        self.class_id = _class_id(applied, section.class_name)
        side = applied.model.input_px
        blank = torch.full((1, 3, side, side), 128, dtype=torch.uint8, device=applied.device)
        with torch.no_grad():
            attended = self._asked("attended", blank)
            features = self._asked("feature_maps", blank)
        self.method: Method = _fitting(section.method, attended, features, applied)
        self.grid = _grid(self.method, attended, features)
        """Rows and columns of a map."""
        self._held = _held_bytes(attended, self.method, side)

    @property
    def batch_size(self) -> int:
        """How many pictures may go through at once."""
        fitting = int(self.section.memory_mb * 1e6 / self._held)
        return max(1, min(self.section.batch_size, fitting))

    def explain(self, images: Sequence[Pixels]) -> Explained:
        """Return the maps of pictures of one size, (height, width, 3) each.

        Raises:
            ModelError: What the model says is not finite.
        """
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        stacked = stacked.to(self.applied.device)
        with torch.set_grad_enabled(self.method in ("gradient", "gradcam")):
            if self.method == "gradcam":
                found, logits, ids = self._from_features(stacked)
            else:
                found, logits, ids = self._from_attention(stacked)
        if not bool(found.isfinite().all()):
            raise ModelError(
                "The model's attention cannot be used: it is not finite",
                got=f"method {self.method}",
                remedy="Train it again; its loss was probably not finite",
            )
        scores = _scores(logits.detach(), self.applied)
        return Explained(found.float().cpu().numpy(), scores.cpu().numpy(), ids.cpu().numpy())

    def _from_attention(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen: Attended = self._asked("attended", images)
        ids = self._class_ids(seen.logits)
        tokens = seen.attention[-1].shape[-1]
        start = _start(seen, ids, tokens).to(images.device)
        if self.method == "tokens":
            assert seen.learned is not None
            return seen.learned.maps.unflatten(2, seen.grid), seen.logits, ids
        rows = {
            "rollout": self._rollout,
            "gradient": lambda seen, start: _gradient_rollout(seen, start, ids),
            "attention": lambda seen, start: _last_attention(seen, start),
        }[self.method](seen, start)
        return rows[:, :, seen.special :].unflatten(2, seen.grid).detach(), seen.logits, ids

    def _rollout(self, seen: Attended, start: Tensor) -> Tensor:
        section = self.section
        matrices = rollout_matrices(seen.attention, fusion=section.fusion, discard=section.discard)
        return followed(with_learned(matrices, seen.learned, special=seen.special), start)

    def _from_features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen: FeatureMaps = self._asked("feature_maps", images)
        ids = self._class_ids(seen.logits)
        (gradients,) = torch.autograd.grad(_said_for(seen.logits, ids), [seen.last])
        found = grad_cam(seen.as_maps(seen.last), seen.as_maps(gradients))
        return found[:, None].detach(), seen.logits, ids

    def _class_ids(self, logits: Tensor) -> Tensor:
        if self.class_id is not None:
            return torch.full((len(logits),), self.class_id, device=logits.device)
        scores = _scores(logits.detach(), self.applied)
        background = self.applied.model.labels.background_id
        if logits.ndim == 4 and background is not None:
            scores[:, background] = -1  # where nothing is, nothing needs explaining
        return scores.argmax(1)

    def _asked(self, what: str, images: Tensor) -> Any:
        answer = getattr(self.applied.model, what, None)
        return None if answer is None else answer(images)


def _gradient_rollout(seen: Attended, start: Tensor, class_ids: Tensor) -> Tensor:
    """Return the relevance of the first tokens, (B, 1, tokens), without what each has of itself."""
    gradients = torch.autograd.grad(_said_for(seen.logits, class_ids), seen.attention)
    matrices = gradient_matrices([one.detach() for one in seen.attention], gradients)
    own = [torch.eye(one.shape[-1], device=one.device).expand_as(one) for one in matrices]
    ways = (with_learned(each, seen.learned, special=seen.special) for each in (matrices, own))
    relevance, itself = (followed(way, start) for way in ways)
    return (relevance - itself).clamp(min=0)


def _last_attention(seen: Attended, start: Tensor) -> Tensor:
    """Return what the head's tokens take of the patches in the last block, (B, heads, tokens).

    Learned tokens are traced back to the patches they were learned from.
    """
    rows = (start[:, None] @ seen.attention[-1])[:, :, 0]
    if seen.learned is None:
        return rows
    (learner,) = with_learned([], replace(seen.learned, after_block=0), special=seen.special)
    return rows @ learner


def _said_for(logits: Tensor, class_ids: Tensor) -> Tensor:
    """Return the sum of the logits of each picture's class; pictures do not mix.

    Of logits a pixel (B, classes, H, W), those of the pixels that are given to the class count.
    """
    own = logits[torch.arange(len(logits), device=logits.device), class_ids]
    if logits.ndim == 2:
        return own.sum()
    given = logits.detach().argmax(1) == class_ids[:, None, None]
    return (own * given).sum()


def _start(seen: Attended, class_ids: Tensor, tokens: int) -> Tensor:
    """Return how much the head of what is explained sees of each last token, (1 or B, 1, tokens).

    Where each class has a token of its own, that is the one.
    """
    if seen.own_tokens:
        return one_hot(class_ids, tokens)[:, None].float()
    return looked_at(seen.pool, special=seen.special, tokens=tokens)[None]


def _scores(logits: Tensor, applied: AppliedModel) -> Tensor:
    """Return the scores of classes, (B, classes), of labels each alone; of pixels their mean."""
    if applied.thresholds is not None:
        return logits.float().sigmoid()
    scores = logits.float().softmax(1)
    return scores if scores.ndim == 2 else scores.mean((2, 3))


def _class_id(applied: AppliedModel, name: str | None) -> int | None:
    names = applied.model.labels.names
    if name is None or name in names:
        return None if name is None else names.index(name)
    raise UsageError(
        "The model does not know this class", got=name, known=names, remedy="Name one of its own"
    )


def _fitting(
    asked: Method | None,
    attended: Attended | None,
    features: FeatureMaps | None,
    applied: AppliedModel,
) -> Method:
    """Return the method to explain with: the one asked for, or the first that the model has."""
    known: list[Method] = ["rollout", "gradient", "attention"] if attended else []
    if attended and attended.learned:
        known.append("tokens")
    if features:
        known.append("gradcam")
    if not known:
        raise ModelError(
            "This kind of model cannot be explained: neither do all its patches attend to each"
            " other, nor does its head pool feature maps",
            got=f"{type(applied.model).__name__} ({applied.model.task})",
            known=["ViT-like classifiers", "convolutional networks"],
            remedy="Look at what it predicts, with `wsi-vit predict`",
        )
    if asked is None or asked in known:
        return asked or known[0]
    raise ModelError(
        f"This model has nothing that {asked} could show",
        got=f"--method {asked}",
        known=known,
        remedy="Choose one of these",
    )


def _grid(
    method: Method, attended: Attended | None, features: FeatureMaps | None
) -> tuple[int, int]:
    if method != "gradcam":
        assert attended is not None
        return attended.grid
    assert features is not None
    return features.grid


def _held_bytes(attended: Attended | None, method: Method, input_px: int) -> int:
    """Return about how much a picture needs while it is explained."""
    if attended is None:
        return input_px**2 * _GRAPH_BYTES
    held = sum(one.numel() * one.element_size() for one in attended.attention)
    return held * (3 if method == "gradient" else 2)
