"""What happens to an image before a network, as plain values that are saved with every model."""

from pydantic import Field

from wsi_vit.section import Section

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Channels = tuple[float, float, float]
"""One number for each of red, green and blue."""


class Preprocessing(Section):
    """What happens to an image before the network; saved with every model."""

    input_px: int = Field(ge=8, le=8192)
    """Side of the square image the network works on."""
    mean: Channels = IMAGENET_MEAN
    """Subtracted from images in 0..1."""
    std: Channels = IMAGENET_STD
    """What the difference is divided by."""
