"""The `README.md` of a published dataset: the hub's head, and what a reader must know."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from wsi_vit.datasets.card import beware, counts_table, hub_metadata
from wsi_vit.datasets.reading import TrainingSet
from wsi_vit.section import Section

if TYPE_CHECKING:
    from datasets import Features

LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-3.0", "cc-by-2.0", "cc-by-sa-4.0", "cc-by-sa-3.0"),
    *("cc-by-nc-4.0", "cc-by-nc-3.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-sa-3.0"),
    *("cc-by-nc-nd-4.0", "cc-by-nc-nd-3.0", "odc-by", "odbl", "pddl", "cdla-permissive-2.0"),
    *("cdla-permissive-1.0", "cdla-sharing-1.0", "unlicense", "other"),
)
"""The hub's identifiers of licences that suit data."""

_LOADING = """\
```python
from datasets import load_dataset

dataset = load_dataset("{repo}")       # or the folder that holds this file
print(dataset["{split}"][0])
```"""

_COLUMNS = {
    "image": "the picture",
    "slide": "keyed hash of the slide or image file it is from",
    "patient": "keyed hash of the patient; patients never straddle the splits",
    "group": "keyed hash of what was kept whole when splitting: {unit}",
    "site": "keyed hash of the site",
    "x": "left edge of the tile, base pixels of its slide",
    "y": "top edge of the tile, base pixels of its slide",
    "mpp": "micrometres per pixel of the slide or image",
}
_SEVERAL = {
    "labels": "ids of the labels that the image shows, see below; none where it shows none",
    "unknown": "ids of the labels of which nobody knows whether it shows them",
}
_TARGETS = {
    "classification": "the class, see below",
    "segmentation": "PNG of class ids, of the image's size or of the mask's own; 255 is ignored",
    "pretraining": "0: the images are not labelled",
}


def _licence(word: str) -> str:
    if word in LICENCES:
        return word
    near = get_close_matches(word, LICENCES) or LICENCES
    raise ValueError(f"{word!r} is none of the hub's licences; known: {', '.join(near)}")


class Listing(Section):
    """Under what name and terms a dataset is published."""

    repo: str = Field(pattern=r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$")
    """`OWNER/NAME` on the hub."""
    licence: Annotated[str, AfterValidator(_licence)]
    """The hub's identifier of the licence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was written."""

    features: "Features"
    rows: Mapping[str, int]
    """Of each split."""
    sizes: Mapping[str, int]
    """Bytes of each split in memory."""
    stored_bytes: int


def readme_text(
    data: TrainingSet, listing: Listing, published: Published, *, private: Collection[str]
) -> str:
    """Return the card; a warning that holds one of the `private` names is counted, not shown."""
    facts = data.facts
    return "\n".join(
        [
            _head(data, listing, published),
            f"# {facts['name']}",
            "",
            f"- Task: {facts['task']}; {sum(published.rows.values()):,} examples.",
            f"- Made by wsi-vit from the recipe `{facts['name']}`.",
            f"- Digest of content and splits: `{data.digest}`.",
            f"- Split: `{facts['split_kind']}`; scores on the test split speak of {data.estimate}.",
            "",
            "## Loading it",
            "",
            _LOADING.format(repo=listing.repo, split=next(iter(published.rows))),
            "",
            "## Columns",
            "",
            *(f"- `{name}`: {_told(name, data)}" for name in published.features),
            "",
            "No name of a patient, slide or site is in it: keyed hashes stand for them. Metadata "
            "of the picture files (EXIF, comments, thumbnails, colour profiles) was removed; what "
            "is burnt into the pixels was not looked for.",
            "",
            "## Classes",
            "",
            *_classes(data),
            "",
            "## Counts",
            "",
            *counts_table(facts),
            "",
            *beware(list(_sayable(data.warnings, private))),
        ]
    )


def _head(data: TrainingSet, listing: Listing, published: Published) -> str:
    import yaml
    from datasets import DatasetInfo, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    splits = {
        name: SplitInfo(name=name, num_bytes=published.sizes[name], num_examples=rows)
        for name, rows in published.rows.items()
    }
    info = DatasetInfo(
        features=published.features,
        splits=SplitDict(splits),
        download_size=published.stored_bytes,
        dataset_size=sum(published.sizes.values()),
    )
    files = [{"split": name, "path": f"data/{name}-*"} for name in splits]
    told = DatasetCardData(
        license=listing.licence,
        **hub_metadata(data.facts),
        configs=[{"config_name": "default", "data_files": files}],
    )
    DatasetInfosDict({"default": info}).to_dataset_card_data(told)
    return f"---\n{yaml.safe_dump(told.to_dict(), sort_keys=False, allow_unicode=True)}---\n"


def _told(name: str, data: TrainingSet) -> str:
    if name == "label":
        return _TARGETS[data.task]
    return (_COLUMNS | _SEVERAL)[name].format(unit=data.unit)


def _classes(data: TrainingSet) -> Iterator[str]:
    yield "| id | class | colour |"
    yield "|---|---|---|"
    for index, item in enumerate(data.labels.classes):
        name = item.name.replace("|", "\\|")
        rest = " (background)" if item.name == data.labels.background else ""
        yield f"| {index} | {name}{rest} | `{item.colour}` |"


def _sayable(warnings: Collection[str], private: Collection[str]) -> Iterator[str]:
    """Yield the warnings that name nobody, and how many do."""
    words = "|".join(re.escape(name) for name in sorted(private))
    names = re.compile(rf"(?<!\w)(?:{words})(?!\w)") if words else None
    silent = [text for text in warnings if names and names.search(text)]
    yield from (text for text in warnings if text not in silent)
    if silent:
        yield f"{len(silent)} further warnings name patients, slides or sites and stay at home."
