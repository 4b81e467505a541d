"""Every error that wsi-vit raises on purpose.

```text
WsiVitError
├── UsageError          what was asked cannot be understood (exit code 2)
│   ├── RecipeError         unknown keys and bad values of a recipe, all at once
│   └── CohortError         the problems of a cohort file, all at once, with line numbers
├── SlideError          one slide cannot be used; carries a `Reason`, so that it is quarantined
├── AnnotationError     outlines that cannot be read, or that do not belong to the slide
├── LabelError          names or ids that the label map does not know
├── DatasetError        a dataset that must not be trained on
├── ModelError          weights or configuration that do not fit
├── TrainingError       a run that cannot go on
│   └── Stopped             it was asked to stop, kept a checkpoint, and can be resumed
├── StoreError          a derived file that is missing, damaged or cannot be written
├── RegistryError       a model version that cannot be registered, promoted or loaded
└── ServiceError        a server (Prefect, MLflow) that cannot be reached or started
```

Each message says what was wrong, what was got, what is known, and what to do.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any


class WsiVitError(Exception):
    """The root: `except WsiVitError` catches everything wsi-vit raises on purpose."""

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        known: Iterable[object] | None = None,
        remedy: str,
    ) -> None:
        self.what, self.got, self.remedy = what, got, remedy
        self.known = None if known is None else tuple(known)
        super().__init__(self._sentence())

    def __reduce__(self) -> tuple[Any, ...]:
        """Let an error of a worker process arrive as what it is."""
        return _again, (type(self), self.args, dict(self.__dict__))

    def _sentence(self) -> str:
        parts = [self.what.rstrip(".") + "."]
        if self.got is not None:
            parts.append(f"Got: {self.got}.")
        if self.known is not None:
            parts.append(f"Known: {', '.join(str(item) for item in self.known) or 'none'}.")
        parts.append(self.remedy.rstrip(".") + ".")
        return " ".join(parts)


def _again(kind: type[WsiVitError], words: tuple[str, ...], facts: dict[str, Any]) -> WsiVitError:
    error = kind.__new__(kind, *words)
    error.__dict__.update(facts)
    return error


class UsageError(WsiVitError):
    """What was asked cannot be understood."""


class RecipeError(UsageError):
    """A recipe that cannot be used."""


class CohortError(UsageError):
    """A cohort file that cannot be used."""


class Reason(StrEnum):
    """Why a slide was quarantined. These words are stored: never rename one."""

    MISSING = "missing"
    UNSAFE_PATH = "unsafe_path"
    EMPTY_FILE = "empty_file"
    NOT_A_SLIDE = "not_a_slide"
    UNREADABLE = "unreadable"
    UNREADABLE_TILES = "unreadable_tiles"
    ABSURD_SIZE = "absurd_size"
    NO_MPP = "no_mpp"
    ABSURD_MPP = "absurd_mpp"
    ANISOTROPIC_MPP = "anisotropic_mpp"
    TOO_COARSE = "too_coarse"
    TOO_SMALL = "too_small"
    NO_TISSUE = "no_tissue"
    NOT_RGB = "not_rgb"
    BAD_ANNOTATIONS = "bad_annotations"
    BAD_TISSUE_MASK = "bad_tissue_mask"
    LOW_QUALITY = "low_quality"


class SlideError(WsiVitError):
    """One slide cannot be used; the others go on."""

    def __init__(self, reason: Reason, what: str, *, got: object = None, remedy: str) -> None:
        self.reason = reason
        super().__init__(f"[{reason}] {what}", got=got, remedy=remedy)


class AnnotationError(WsiVitError):
    """Outlines that cannot be read, or that do not belong to the slide."""


class LabelError(WsiVitError):
    """Names or ids that the label map does not know."""


class DatasetError(WsiVitError):
    """A dataset that must not be trained on."""


class ModelError(WsiVitError):
    """Weights or configuration that do not fit."""


class TrainingError(WsiVitError):
    """A run that cannot go on."""


class Stopped(TrainingError):  # noqa: N818  (an outcome more than an error)
    """A run was asked to stop, kept a checkpoint, and can be resumed."""


class StoreError(WsiVitError):
    """A derived file that is missing, damaged or cannot be written."""


class RegistryError(WsiVitError):
    """A model version that cannot be registered, promoted or loaded."""


class ServiceError(WsiVitError):
    """A server that cannot be reached or started."""
