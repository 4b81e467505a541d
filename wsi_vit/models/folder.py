"""A saved model: four plain files, which transformers can read as well where it knows the network.

`config.json` is transformers' own configuration with a `wsi_vit` part: the kind of model, its
section, and the sha256 of weights and labels. It is written last, so a folder whose writing was
broken off never passes for a model.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError
from torch import nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import HEAD_PREFIX, read_json
from wsi_vit.models.preprocessing import Preprocessing
from wsi_vit.section import Section
from wsi_vit.store import file_digest, write_whole

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LABELS, PREPROCESSING = "labels.json", "preprocessing.json"
_Kind = TypeVar("_Kind", bound=Section)


class SavedPart(Section):
    """Our part of config.json."""

    version: int = Field(default=1, le=1)
    section: dict[str, Any]
    """The model's section without its start: what it is, not where it came from."""
    sha256: dict[str, str]
    """Digests of the files that never change after saving."""


def save_folder(
    folder: Path,
    *,
    write_network: Callable[[Path], None],
    head: nn.Module | None,
    section: Section,
    labels: LabelMap,
    preprocessing: Preprocessing,
) -> None:
    """Write a model whole; a broken-off writing leaves a folder that is refused.

    Raises:
        ModelError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".scratch-") as name:
            scratch = Path(name)
            write_network(scratch)
            _add_head(scratch / WEIGHTS, head)
            (scratch / LABELS).write_text(_pretty(labels.model_dump(mode="json")))
            (scratch / PREPROCESSING).write_text(_pretty(preprocessing.model_dump(mode="json")))
            _add_part(scratch, section)
            _commit(scratch, folder)
    except OSError as error:
        raise ModelError(
            f"A model cannot be written ({error.strerror or error})",
            got=folder,
            remedy="Free space or mend the permissions, then save again",
        ) from error


def read_part(folder: Path) -> SavedPart:
    """Read our part of a saved model's config.json and check the digests it names.

    Raises:
        ModelError: The folder is no model of ours, unfinished or damaged.
    """
    raw = read_json(folder / CONFIG).get("wsi_vit")
    if raw is None:
        raise ModelError(
            "Not a model that wsi-vit saved",
            got=folder,
            remedy="Name a run's model/ folder; other checkpoints serve as `start` of a recipe",
        )
    try:
        part = SavedPart.model_validate(raw)
    except ValidationError as error:
        raise _unlike(folder / CONFIG, "another version's or a damaged wsi_vit part") from error
    for name, digest in part.sha256.items():
        path = folder / name
        if not path.is_file():
            raise _unlike(path, "missing")
        if file_digest(path) != digest:
            raise _unlike(path, "other bytes than were saved")
    return part


def read_labels(folder: Path) -> LabelMap:
    """Read a saved model's label map.

    Raises:
        ModelError: It is missing or damaged.
    """
    return _read(LabelMap, folder / LABELS, known=None)


def read_preprocessing(folder: Path) -> Preprocessing:
    """Read a saved model's preprocessing; keys that the pipeline adds (`tiles`) are left alone.

    Raises:
        ModelError: It is missing or damaged.
    """
    return _read(Preprocessing, folder / PREPROCESSING, known=set(Preprocessing.model_fields))


def _read(kind: type[_Kind], path: Path, *, known: set[str] | None) -> _Kind:
    content = read_json(path)
    try:
        return kind.model_validate(
            {key: value for key, value in content.items() if known is None or key in known}
        )
    except ValidationError as error:
        raise _unlike(path, f"{error.error_count()} values that do not fit") from error


def _add_head(weights: Path, head: nn.Module | None) -> None:
    if head is None:
        return
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    own = {HEAD_PREFIX + key: value.detach().cpu() for key, value in head.state_dict().items()}
    save_file(tensors | own, weights, metadata={"format": "pt"})


def _add_part(scratch: Path, section: Section) -> None:
    part = SavedPart(
        section=section.model_dump(mode="json", exclude={"start"}),
        sha256={name: file_digest(scratch / name) for name in (WEIGHTS, LABELS)},
    )
    config = read_json(scratch / CONFIG) | {"wsi_vit": part.model_dump(mode="json")}
    (scratch / CONFIG).write_text(_pretty(config))


def _commit(scratch: Path, folder: Path) -> None:
    for name in (WEIGHTS, LABELS, PREPROCESSING, CONFIG):
        with write_whole(folder / name) as path:
            (scratch / name).rename(path)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _unlike(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"A saved model is damaged ({reason})",
        got=path,
        remedy="Save the model again, or fetch its version from the registry again",
    )
