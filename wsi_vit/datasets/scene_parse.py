"""SceneParse150: the folders of ADEChallengeData2016, and its list of 150 names.

Layout and ids follow github.com/CSAILVision/sceneparsing: `images/{training,validation}/*.jpg`,
`annotations/{training,validation}/*.png` with 0 for all else and 1 to 150, and `objectInfo150.txt`.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from wsi_vit.datasets.example import Task
from wsi_vit.datasets.images import (
    ImageSource,
    SourceImage,
    existing,
    none_found,
    split_named,
    unambiguous,
)
from wsi_vit.datasets.paired import Pair, pairs_in
from wsi_vit.errors import DatasetError

_PARTS = ("training", "validation")
_OTHER = (0, ("other",))
"""What is in no category; the list itself begins with 1."""


class SceneParseSource(ImageSource):
    """Scenes with 150 categories.

    The folder an image lies in is its split, and its site as well: so `{kind: sites, test:
    [validation]}` judges by the validation folder and chooses among the training images.
    """

    kind: Literal["scene_parse"] = "scene_parse"

    def unfit(self, task: Task) -> list[str]:
        """Return why it cannot serve a task: it has masks alone."""
        return (
            [] if task != "classification" else ["scene_parse has masks, and no classes of images"]
        )

    def names(self) -> Mapping[str, int]:
        """Return ids by name, every synonym of `objectInfo150` that means one thing, and `other`.

        Raises:
            DatasetError: The list is not there, or is not that list.
        """
        root = existing(self.root)
        for name, delimiter, joint in (
            ("objectInfo150.txt", "\t", ","),
            ("objectInfo150.csv", ",", ";"),
        ):
            if (root / name).is_file():
                return unambiguous([_OTHER, *_listed(root / name, delimiter, joint)])
        raise DatasetError(
            "The list of names is not there",
            got=root,
            known=["objectInfo150.txt", "objectInfo150.csv"],
            remedy="Put the list that ADEChallengeData2016 brings beside images/ and annotations/",
        )

    def find(self) -> list[SourceImage]:
        """Return the pairs of both folders, by path; one of the folders may be lacking."""
        root = existing(self.root, "images", "annotations")
        pairs = [
            (part, pair)
            for part in _PARTS
            for pair in pairs_in(root, f"images/{part}", f"annotations/{part}")
        ]
        if not pairs:
            raise none_found(
                root,
                wanted=f"images/{{{','.join(_PARTS)}}}",
                remedy="Name the folder that ADEChallengeData2016.zip unpacks to in `root`",
            )
        return [_image(part, pair) for part, pair in pairs]


def _image(part: str, pair: Pair) -> SourceImage:
    return SourceImage(
        relative=pair.relative,
        slide_id=pair.stem,
        patient=pair.stem,
        pixels=pair.pixels,
        mask=pair.mask,
        site=part,
        given=split_named(part),
    )


def _listed(path: Path, delimiter: str, joint: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield each line's id and names; the text joins names by `, `, the table words by `;`."""
    with path.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream, delimiter=delimiter))
    if not lines or not {"Idx", "Name"} <= set(lines[0]):
        raise DatasetError(
            "This is no list of names as ADEChallengeData2016 brings it",
            got=path,
            known=["Idx", "Ratio", "Train", "Val", "Stuff", "Name"],
            remedy="Bring the original objectInfo150.txt",
        )
    for line in lines:
        yield int(line["Idx"]), [name.strip() for name in line["Name"].split(joint)]
