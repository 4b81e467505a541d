"""What the sections of all models say."""

from typing import TYPE_CHECKING, ClassVar

from wsi_vit.datasets.example import Task
from wsi_vit.errors import ModelError
from wsi_vit.models.preprocessing import Channels
from wsi_vit.models.start import Start
from wsi_vit.section import Section

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class ModelSection(Section):
    """A model: where its first weights come from, and what it takes."""

    task: ClassVar[Task]
    """What models of this kind predict."""
    start: Start
    input_px: int
    """Side of the square image that the network works on."""
    mean: Channels | None = None
    """Absent: what the checkpoint was trained with, or ImageNet's."""
    std: Channels | None = None


def refuse_size(config: "PreTrainedConfig", input_px: int) -> None:
    """Refuse an input that patches do not fill.

    Raises:
        ModelError: Naming the sizes next to it.
    """
    patch = patch_px(config)
    if input_px % patch == 0:
        return
    raise ModelError(
        f"The input size is no multiple of the patch size {patch}: border pixels would be unseen",
        got=f"input_px {input_px}",
        known=[input_px // patch * patch, (input_px // patch + 1) * patch],
        remedy="Choose one of these sizes",
    )


def patch_px(config: "PreTrainedConfig") -> int:
    """Return the side of a network's patches; 1 where it has none."""
    patch = getattr(config, "patch_size", 1)
    return patch if isinstance(patch, int) else patch[0]
