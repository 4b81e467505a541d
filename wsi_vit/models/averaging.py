"""Scores of a picture averaged over mirrored and turned views of it (test-time augmentation)."""

from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:  # the command line names the choices without waiting for torch
    from torch import Tensor

    from wsi_vit.models.model import Model

Average = Literal["none", "flips", "symmetries"]
"""Over which views scores are averaged. `none`: the picture alone. `flips`: it and its mirror image
left to right, for photographs, which have an up and a down. `symmetries`: all eight views that
quarter turns and mirroring give, for pictures without an up and a down, such as tissue."""

_VIEWS: dict[Average, tuple[tuple[bool, int], ...]] = {
    "none": ((False, 0),),
    "flips": ((False, 0), (True, 0)),
    "symmetries": tuple((mirrored, turns) for mirrored in (False, True) for turns in range(4)),
}
"""Whether the picture is mirrored first, and how many quarter turns it makes then."""


def averaged_scores(model: "Model", images: "Tensor", average: Average) -> "Tensor":
    """Return the mean of a model's scores over views of uint8 images (B, 3, H, W).

    Maps of scores are turned back before they are averaged, so that each pixel keeps its place.
    The shape is that of `model.scores`: (B, classes), or (B, classes, H, W). The mean is taken over
    softmax scores, as Krizhevsky et al. (NeurIPS 2012, section 4.1) do over reflections.
    """
    views = _VIEWS[average]
    scores = _seen(model, images, *views[0])
    for view in views[1:]:
        scores = scores + _seen(model, images, *view)
    return scores / len(views)


def averaged(model: "Model", average: Average) -> "Model":
    """Return a model whose scores are averaged over views, so that it is judged as it is applied.

    All else is the model's own; nothing is copied.
    """
    return model if average == "none" else cast("Model", _Averaged(model, average))


class _Averaged:
    """A model seen through its averaged scores."""

    def __init__(self, model: "Model", average: Average) -> None:
        self._model = model
        self._average: Average = average

    def scores(self, images: "Tensor") -> "Tensor":
        """Return the mean of the model's scores over views."""
        return averaged_scores(self._model, images, self._average)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _seen(model: "Model", images: "Tensor", mirrored: bool, turns: int) -> "Tensor":  # noqa: FBT001
    """Return the scores of one view, on the pixels of the picture as it was."""
    view = (images.flip(-1) if mirrored else images).rot90(turns, (-2, -1))
    scores = model.scores(view.contiguous()).float()
    if scores.ndim == 2:
        return scores
    upright = scores.rot90(-turns, (-2, -1))
    return upright.flip(-1) if mirrored else upright
