"""The stains of a dataset's slides: kept beside its tiles, applied whenever one is read.

Shards hold the scanner's own pixels, so what their stains become is decided by reading. It is
decided there, not on the device, because evaluation, baselines and pictures read the same way: what
is judged is what was learnt from.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsi_vit.datasets.plan import Plan
from wsi_vit.section import Section
from wsi_vit.slides.stain.fit import WHY
from wsi_vit.slides.stain.mapping import StainMap
from wsi_vit.slides.stain.stage import SlideStain
from wsi_vit.store import canonical_json

STAINS = "stains.json"


class _Stains(Section):
    """What the file holds."""

    slides: dict[str, SlideStain]
    """By slide id."""


def write_stains(plan: Plan, folder: Path) -> dict[str, Any]:
    """Write the stains of the plan's slides, where they are known; return the facts of it."""
    found = {
        shard.name: SlideStain.model_validate(shard.stain.facts)
        for shard in plan.shards
        if shard.stain
    }
    if not found:
        return {}
    (folder / STAINS).write_text(canonical_json(_Stains(slides=found)))
    kept = {name: stain.fit.outcome for name, stain in found.items() if stain.map is None}
    return {"stain": {"mapped": len(found) - len(kept), "kept": kept}}


def stain_warnings(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield which slides keep their colours though the others do not, and why."""
    kept = facts.get("stain", {}).get("kept", {})
    for outcome in sorted(set(kept.values())):
        names = sorted(name for name, why in kept.items() if why == outcome)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        yield (
            f"{len(names)} slides keep their colours, unlike the others: {WHY[outcome]} "
            f"({', '.join(names[:5])}{more})."
        )


def stain_maps(folder: Path) -> dict[str, StainMap]:
    """Return what the pixels of each slide go through; slides that stay as they are are absent."""
    path = folder / STAINS
    if not path.is_file():
        return {}
    slides = _Stains.model_validate_json(path.read_bytes()).slides
    maps = {name: stain.map for name, stain in slides.items()}
    return {name: found for name, found in maps.items() if found is not None}
