"""The card of a model, in the form of the Hugging Face hub: what it is, for whom, how good."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import Field

from wsi_vit.labels import LabelMap
from wsi_vit.models.licences import Licence
from wsi_vit.models.network import NetworkModel
from wsi_vit.section import Section

_SLIDE_TAGS = ("pathology", "whole-slide-imaging")
_PIPELINES = {
    "classification": "image-classification",
    "segmentation": "image-segmentation",
    "multi_label": "image-classification",
    "pretraining": "image-feature-extraction",
}
_SHAPES = {
    "classification": "(B, classes)",
    "segmentation": "(B, classes, H, W)",
    "multi_label": "(B, labels), each from 0 to 1; present from model.thresholds on",
}
"""What scores are, by task."""
RESEARCH_ONLY = (
    "For research. Not a medical device: it must not decide about a patient, "
    "and a pathologist must see what it says."
)
_NO_GUARANTEE = "For research: its figures hold for data like those it was measured on, no further."
_USE = """```python
from wsi_vit.models.load import load_model

model = load_model("model")            # verified; safetensors only, nothing is run
scores = model.scores(images)          # uint8 (B, 3, H, W) -> {shape}
```

A folder of images, or slides, from the command line: `wsi-vit predict model PATH --out results`.
{theirs}
"""
_BEGIN = """Fine-tune from it: `wsi-vit run RECIPE --start model`, with a recipe of `kind: vit`,
`segmenter` or `classifier`. It says nothing of an image by itself.
{theirs}
"""
_THEIRS = """transformers reads the network alone, without our preprocessing:
`{network}.from_pretrained("model")`."""
_OURS_ALONE = "transformers has no class for this network: wsi-vit alone reads it."


Figure = float | tuple[float, float, float] | None
"""A value, or a value with the bounds of its 95 % interval; None where undefined."""


class CardFacts(Section):
    """What a card says that the model itself does not know."""

    name: str
    """Such as `wsi-vit-ebhi_classification`."""
    summary: str
    """One sentence: what it tells apart, in what."""
    base: str
    """Where its first weights came from, in words."""
    licence: str = "other"
    """The hub's identifier of the licence that the model's owner gives, who alone can. Where its
    first weights must not be used commercially, neither may the model, and their terms stand."""
    base_licence: Licence | None = None
    """The terms of its first weights, where they are known."""
    base_model: str | None = None
    """The hub's id of the model it was fine-tuned from, where it has one."""
    dataset: str
    dataset_digest: str
    hub_dataset: str | None = None
    """The hub's id of the data, where it has one."""
    unit: str = "patients"
    """What the dataset calls those whom its splits keep whole; patients make it a medical model."""
    estimate: str = "unseen patients"
    """What the figures speak of."""
    metrics: Mapping[str, Figure] = Field(default_factory=dict)
    """By name; `mean_iou (as others define it)` is a further definition of `mean_iou`."""
    limits: Sequence[str] = ()
    """Known limits, a sentence each."""
    trained_on: date | None = None


def card_text(model: NetworkModel, facts: CardFacts) -> str:
    """Return the card of a model as Markdown with the hub's YAML head."""
    parts = [
        _head(model, facts),
        f"# {facts.name}\n\n{facts.summary}\n\n> {_caveat(facts)}",
        _section("Classes", _classes(model.labels)),
        _section("Figures", _figures(facts)),
        _section("Model", _model(model, facts)),
        _section("Data", _data(facts)),
        _section("Limits", _bullets(facts.limits) if facts.limits else "None stated."),
        _section("Use", _use(model)),
    ]
    return "\n\n".join(parts) + "\n"


def _head(model: NetworkModel, facts: CardFacts) -> str:
    import yaml

    results = _results(model, facts)
    head: dict[str, Any] = {
        **_licence(facts),
        "library_name": "transformers" if model.transformers_class else "wsi-vit",
        "pipeline_tag": _PIPELINES[model.task],
        "base_model": facts.base_model,
        "datasets": [facts.hub_dataset] if facts.hub_dataset else None,
        "metrics": list(dict.fromkeys(item["type"] for item in results["metrics"])),
        "tags": [*(_SLIDE_TAGS if facts.unit == "patients" else ()), "wsi-vit"],
        "model-index": [{"name": facts.name, "results": [results]}] if results["metrics"] else None,
    }
    told = {key: value for key, value in head.items() if value}
    return f"---\n{yaml.safe_dump(told, sort_keys=False, allow_unicode=True)}---"


