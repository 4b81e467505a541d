"""Checkpoints in the hub's layout, read without running anything that is in them.

Only safetensors are read: a pickle can run code. And a checkpoint counts as loaded only if every
tensor of its backbone found its place; transformers itself says such a thing in a log line alone
and goes on with random weights.
"""

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Channels
from wsi_vit.store import digest_of, file_digest

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
UNUSABLE = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError)
"""What transformers raises over a configuration, weights or an image that it cannot use."""

NO_KEYS: Callable[[str], bool] = lambda _key: False  # noqa: E731
"""Tolerates no tensor that is missing, left over or of another shape."""


_HEADS = {"classifier", "pooler", "head", "decoder", "cls_classifier", "distillation_classifier"}
HEAD_PREFIX = "wsi_vit_head."
"""Names the tensors of a head that the network of transformers does not have."""


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint, by name."""
    return sorted(folder.glob("model*.safetensors"))


def checkpoint_digest(folder: Path) -> str:
    """Return the sha256 that names a checkpoint: of its configuration and its weights."""
    files = [folder / "config.json", *weight_files(folder)]
    return digest_of({path.name: file_digest(path) for path in files})


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: The file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        content = None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if isinstance(content, dict):
        return content
    raise _damaged(path, "missing" if content is None else "not a JSON object")


def read_config(folder: Path, *, labels: LabelMap) -> "PreTrainedConfig":
    """Read a checkpoint's config.json, with our class names in it.

    Raises:
        ModelError: It is missing or damaged, or of a kind that transformers does not know.
    """
    from transformers import AutoConfig

    raw = read_json(folder / "config.json")
    try:
        with quiet():
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **names_of(labels)
            )
    except UNUSABLE as error:
        raise ModelError(
            f"transformers cannot use this configuration ({_summary(error)})",
            got=f"model_type {raw.get('model_type')!r} in {folder}",
            remedy="Name a checkpoint of a built-in architecture; code in a checkpoint is not run",
        ) from error
    config.__dict__.pop("wsi_vit", None)
    return config


def new_config(
    model_type: str, options: dict[str, Any], *, labels: LabelMap, image_px: int | None = None
) -> "PreTrainedConfig":
    """Make a configuration from options; a misspelt one is refused, not kept and ignored.

    Args:
        model_type: As transformers has it.
        options: By transformers' names.
        labels: What it is to tell apart.
        image_px: The side of images, for networks that are made for one size and are told none.

    Raises:
        ModelError: Unknown model type, unknown options, or values that do not fit together.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        known = AutoConfig.for_model(model_type).to_dict()
        refuse_unknown(options, known)
        options = _for_images_of(image_px, known) | options
        # Some (PVT) have a number of classes of their own, whatever their names.
        named = names_of(labels) | {"num_labels": len(labels)}
        return AutoConfig.for_model(model_type, **options, **named)
    except (*UNUSABLE, StrictDataclassError) as error:
        raise ModelError(
            f"Cannot make a configuration ({_summary(error)})",
            got=f"model_type {model_type!r} with {options}",
            remedy="Correct `start.options`; model_type is a name that transformers knows",
        ) from error


