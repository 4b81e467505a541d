"""The dataset card, in the hub's format: what is in it, how it was split, what to beware of."""

import json
from collections.abc import Iterator
from typing import Any

from wsi_vit.cohort import SPLITS

_TASKS = {"classification": "image-classification", "segmentation": "image-segmentation"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))

_OPENING = """\
```python
from datasets import concatenate_datasets, load_from_disk

pixels = load_from_disk("{folder}")           # image and coordinates, memory-mapped
labels = load_from_disk("{folder}/labels")    # {target}
sidecar = load_from_disk("{folder}/sidecar")  # key, patient, site, split, counts
dataset = concatenate_datasets([pixels, labels, sidecar], axis=1)
train = dataset.filter(lambda split: split == "train", input_columns="split")
```

The pixels lie in shards beside this folder and are named by relative paths: move the store as a
whole. `load_from_disk` stacks rows but joins no columns, hence three tables with the same rows.
`wsi_vit.datasets.reading.open_dataset` joins them and reads one split in batches. `counts` is what
a row holds of each class ({unit}), ignored pixels last."""


def card_text(facts: dict[str, Any]) -> str:
    """Return the card of a dataset with these facts, as Markdown with a YAML header."""
    return "\n".join(
        [
            *_header(facts),
            f"# {facts['name']}",
            "",
            f"- Task: {facts['task']}; classes: {', '.join(facts['classes'])}.",
            f"- {facts['examples']} examples of {facts['slides']} slides or images and "
            f"{facts['patients']} patients{'' if facts['patients_known'] else ' (not known)'}; "
            f"{facts['unlabelled']} unlabelled, {facts['left_out']} left out as guard band.",
            f"- Recipe: `{facts['name']}`. Digest: `{facts['digest']}`.",
            f"- Split: `{facts['split_kind']}`, digest `{facts['split_digest']}`; scores speak of "
            f"{facts['estimate']}.",
            "",
            "## Counts",
            "",
            *_table(facts),
            "",
            *_warnings(facts),
            "## Opening it",
            "",
            _opening(facts),
            "",
        ]
    )


def _header(facts: dict[str, Any]) -> Iterator[str]:
    size = next((word for most, word in _SIZES if facts["examples"] < most), "n>1M")
    yield "---"
    yield f"pretty_name: {json.dumps(facts['name'])}"  # JSON is YAML, whatever the name
    yield "task_categories:"
    yield f"- {_TASKS[facts['task']]}"
    yield "tags:"
    yield from ("- histopathology", "- whole-slide-imaging", "- wsi-vit")
    yield "size_categories:"
    yield f"- {size}"
    yield "---"
    yield ""


def _table(facts: dict[str, Any]) -> Iterator[str]:
    """Yield one row a split: examples, patients, and `examples (patients)` a class."""
    names = [name.replace("|", "\\|") for name in facts["classes"]]
    yield "| split | examples | slides | patients | " + " | ".join(names) + " |"
    yield "|---" * (4 + len(facts["classes"])) + "|"
    for name in SPLITS:
        split = facts["splits"][name]
        held = [f"{c['examples']} ({c['patients']})" for c in split["classes"].values()]
        cells = [name, split["examples"], split["slides"], split["patients"], *held]
        yield "| " + " | ".join(str(cell) for cell in cells) + " |"
    yield ""
    yield "A class's cell: examples that show it (patients they come from)."


def _warnings(facts: dict[str, Any]) -> Iterator[str]:
    if facts["warnings"]:
        yield from ("## Beware", "", *(f"- {text}" for text in facts["warnings"]), "")


def _opening(facts: dict[str, Any]) -> str:
    masks = facts["task"] == "segmentation"
    return _OPENING.format(
        folder="dataset",
        target="mask: PNG of training ids, 255 ignored" if masks else "label: training id",
        unit="pixels" if masks else "1 for its class",
    )
