"""What is known of a slide without cutting it, and whether it can be read through."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from wsi_vit.errors import Reason, SlideError
from wsi_vit.section import Section
from wsi_vit.slides.jpeg.level import StoredLevel
from wsi_vit.slides.overview import worker_count
from wsi_vit.slides.readers.reader import Level
from wsi_vit.slides.resolution import ResolutionSection, ResolutionSource
from wsi_vit.slides.slide import Slide, open_slide

_MOST_LISTED = 100


class LevelFacts(Section):
    """One stored resolution."""

    width: int
    height: int
    downsample: float
    tile_width: int
    tile_height: int
    native_tiles: int
    is_recoloured: bool
    """Whether the file's word for the colours is wrong, and the tiles' own is believed."""


class SlideFacts(Section):
    """The allow-list of what is said about a slide; nothing else in the file is copied out."""

    name: str
    vendor: str
    reader: str
    width: int
    height: int
    mpp: float | None
    """None where it is not known."""
    mpp_source: ResolutionSource
    stated_mpp: tuple[float, float] | None
    """x and y as the file itself says, whether or not they are used."""
    objective: float | None
    bounds: tuple[float, float, float, float] | None
    """x, y, width, height of the scanned part, in base pixels."""
    background: tuple[int, int, int]
    levels: tuple[LevelFacts, ...]


class BadTile(Section):
    """A stored tile that cannot be decoded."""

    level: int
    column: int
    row: int
    x: float
    """Left edge, in base pixels."""
    y: float
    why: str


class SlideReport(Section):
    """Whether a slide can be read through."""

    path: Path
    ok: bool
    reason: Reason | None = None
    message: str | None = None
    facts: SlideFacts | None = None
    native_tiles: int = 0
    """How many stored tiles were read."""
    unreadable: int = 0
    bad: tuple[BadTile, ...] = ()
    """The first hundred of the unreadable ones."""


def slide_facts(slide: Slide) -> SlideFacts:
    """Return geometry, resolution with its source, and stored tiles of an open slide."""
    said, bounds = slide.resolution.stated, slide.bounds
    return SlideFacts(
        name=slide.path.name,
        vendor=slide.vendor,
        reader=slide.reader,
        width=slide.size[0],
        height=slide.size[1],
        mpp=float(slide.mpp) if slide.resolution.is_known else None,
        mpp_source=slide.resolution.source,
        stated_mpp=None if said is None else (said.mpp_x, said.mpp_y),
        objective=slide.objective,
        bounds=None if bounds is None else (bounds.x, bounds.y, bounds.width, bounds.height),
        background=slide.background,
        levels=tuple(map(_level_facts, slide.levels, slide.stored_levels)),
    )


def check_slide(
    path: Path,
    *,
    mpp: float | None = None,
    resolution: ResolutionSection | None = None,
    depth: Literal["coarsest", "all"] = "all",
) -> SlideReport:
    """Open a slide and decode every stored tile of all levels, or of the coarsest one.

    A slide that cannot be used is a finding, not an error: its reason code is in the report.
    """
    try:
        with open_slide(path, mpp=mpp, resolution=resolution) as slide:
            return _read_through(slide, depth)
    except SlideError as error:
        return SlideReport(path=path, ok=False, reason=error.reason, message=str(error))


def _read_through(slide: Slide, depth: Literal["coarsest", "all"]) -> SlideReport:
    levels = range(len(slide.levels)) if depth == "all" else [len(slide.levels) - 1]
    places = [(level, *place) for level in levels for place in _places(slide.levels[level])]
    with ThreadPoolExecutor(worker_count()) as pool:
        tried = pool.map(lambda place: _try(slide, *place), places)
        bad = [tile for tile in tried if tile is not None]
    message = None
    if bad:
        message = (
            f"[{Reason.UNREADABLE_TILES}] {len(bad)} of {len(places)} stored tiles cannot be "
            "read. Copy the slide from the scanner again."
        )
    return SlideReport(
        path=slide.path,
        ok=not bad,
        reason=Reason.UNREADABLE_TILES if bad else None,
        message=message,
        facts=slide_facts(slide),
        native_tiles=len(places),
        unreadable=len(bad),
        bad=tuple(bad[:_MOST_LISTED]),
    )


def _try(slide: Slide, index: int, column: int, row: int) -> BadTile | None:
    level = slide.levels[index]
    try:
        slide.read_native(level, column, row)
    except SlideError as error:
        return BadTile(
            level=index,
            column=column,
            row=row,
            x=column * level.tile_width * level.downsample,
            y=row * level.tile_height * level.downsample,
            why=error.what,
        )
    return None


def _places(level: Level) -> Iterator[tuple[int, int]]:
    """Yield column and row of every stored tile."""
    for row in range(-(-level.height // level.tile_height)):
        for column in range(-(-level.width // level.tile_width)):
            yield column, row


def _level_facts(level: Level, stored: StoredLevel | None) -> LevelFacts:
    return LevelFacts(
        width=level.width,
        height=level.height,
        downsample=level.downsample,
        tile_width=level.tile_width,
        tile_height=level.tile_height,
        native_tiles=sum(1 for _ in _places(level)),
        is_recoloured=stored is not None and stored.is_recoloured,
    )