def _for_images_of(side_px: int | None, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the option that says for which images a network is made, if it has one."""
    size = known.get("image_size")
    if side_px is None or size is None:
        return {}
    return {"image_size": side_px if isinstance(size, int) else [side_px, side_px]}


def refuse_unknown(options: Iterable[str], known: Iterable[str]) -> None:
    """Refuse options that nothing would read.

    Raises:
        ModelError: Naming each unknown option and what is near it.
    """
    known = sorted(known)
    strange = [option for option in options if option not in known]
    if strange:
        near = [match for option in strange for match in get_close_matches(option, known)]
        raise ModelError(
            "Unknown options",
            got=", ".join(strange),
            known=near or known,
            remedy="Correct `start.options`",
        )


def names_of(labels: LabelMap) -> dict[str, Any]:
    """Return the class names in the form of a transformers configuration."""
    return {
        "id2label": dict(enumerate(labels.names)),
        "label2id": {name: index for index, name in enumerate(labels.names)},
    }


def load_network(
    auto: Any,
    folder: Path,
    *,
    config: "PreTrainedConfig",
    may_differ: Callable[[str], bool] = NO_KEYS,
    **options: Any,
) -> "PreTrainedModel":
    """Load weights in float32 through one of transformers' classes, and read its load report.

    Args:
        auto: A model class, or an `AutoModelFor...`.
        folder: Holds config.json and safetensors.
        config: The configuration to build.
        may_differ: Says of a tensor's name whether it may be missing, left over or of another
            shape: a head may, a backbone never.
        options: Handed on to the model's constructor.

    Raises:
        ModelError: No safetensors, damaged ones, or backbone tensors that found no place.
    """
    _refuse_no_weights(folder)
    try:
        with quiet():
            network, report = auto.from_pretrained(
                folder,
                config=config,
                dtype="float32",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
    except (*UNUSABLE, *_safetensor_errors()) as error:
        raise ModelError(
            f"The weights cannot be read ({_summary(error)})",
            got=folder,
            remedy="Fetch the checkpoint again, or name one of this architecture",
        ) from error
    refuse_gaps(report, folder, may_differ)
    return network


def is_own_head(key: str) -> bool:
    """Say whether a tensor belongs to a head that lies outside the network."""
    return key.startswith(HEAD_PREFIX)


def is_of_a_head(key: str) -> bool:
    """Say whether a tensor belongs to a head, or to masked pre-training alone."""
    parts = key.split(".")
    return (
        parts[0] in _HEADS
        or is_own_head(key)
        or (len(parts) > 1 and parts[1] in _HEADS - {"decoder"})
        or key.endswith("embeddings.mask_token")
    )


def normalisation_of(folder: Path) -> tuple[Channels, Channels]:
    """Return mean and standard deviation that a checkpoint was trained with; ImageNet's if unsaid.

    Reads our preprocessing.json or the hub's preprocessor_config.json.
    """
    for name, prefix in (("preprocessing.json", ""), ("preprocessor_config.json", "image_")):
        if (folder / name).is_file():
            said = read_json(folder / name)
            mean, std = said.get(f"{prefix}mean"), said.get(f"{prefix}std")
            if mean and std and len(mean) == len(std) == 3:
                return tuple(mean), tuple(std)
    return IMAGENET_MEAN, IMAGENET_STD


@contextmanager
def quiet() -> Generator[None]:
    """Keep transformers' progress bars and load reports off the screen: we read them ourselves."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _refuse_no_weights(folder: Path) -> None:
    if weight_files(folder):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    raise ModelError(
        "Pickled weights are not read: they can run code" if pickles else "No weights",
        got=f"{folder} ({', '.join(pickles) or 'no *.safetensors'})",
        remedy="Bring the checkpoint as model.safetensors; the hub's converter makes one",
    )


def refuse_gaps(report: dict[str, Any], folder: Path, may_differ: Callable[[str], bool]) -> None:
    """Refuse a load report that names tensors of a backbone.

    Args:
        report: Transformers' own: missing_keys, unexpected_keys, and perhaps mismatched_keys.
        folder: Where the tensors came from.
        may_differ: As for `load_network`.

    Raises:
        ModelError: Naming them.
    """
    other_shape = [key[0] for key in report.get("mismatched_keys", ())]
    gaps = {
        "missing": [key for key in report["missing_keys"] if not may_differ(key)],
        "left over": [key for key in report["unexpected_keys"] if not may_differ(key)],
        "of another shape": [key for key in other_shape if not may_differ(key)],
        "unreadable": list(report.get("error_msgs", ())),
    }
    told = [_gap(kind, keys) for kind, keys in gaps.items() if keys]
    if told:
        raise ModelError(
            "The checkpoint does not fit the network: these tensors would stay random or unused",
            got=f"{folder}: {'; '.join(told)}",
            remedy="Name a checkpoint of this architecture and size",
        )


def _gap(kind: str, keys: list[str]) -> str:
    shown = ", ".join(sorted(keys)[:3])
    return f"{len(keys)} {kind} ({shown}{', ...' if len(keys) > 3 else ''})"


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"A model's file cannot be used ({reason})",
        got=path,
        remedy="Fetch the checkpoint again, or save the model again",
    )


def _safetensor_errors() -> tuple[type[Exception], ...]:
    from safetensors import SafetensorError

    return (SafetensorError,)


def _summary(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
