"""Our model, asked by table: encoded images in, one row of plain findings out for each."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.averaging import Average, averaged_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from wsi_vit.models.model import Model

IMAGE = "image"
"""The one column that comes in: JPEG or PNG bytes."""
LABEL, MASK = "label", "class_map"
_LARGEST_MEGAPIXELS = 64


class _Applied(BaseModel):
    """What a service needs from a model's `prediction.json`, which the prediction room writes."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    average: Average = "none"


@dataclass(frozen=True)
class ServedModel:
    """A loaded model with what it needs to answer."""

    model: "Model"
    average: Average = "none"
    """Over which views of an image its scores are averaged, as saved with the model."""

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load a `model/` folder; its digests are checked, and nothing in it is run.

        Raises:
            ModelError: The folder is no model of ours, or damaged.
        """
        from wsi_vit.models.load import load_model

        return cls(load_model(Path(folder)), _saved_average(Path(folder) / "prediction.json"))

    def rows(self, images: Sequence[bytes]) -> list[dict[str, Any]]:
        """Return the findings of each encoded image, in the same order.

        Classification: `label`, and `score_<class>` for each class. Several labels: `has_<label>`
        and `score_<label>` for each. Segmentation: `class_map`, the
        bytes of a PNG as large as the image, its values being export ids, and `share_<class>`, the
        share of its pixels. An image is resized to the model's input as a whole.

        Raises:
            ModelError: Bytes that are no image, or an image beyond 64 megapixels.
        """
        return [self._row(_decode(data, place)) for place, data in enumerate(images)]

    def _row(self, image: "NDArray[np.uint8]") -> dict[str, Any]:
        import torch

        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        with torch.inference_mode():
            scores = averaged_scores(self.model, pixels, self.average)[0].float().cpu()
        if self.model.task == "classification":
            return self._named(scores)
        if self.model.task == "multi_label":
            return self._called(scores)
        return self._mapped(scores, size=(image.shape[0], image.shape[1]))

    def _named(self, scores: "Tensor") -> dict[str, Any]:
        names = self.model.labels.names
        row: dict[str, Any] = {LABEL: names[int(scores.argmax())]}
        return row | {f"score_{n}": float(s) for n, s in zip(names, scores, strict=True)}

    def _called(self, scores: "Tensor") -> dict[str, Any]:
        model: Any = self.model  # this kind alone has thresholds
        names, found = self.model.labels.names, scores.tolist()
        called = zip(names, found, model.thresholds, strict=True)
        row: dict[str, Any] = {f"has_{name}": score >= limit for name, score, limit in called}
        return row | {f"score_{name}": score for name, score in zip(names, found, strict=True)}

    def _mapped(self, scores: "Tensor", *, size: tuple[int, int]) -> dict[str, Any]:
        import numpy as np
        import torch.nn.functional as F  # noqa: N812  (the name everybody knows)

        if tuple(scores.shape[-2:]) != size:
            scores = F.interpolate(scores[None], size=size, mode="bilinear")[0]
        mask = scores.argmax(0).numpy().astype(np.uint8)
        shares = np.bincount(mask.ravel(), minlength=len(self.model.labels)) / mask.size
        row: dict[str, Any] = {MASK: _png(self.model.labels.export(mask))}
        names = self.model.labels.names
        return row | {f"share_{n}": float(s) for n, s in zip(names, shares, strict=True)}


def columns_out(labels: LabelMap, task: str) -> Mapping[str, str]:
    """Return the name and MLflow type of each column that comes out, in order."""
    if task == "classification":
        return {LABEL: "string"} | {f"score_{name}": "double" for name in labels.names}
    if task == "multi_label":
        present = {f"has_{name}": "boolean" for name in labels.names}
        return present | {f"score_{name}": "double" for name in labels.names}
    return {MASK: "binary"} | {f"share_{name}": "double" for name in labels.names}


def _saved_average(path: Path) -> Average:
    if not path.is_file():
        return "none"
    try:
        return _Applied.model_validate_json(path.read_bytes()).average
    except ValidationError as error:
        raise ModelError(
            "The settings saved with a model cannot be read",
            got=path,
            remedy="Serve the model with the version of wsi-vit that trained it",
        ) from error


def _decode(data: bytes, place: int) -> "NDArray[np.uint8]":
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            width, height = image.size
            if width * height > _LARGEST_MEGAPIXELS * 1e6:
                raise _odd(place, f"{width} x {height} pixels")
            return np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise _odd(place, f"{len(data)} bytes ({error.__class__.__name__})") from error


def _odd(place: int, got: str) -> ModelError:
    return ModelError(
        f"Row {place} of the column `{IMAGE}` cannot be used",
        got=got,
        known=["JPEG", "PNG", f"at most {_LARGEST_MEGAPIXELS} megapixels"],
        remedy="Send the bytes of an image file; whole slides go through wsi-vit predict",
    )


def _png(mask: "NDArray[np.uint8]") -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return stream.getvalue()