def _licence(facts: CardFacts) -> dict[str, str]:
    """Return the hub's keys for the terms that the model is under."""
    base = facts.base_licence
    if base is None or base.use == "any":
        return {"license": facts.licence}
    if base.id != "other":
        return {"license": base.id}
    named = base.name.lower().replace(" ", "-")  # the hub takes no spaces
    return {"license": base.id, "license_name": named, "license_link": base.link}


def _results(model: NetworkModel, facts: CardFacts) -> dict[str, Any]:
    """Return the figures as the hub's `model-index` has them; undefined ones are left out."""
    return {
        "task": {"type": _PIPELINES[model.task]},
        "dataset": {
            "type": facts.hub_dataset or facts.dataset,
            "name": facts.dataset,
            "split": "test",
            "revision": facts.dataset_digest,
        },
        "metrics": [
            _metric(name, value) for name, value in facts.metrics.items() if value is not None
        ],
    }


def _metric(name: str, figure: float | tuple[float, float, float]) -> dict[str, Any]:
    value, *bounds = figure if isinstance(figure, tuple) else (figure,)
    said = {"type": name.partition(" (")[0], "name": name, "value": value}
    return {**said, "args": {"interval_95": bounds}} if bounds else said


def _caveat(facts: CardFacts) -> str:
    return RESEARCH_ONLY if facts.unit == "patients" else _NO_GUARANTEE


def _classes(labels: LabelMap) -> str:
    rows = [
        f"| {index} | {_cell(item.name)} | {export} | `{item.colour}` |"
        for index, (item, export) in enumerate(zip(labels.classes, labels.export_ids, strict=True))
    ]
    note = f"\n\nBackground: {labels.background}." if labels.background else ""
    return "\n".join(["| id | class | exported as | colour |", "|---|---|---|---|", *rows]) + note


def _figures(facts: CardFacts) -> str:
    if not facts.metrics:
        return "Not evaluated."
    rows = [f"| {_cell(name)} | {_figure(value)} |" for name, value in facts.metrics.items()]
    head = f"| on {_cell(facts.estimate)} | value (95 % interval) |"
    return "\n".join([head, "|---|---|", *rows])


def _figure(value: Figure) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, tuple):
        return "{:.3f} ({:.3f} to {:.3f})".format(*value)
    return f"{value:.3f} (no interval)"


def _model(model: NetworkModel, facts: CardFacts) -> str:
    said = {
        "Architecture": model.architecture,
        "Parameters": f"{model.parameter_count:,}",
        "First weights": facts.base + _terms(facts.base_licence),
        "Takes": model.accepts,
        "Normalised by": f"mean {model.preprocessing.mean}, std {model.preprocessing.std}",
        **_thresholds(model),
    }
    return _bullets(f"{name}: {value}" for name, value in said.items())


def _terms(licence: Licence | None) -> str:
    if licence is None:
        return ""
    bound = "" if licence.use == "any" else "; this model too must not be used commercially"
    return f", under [{licence.name}]({licence.link}){bound}"


def _thresholds(model: NetworkModel) -> dict[str, str]:
    """Return from which scores on labels are present, where a model tells several."""
    found: tuple[float, ...] | None = getattr(model, "thresholds", None)
    if found is None:
        return {}
    told = (f"{name} {t:.3f}" for name, t in zip(model.labels.names, found, strict=True))
    return {"Scores from which on a label is present": ", ".join(told)}


def _data(facts: CardFacts) -> str:
    said = [f"{facts.dataset}, sha256 `{facts.dataset_digest}`"]
    if facts.trained_on:
        said.append(f"Trained on {facts.trained_on.isoformat()}")
    return _bullets(said)


def _use(model: NetworkModel) -> str:
    theirs = model.transformers_class
    said = _THEIRS.format(network=theirs) if theirs else _OURS_ALONE
    if model.task == "pretraining":
        return _BEGIN.format(theirs=said).rstrip()
    shape = _SHAPES[model.task]
    return _USE.format(shape=shape, theirs=said).rstrip()


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _bullets(items: Any) -> str:
    return "\n".join(f"- {item}" for item in items)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
