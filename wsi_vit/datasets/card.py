"""The dataset card, in the hub's format: what is in it, how it was split, what to beware of."""

from collections.abc import Iterator, Sequence
from typing import Any

from wsi_vit.cohort import SPLITS

_TASKS = {
    "classification": "image-classification",
    "segmentation": "image-segmentation",
    "multi_label": "image-classification",
    "pretraining": "image-feature-extraction",
}
_SUBTASKS = {"multi_label": ["multi-label-image-classification"]}
"""What the hub calls a task within its task."""
PATIENTS = "patients"
_SLIDE_TAGS = ("histopathology", "whole-slide-imaging")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))

_OPENING = """\
```python
from datasets import concatenate_datasets, load_from_disk

pixels = load_from_disk("{folder}")           # {columns}, memory-mapped
labels = load_from_disk("{folder}/labels")    # {target}
sidecar = load_from_disk("{folder}/sidecar")  # key, patient, site, split, counts
dataset = concatenate_datasets([pixels, labels, sidecar], axis=1)
train = dataset.filter(lambda split: split == "train", input_columns="split")
```

{stored} `load_from_disk` stacks rows but joins no columns, hence three tables with the same rows.
`wsi_vit.datasets.reading.open_dataset` joins them and reads one split in batches. `counts` is what
a row holds of each class ({unit})."""

_TARGETS = {
    "segmentation": ("mask: PNG of training ids, 255 ignored", "pixels, ignored ones last"),
    "multi_label": (
        "labels: ids of those present; unknown: ids of those not known",
        "1 for each label that is present, those not known last",
    ),
}
_CLASS = ("label: training id", "1 for its class")
"""What a row's target is, and what `counts` counts."""


_STORED = {
    "pixels": """\
The pixels lie in shards beside this folder and are named by relative paths: move the store as a
whole.""",
    "coordinates": """\
The table says where each tile lies; its pixels stay in the slide, which must be in reach and the
very file that was tiled. After a move, `wsi-vit tile` with a cohort that names the new places lets
them be found again.""",
}


def card_text(facts: dict[str, Any]) -> str:
    """Return the card of a dataset with these facts, as Markdown with a YAML header."""
    return "\n".join(
        [
            *_header(facts),
            f"# {facts['name']}",
            "",
            f"- Task: {facts['task']}; classes: {', '.join(facts['classes'])}.",
            f"- {facts['examples']} examples of {facts['slides']} slides or images, "
            f"{facts['patients']} {_told_units(facts)}; "
            f"{facts['unlabelled']} unlabelled, {facts['left_out']} left out as guard band.",
            f"- Recipe: `{facts['name']}`. Digest: `{facts['digest']}`.",
            f"- Split: `{facts['split_kind']}`, digest `{facts['split_digest']}`; scores speak of "
            f"{facts['estimate']}.",
            "",
            "## Counts",
            "",
            *counts_table(facts),
            "",
            *beware(facts["warnings"]),
            "## Opening it",
            "",
            _opening(facts),
            "",
        ]
    )


def hub_metadata(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the head of a card says to the hub, whatever the dataset's files are."""
    size = next((word for most, word in _SIZES if facts["examples"] < most), "n>1M")
    of_slides = unit_of(facts) == PATIENTS
    return {
        "pretty_name": facts["name"],
        "task_categories": [_TASKS[facts["task"]]],
        **({"task_ids": _SUBTASKS[facts["task"]]} if facts["task"] in _SUBTASKS else {}),
        "tags": [*(_SLIDE_TAGS if of_slides else ()), "wsi-vit"],
        "size_categories": [size],
    }


def unit_of(facts: dict[str, Any]) -> str:
    """Return what a dataset calls those whom its splits keep whole, as a plural."""
    return facts.get("unit", PATIENTS)


def _told_units(facts: dict[str, Any]) -> str:
    return unit_of(facts) + ("" if facts["patients_known"] else ", each file for itself")


def _header(facts: dict[str, Any]) -> Iterator[str]:
    import yaml

    yield "---"
    yield yaml.safe_dump(hub_metadata(facts), sort_keys=False, allow_unicode=True).rstrip()
    yield "---"
    yield ""


def counts_table(facts: dict[str, Any]) -> Iterator[str]:
    """Yield one row a split: examples, slides, patients (or what stands for them), and classes."""
    names = [name.replace("|", "\\|") for name in facts["classes"]]
    yield f"| split | examples | slides | {unit_of(facts)} | " + " | ".join(names) + " |"
    yield "|---" * (4 + len(facts["classes"])) + "|"
    for name in SPLITS:
        split = facts["splits"][name]
        held = [f"{c['examples']} ({c['patients']})" for c in split["classes"].values()]
        cells = [name, split["examples"], split["slides"], split["patients"], *held]
        yield "| " + " | ".join(str(cell) for cell in cells) + " |"
    yield ""
    yield f"A class's cell: examples that show it ({unit_of(facts)} they come from)."


def beware(warnings: Sequence[str]) -> Iterator[str]:
    """Yield the section of warnings, if there are any."""
    if warnings:
        yield from ("## Beware", "", *(f"- {text}" for text in warnings), "")


def _opening(facts: dict[str, Any]) -> str:
    target, unit = _TARGETS.get(facts["task"], _CLASS)
    return _OPENING.format(
        folder="dataset",
        columns="image and coordinates" if facts["store"] == "pixels" else "coordinates",
        stored=_STORED[facts["store"]],
        target=target,
        unit=unit,
    )
