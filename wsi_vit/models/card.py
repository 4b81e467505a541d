"""The card of a model, in the form of the Hugging Face hub: what it is, for whom, how good."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import Field

from wsi_vit.labels import LabelMap
from wsi_vit.models.network import NetworkModel
from wsi_vit.section import Section

_TAGS = ("pathology", "whole-slide-imaging", "wsi-vit")
_PIPELINES = {"classification": "image-classification", "segmentation": "image-segmentation"}
RESEARCH_ONLY = (
    "For research. Not a medical device: it must not decide about a patient, "
    "and a pathologist must see what it says."
)
_USE = """```python
from wsi_vit.models.load import load_model

model = load_model("model")            # verified; safetensors only, nothing is run
scores = model.scores(images)          # uint8 (B, 3, H, W) -> {shape}
```"""


class CardFacts(Section):
    """What a card says that the model itself does not know."""

    name: str
    """Such as `wsi-vit-ebhi_classification`."""
    summary: str
    """One sentence: what it tells apart, in what."""
    base: str
    """Where its first weights came from, in words."""
    licence: str = "other"
    """A licence's identifier on the hub; that of the base weights binds as well."""
    dataset: str
    dataset_digest: str
    estimate: str = "unseen patients"
    """What the figures speak of."""
    metrics: Mapping[str, float | tuple[float, float, float] | None] = Field(default_factory=dict)
    """By name: a value, or a value with the bounds of its 95 % interval; None where undefined."""
    limits: Sequence[str] = ()
    """Known limits, a sentence each."""
    trained_on: date | None = None


def card_text(model: NetworkModel, facts: CardFacts) -> str:
    """Return the card of a model as Markdown with the hub's YAML head."""
    parts = [
        _head(model, facts),
        f"# {facts.name}\n\n{facts.summary}\n\n> {RESEARCH_ONLY}",
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

    head: dict[str, Any] = {
        "license": facts.licence,
        "library_name": "transformers",
        "pipeline_tag": _PIPELINES[model.task],
        "tags": list(_TAGS),
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---"


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


def _figure(value: float | tuple[float, float, float] | None) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, tuple):
        return "{:.3f} ({:.3f} to {:.3f})".format(*value)
    return f"{value:.3f} (no interval)"


def _model(model: NetworkModel, facts: CardFacts) -> str:
    said = {
        "Architecture": model.network.config.model_type,
        "Parameters": f"{model.parameter_count:,}",
        "First weights": facts.base,
        "Takes": model.accepts,
        "Normalised by": f"mean {model.preprocessing.mean}, std {model.preprocessing.std}",
    }
    return _bullets(f"{name}: {value}" for name, value in said.items())


def _data(facts: CardFacts) -> str:
    said = [f"{facts.dataset}, sha256 `{facts.dataset_digest}`"]
    if facts.trained_on:
        said.append(f"Trained on {facts.trained_on.isoformat()}")
    return _bullets(said)


def _use(model: NetworkModel) -> str:
    shape = "(B, classes)" if model.task == "classification" else "(B, classes, H, W)"
    return _USE.replace("{shape}", shape)


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _bullets(items: Any) -> str:
    return "\n".join(f"- {item}" for item in items)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
