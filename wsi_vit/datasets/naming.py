"""What a file's path says of its image: whom it is of, where it is from, which split it is in."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from wsi_vit.cohort import safe_name
from wsi_vit.datasets.images import Blob, ImageSource, Mask, SourceImage, split_named


def _regular(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return pattern


def _with_one_group(pattern: str) -> str:
    if re.compile(_regular(pattern)).groups != 1:
        raise ValueError("needs exactly one group, such as `GT[A-Za-z]*(\\d+)-`")
    return pattern


Pattern = Annotated[str, AfterValidator(_regular)]
"""A regular expression."""

Capture = Annotated[str, AfterValidator(_with_one_group)]
"""A regular expression searched in an image's relative path; its one group is the answer."""


class PathSource(ImageSource):
    """A source whose paths say more than the name of an image."""

    label: Capture | None = None
    """Finds the class in the path; for masks it says what to stratify by."""
    patient: Capture | None = None
    """Finds the patient; absent: each image stands for itself, and leakage cannot be excluded."""
    site: Capture | None = None
    """Finds the site: a hospital, or the sequence of a video."""
    split: Capture | None = None
    """Finds the split, for `split: {kind: cohort}`; `training`, `val` and such are understood."""

    @property
    def patients_known(self) -> bool:
        """Whether a rule says which images are of one patient."""
        return self.patient is not None

    def told_by(
        self, relative: str, slide_id: str, *, pixels: Blob, mask: Mask | None, problems: list[str]
    ) -> SourceImage:
        """Return an image with what its path says; a rule that finds nothing is a problem."""

        def captured(name: str, pattern: str | None, absent: str) -> str:
            """Return what a rule finds in the path; what is said where there is no rule."""
            if pattern is None:
                return absent
            found = re.search(pattern, relative)
            if found is None or not found[1]:
                problems.append(f"{relative}: `{name}: {pattern}` finds nothing")
                return absent
            return found[1]

        word = captured("split", self.split, "")
        if word and not split_named(word):
            problems.append(f"{relative}: {word!r} is no split (train, validation, test)")
        return SourceImage(
            relative=relative,
            slide_id=slide_id,
            patient=captured("patient", self.patient, slide_id),
            pixels=pixels,
            mask=mask,
            site=captured("site", self.site, ""),
            word=captured("label", self.label, ""),
            given=split_named(word) if word else "",
        )


def ids_of(paths: Sequence[Path], root: Path) -> dict[Path, str]:
    """Name images by their stems where these differ, else by their whole paths below the root."""
    stems = Counter(safe_name(path.stem) for path in paths)
    bare = {path: path.relative_to(root).with_suffix("").as_posix() for path in paths}
    twins = Counter(bare.values())

    def whole(path: Path) -> str:
        """Return the path below the root, with its suffix where another differs by that alone."""
        return bare[path] if twins[bare[path]] == 1 else path.relative_to(root).as_posix()

    return {
        path: (name if (name := safe_name(path.stem)) and stems[name] == 1 else whole(path))
        for path in paths
    }
