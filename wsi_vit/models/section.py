"""What the sections of all models say, and how a model comes to be from them."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from wsi_vit.datasets.example import Task
from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import normalisation_of
from wsi_vit.models.network import NetworkModel
from wsi_vit.models.pixels import IMAGENET_MEAN, IMAGENET_STD, Channels, Preprocessing
from wsi_vit.models.start import ConfigStart, Start
from wsi_vit.section import Section

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_KINDS: dict[Task, tuple[str, str]] = {
    "classification": ("one class an image", "`kind: classifier`"),
    "segmentation": ("one class a pixel", "`kind: maskformer` or `kind: eomt`"),
}
"""What models of a task give, and what they are called in a recipe."""


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

    def build(self, labels: LabelMap, task: Task) -> NetworkModel:
        """Make the model, with first weights loaded or drawn from torch's global generator.

        Raises:
            ModelError: Weights that are missing, pickled, damaged or do not fit; another task.
        """
        self._refuse_task(task)
        if isinstance(self.start, ConfigStart):
            network, mean, std = self._drawn(self.start, labels), IMAGENET_MEAN, IMAGENET_STD
        else:
            folder = self.start.folder()
            network = self._begun(folder, labels)
            mean, std = normalisation_of(folder)
        found = Preprocessing(input_px=self.input_px, mean=self.mean or mean, std=self.std or std)
        return self.assemble(network, labels, found)

    @abstractmethod
    def assemble(
        self, network: "PreTrainedModel", labels: LabelMap, preprocessing: Preprocessing
    ) -> NetworkModel:
        """Put a model around a network."""

    @abstractmethod
    def restored(self, folder: Path, labels: LabelMap) -> "PreTrainedModel":
        """Return the network of a model that was saved, every tensor of it."""

    @abstractmethod
    def _drawn(self, start: ConfigStart, labels: LabelMap) -> "PreTrainedModel":
        """Return a network of random weights."""

    @abstractmethod
    def _begun(self, folder: Path, labels: LabelMap) -> "PreTrainedModel":
        """Return a network whose pretrained part is a checkpoint's."""

    def _refuse_task(self, task: Task) -> None:
        if task != self.task:
            raise ModelError(
                f"This kind of model gives {_KINDS[self.task][0]}",
                got=f"task {task}",
                known=[self.task],
                remedy=f"Choose {_KINDS[task][1]} for {_KINDS[task][0]}",
            )


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
