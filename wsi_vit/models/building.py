"""How a model comes to be from its section, with first weights."""

from wsi_vit.datasets.example import Task
from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import normalisation_of
from wsi_vit.models.classifier import Classifier
from wsi_vit.models.dense.segformer import Segformer
from wsi_vit.models.dense.segmenter import Segmenter
from wsi_vit.models.dense.unet import Unet
from wsi_vit.models.eomt import Eomt
from wsi_vit.models.maskformer import MaskFormer
from wsi_vit.models.multi_label import MultiLabel
from wsi_vit.models.network import NetworkModel
from wsi_vit.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from wsi_vit.models.pretraining.mae import Mae
from wsi_vit.models.sections import AnyModel
from wsi_vit.models.start import ConfigStart
from wsi_vit.models.vit.model import Vit

_KINDS: dict[Task, tuple[str, str]] = {
    "classification": ("one class an image", "`kind: classifier` or `kind: vit`"),
    "segmentation": (
        "one class a pixel",
        "`kind: segmenter`, `eomt`, `maskformer`, `segformer` or `unet`",
    ),
    "multi_label": ("several labels an image", "`kind: multi_label`"),
    "pretraining": ("weights to begin from, and no classes", "`kind: mae`"),
}
"""What models of a task give, and what they are called in a recipe."""

_MODELS: dict[str, type[NetworkModel]] = {
    "classifier": Classifier,
    "vit": Vit,
    "multi_label": MultiLabel,
    "maskformer": MaskFormer,
    "eomt": Eomt,
    "segmenter": Segmenter,
    "unet": Unet,
    "segformer": Segformer,
    "mae": Mae,
}


def model_class(section: AnyModel) -> type[NetworkModel]:
    """Return the class of the models that a section describes."""
    return _MODELS[section.kind]


def build_model(section: AnyModel, labels: LabelMap, task: Task) -> NetworkModel:
    """Make a model, with first weights loaded or drawn from torch's global generator.

    Raises:
        ModelError: Weights that are missing, pickled, damaged or do not fit; another task.
    """
    _refuse_task(section, task)
    kind = model_class(section)
    if isinstance(section.start, ConfigStart):
        network = kind.drawn(section, section.start.options, labels)
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    else:
        folder = section.start.folder()
        network = kind.begun(section, folder, labels)
        mean, std = normalisation_of(folder)
    found = Preprocessing(
        input_px=section.input_px, mean=section.mean or mean, std=section.std or std
    )
    return kind(network, section=section, labels=labels, preprocessing=found)


def _refuse_task(section: AnyModel, task: Task) -> None:
    if task != section.task:
        raise ModelError(
            f"This kind of model gives {_KINDS[section.task][0]}",
            got=f"task {task}",
            known=[section.task],
            remedy=f"Choose {_KINDS[task][1]} for {_KINDS[task][0]}",
        )
