"""The stains of a slide, found once and kept: the stage `stain`."""

from pathlib import Path
from typing import Any

from wsi_vit.section import Section
from wsi_vit.slides.files import slide_digest, usable_file
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.stain.fit import StainFit
from wsi_vit.slides.stain.mapping import StainMap, map_to
from wsi_vit.slides.stain.sampling import fit_slide
from wsi_vit.slides.stain.section import MacenkoStain
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.store import Artefact, DigestCache, Shape, Store, canonical_json

VERSION = 1
STAGE = "stain"


class SlideStain(Section):
    """What was found in a slide, and what it is brought to."""

    section: MacenkoStain
    fit: StainFit

    @property
    def map(self) -> StainMap | None:
        """What its pixels go through; None where they stay as they are."""
        return map_to(self.fit, self.section.target)


def stain_slide(
    path: Path, *, mpp: float | None, section: MacenkoStain, tiles: TilesSection, store: Store
) -> Artefact:
    """Find the stains of a slide, or find that it was done already.

    The artefact's facts, and its `stain.json`, are a `SlideStain`.

    Args:
        path: The slide.
        mpp: Micrometres per base pixel; wins over what the file says.
        section: How stains are found, and what they become.
        tiles: How the slide is opened, and what counts as tissue.
        store: Where it is kept.

    Raises:
        SlideError: The slide cannot be used.
        StoreError: The artefact cannot be written.
    """
    usable_file(path)
    sections = {
        "stain": section,
        "tissue": tiles.tissue,
        "resolution": tiles.resolution,
        "mpp": mpp,
    }
    digest = slide_digest(path, DigestCache(store.root))
    shape = Shape.of(STAGE, VERSION, sections=sections, inputs={"slide": digest})

    def make(folder: Path) -> dict[str, Any]:
        with open_slide(path, mpp=mpp, resolution=tiles.resolution) as slide:
            found = SlideStain(section=section, fit=fit_slide(slide, section, tiles.tissue))
        (folder / "stain.json").write_text(canonical_json(found))
        return found.model_dump(mode="json")

    return store.ensure(shape, make)
