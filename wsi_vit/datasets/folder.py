"""Images in folders, with masks beside them or classes in their paths: what their paths say."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from wsi_vit.cohort import SPLITS, safe_name
from wsi_vit.errors import DatasetError
from wsi_vit.section import Section

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})

_MOST_SHOWN = 50


def _with_one_group(pattern: str) -> str:
    if re.compile(_regular(pattern)).groups != 1:
        raise ValueError("needs exactly one group, such as `GT[A-Za-z]*(\\d+)-`")
    return pattern


def _regular(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return pattern


def _below(pattern: str) -> str:
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("must be a glob below `root`, such as `**/*.png`")
    return pattern


Capture = Annotated[str, AfterValidator(_with_one_group)]
"""A regular expression searched in an image's relative path; its one group is the answer."""


class MaskRule(Section):
    """Where an image's mask lies, and how its values are read."""

    find: Annotated[str, AfterValidator(_regular)]
    """A regular expression in the image's path (relative, with `/`) …"""
    replace: str
    """… and what makes it the mask's path; `\\1` stands for the first group."""
    threshold: int | None = Field(default=None, ge=0, le=254)
    """Values above become source id 1, all others 0; absent: values are source ids."""

    @model_validator(mode="after")
    def _replace_fits(self) -> Self:
        try:
            re.compile(self.find).sub(self.replace, "")
        except re.error as error:
            raise ValueError(f"`replace` does not fit `find`: {error}") from error
        return self


class FolderSource(Section):
    """Image files below one folder."""

    kind: Literal["folder"] = "folder"
    root: Path | None = None
    images: Annotated[str, AfterValidator(_below)] = "**/*"
    """Which files are images, as a glob; other suffixes than those of images are left out."""
    label: Capture | None = None
    """Finds the class in the path; for masks it says what to stratify by."""
    mask: MaskRule | None = None
    patient: Capture | None = None
    """Finds the patient; absent: each image stands for itself, and leakage cannot be excluded."""
    split: Capture | None = None
    """Finds the split, for `split: {kind: cohort}`; `training`, `val` and such are understood."""
    unknown: Literal["refuse", "ignore", "background"] = "refuse"
    """What becomes of classes and mask values that the label map does not name."""
    mpp: float | None = Field(default=None, gt=0)
    """Resolution of the images in micrometres per pixel, where it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderImage:
    """One image of a folder with what its path says."""

    path: Path
    relative: str
    slide_id: str
    patient: str
    word: str
    """The class as the path spells it; empty text where there is no rule."""
    given: str
    """The split as the path spells it, as one of ours; empty text where there is no rule."""
    mask: Path | None


def find_images(source: FolderSource) -> list[FolderImage]:
    """Return the images of a folder, by path.

    Raises:
        DatasetError: The folder is empty, or paths do not say what the rules need; all at once.
    """
    root = _root(source)
    paths = [
        path
        for path in sorted(root.glob(source.images))
        if path.suffix.casefold() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    masks = {path: _mask_of(path, root, source.mask) for path in paths}
    paths = [path for path in paths if path not in set(masks.values())]
    if not paths:
        raise DatasetError(
            "The folder holds no images",
            got=f"{root} with images: {source.images!r}",
            known=sorted(IMAGE_SUFFIXES),
            remedy="Check `root` and the glob in `images`",
        )
    problems = list[str]()
    images = [
        _described(path, slide_id, masks[path], source, problems)
        for path, slide_id in _ids(paths, root).items()
    ]
    refuse(problems, root)
    return images


def refuse(problems: Sequence[str], root: Path | None) -> None:
    """Raise one error for all problems.

    Raises:
        DatasetError: There is at least one.
    """
    if not problems:
        return
    shown = "\n  ".join(problems[:_MOST_SHOWN])
    more = len(problems) - _MOST_SHOWN
    raise DatasetError(
        f"{len(problems)} problems with the images:\n  {shown}"
        + (f"\n  and {more} more\n" if more > 0 else "\n"),
        got=root,
        remedy="Mend or remove these files, or the source's rules; nothing was stored",
    )


def _root(source: FolderSource) -> Path:
    if source.root is None or not source.root.is_dir():
        raise DatasetError(
            "There is no folder of images",
            got=source.root,
            remedy="Name an existing folder in source.root",
        )
    return source.root


def _mask_of(path: Path, root: Path, rule: MaskRule | None) -> Path | None:
    if rule is None:
        return None
    relative = path.relative_to(root).as_posix()
    found, count = re.subn(rule.find, rule.replace, relative)
    return root / found if count and found != relative else None


def _ids(paths: Sequence[Path], root: Path) -> dict[Path, str]:
    """Name images by their stems where these differ, else by their whole paths."""
    stems = Counter(safe_name(path.stem) for path in paths)
    bare = {path: path.relative_to(root).with_suffix("").as_posix() for path in paths}
    twins = Counter(bare.values())

    def whole(path: Path) -> str:
        return bare[path] if twins[bare[path]] == 1 else path.relative_to(root).as_posix()

    return {
        path: (name if (name := safe_name(path.stem)) and stems[name] == 1 else whole(path))
        for path in paths
    }


def _described(
    path: Path, slide_id: str, mask: Path | None, source: FolderSource, problems: list[str]
) -> FolderImage:
    relative = path.relative_to(_root(source)).as_posix()

    def captured(name: str, pattern: str | None, absent: str) -> str:
        if pattern is None:
            return absent
        found = re.search(pattern, relative)
        if found is None or not found[1]:
            problems.append(f"{relative}: `{name}: {pattern}` finds nothing")
            return absent
        return found[1]

    word = captured("split", source.split, "")
    given = next((split for split in SPLITS if word[:3].casefold() == split[:3]), "")
    if word and not given:
        problems.append(f"{relative}: {word!r} is no split (train, validation, test)")
    return FolderImage(
        path=path,
        relative=relative,
        slide_id=slide_id,
        patient=captured("patient", source.patient, slide_id),
        word=captured("label", source.label, ""),
        given=given,
        mask=mask,
    )
