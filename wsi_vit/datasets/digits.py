"""Handwritten digits: pictures that every machine has, for trying things out in minutes.

They come with scikit-learn: the test part of "Optical Recognition of Handwritten Digits" (Alpaydin
and Kaynak 1998, UCI, CC BY 4.0), 1,797 pictures of 8 x 8 pixels in 17 greys. Thirteen people wrote
them, and who wrote which is not told: figures are no estimate on unseen writers.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

from pydantic import Field

from wsi_vit.datasets.example import Task
from wsi_vit.datasets.images import ImageSource, SourceImage, bytes_digest

_BRIGHTEST = 16


class DigitsSource(ImageSource):
    """The digits of scikit-learn, enlarged to RGB pictures; classes are `0` to `9`."""

    kind: Literal["digits"] = "digits"
    side_px: int = Field(default=28, ge=8, le=512)
    """Side of the pictures; bicubic between the 8 x 8 pixels."""

    def unfit(self, task: Task) -> list[str]:
        """Return why it cannot serve a task: it has no masks, and one class a picture."""
        return ["digits have classes, and no masks"] if self.has_masks_for(task) else []

    def find(self) -> list[SourceImage]:
        """Return the digits in scikit-learn's order."""
        from sklearn.datasets import load_digits

        found: Any = load_digits()
        return [
            SourceImage(
                relative=f"digit {number}",
                slide_id=f"{number:04}",
                patient=f"{number:04}",
                pixels=_Drawn(_png(greys, self.side_px)),
                word=str(word),
            )
            for number, (greys, word) in enumerate(zip(found.images, found.target, strict=True))
        ]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A picture that was just encoded."""

    data: bytes

    def digest(self) -> str:
        """Return the sha256 of the bytes."""
        return bytes_digest(self.data)

    def read(self) -> bytes:
        """Return the bytes."""
        return self.data


def _png(greys: Any, side_px: int) -> bytes:
    """Return greys (8, 8) from 0 to 16 as an RGB PNG."""
    from PIL import Image

    picture = Image.fromarray((greys * (255 / _BRIGHTEST)).round().astype("uint8"))
    large = picture.resize((side_px, side_px), Image.Resampling.BICUBIC).convert("RGB")
    stream = BytesIO()
    large.save(stream, "PNG")
    return stream.getvalue()
