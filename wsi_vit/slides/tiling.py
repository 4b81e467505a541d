"""From a slide to its shard of tiles: the stage `tiles`."""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsi_vit.ahead import done_ahead
from wsi_vit.errors import Reason, SlideError
from wsi_vit.slides.coordinates.choosing import Chooser
from wsi_vit.slides.coordinates.places import SlidePlaces
from wsi_vit.slides.copying import DamageFoundError, copier_of
from wsi_vit.slides.cutting import Chunk, Cutter, Tally
from wsi_vit.slides.files import printable_name, slide_digest, usable_file
from wsi_vit.slides.jpeg.encoding import ENCODER
from wsi_vit.slides.overview import worker_count
from wsi_vit.slides.picture import write_picture
from wsi_vit.slides.quality.card import CARD, write_card
from wsi_vit.slides.shard import Cut, PackedRows, TileRow, write_shard
from wsi_vit.slides.slide import Slide, open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import Progress, TilesSection, no_tissue, plan_tiles
from wsi_vit.slides.tissue.outlines import outlines_digest
from wsi_vit.store import Artefact, DigestCache, Shape, Store

_log = logging.getLogger(__name__)

VERSION = 7
_CUT = 32
"""Tiles that a thread cuts at a time: of fewer, threads wait more for each other."""
_COPIED = 256
"""Tiles that a thread copies at a time; they are written as one batch, whose share is then small.
"""
_AHEAD = 2
"""Chunks of tiles that are done before they are wanted, a thread: enough to keep all busy."""


def tile_slide(
    given: SlideInput,
    *,
    section: TilesSection,
    store: Store,
    progress: Progress | None = None,
) -> Artefact:
    """Cut a slide into tiles, or find that it was done already.

    The artefact holds `tiles.arrow` (see `shard`), `thumbnail.jpg` and `quality.png` (see
    `quality.card`); its facts say what was asked for and what was got, and list tiles that could
    not be read. The same slide and section give the same bytes, however many threads there are.
    Memory does not grow with the slide. With `store: coordinates` the tiles are chosen and not cut,
    and the store notes where the slide lies.

    Raises:
        SlideError: The slide must be quarantined; the reason code says why.
        StoreError: The artefact cannot be written.
    """
    printable_name(given.name)
    usable_file(given.path)
    shape = tiles_shape(given, section=section, store=store)

    def make(folder: Path) -> dict[str, Any]:
        with open_slide(given.path, mpp=given.mpp, resolution=section.resolution) as slide:
            return _make_tiles(slide, given, section, folder, progress)

    tiles = store.ensure(shape, make)
    if section.store == "coordinates":
        SlidePlaces(store.root).note(shape.inputs["slide"], given.path)
    return tiles


def tiles_shape(given: SlideInput, *, section: TilesSection, store: Store) -> Shape:
    """Return what decides the tiles of a slide, and so names them."""
    sections = {"tiles": section, "slide_id": given.name, "mpp": given.mpp, "encoder": ENCODER}
    inputs = {"slide": slide_digest(given.path, DigestCache(store.root))}
    if given.tissue_mask is not None:
        inputs["tissue_mask"] = outlines_digest(given.tissue_mask)
    return Shape.of("tiles", VERSION, sections=sections, inputs=inputs)


def _make_tiles(
    slide: Slide, given: SlideInput, section: TilesSection, folder: Path, progress: Progress | None
) -> dict[str, Any]:
    cutter = Cutter(slide, given.name, section, plan_tiles(slide, section, given=given))
    tally, verified = write_tiles(cutter, folder / "tiles.arrow", progress)
    _refuse_too_many_invalid(slide, tally, section)
    if not tally.kept:
        raise no_tissue(slide, cutter.plan.mask, section.grid)
    write_picture(folder / "thumbnail.jpg", slide, cutter.plan.mask, tally.kept)
    write_card(folder / CARD, cutter.plan.card)
    return _facts(cutter, tally, verified)


Verified = Literal["sample", "every"] | None


def write_tiles(cutter: Cutter, path: Path, progress: Progress | None) -> tuple[Tally, Verified]:
    """Write the planned tiles; where one proves damaged, once more with all proved.

    Returns:
        What became of the tiles, and which of those that are not encoded were proved; None where
        all are encoded.

    Raises:
        SlideError: For other reasons than unreadable pixels.
    """
    verify = cutter.section.verify
    try:
        return _write(cutter, verify, path, progress)
    except DamageFoundError:
        return _write(cutter, "every", path, progress)


def _write(
    cutter: Cutter, verify: Literal["sample", "every"], path: Path, progress: Progress | None
) -> tuple[Tally, Verified]:
    tally, way = Tally(), _way_of(cutter, verify)
    count = len(cutter.plan.regions)
    spans = [range(first, min(first + way.size, count)) for first in range(0, count, way.size)]
    # Closed before the slide is: a thread that still reads a closed slide takes the process down.
    with closing(_in_order(way, spans)) as chunks:
        pieces = _pieces(chunks, spans, tally, progress)
        # Of a damaged slide the lengths of tiles may be anything.
        expected = min(way.expected_bytes, cutter.slide.path.stat().st_size)
        write_shard(path, pieces, places_only=way.places_only, expected_bytes=expected)
    return tally, verify if tally.copied or way.places_only else None


@dataclass(frozen=True, slots=True)
class _Way:
    """How tiles get into their shard."""

    work: Callable[[range], Chunk]
    size: int
    """Tiles that a thread does at a time."""
    places_only: Cut | None = None
    expected_bytes: int = 0
    """Of the shard; 0 where nobody knows."""


def _way_of(cutter: Cutter, verify: Literal["sample", "every"]) -> _Way:
    if cutter.section.store == "coordinates":
        chooser = Chooser(cutter, verify)
        return _Way(chooser.choose, _COPIED, chooser.cut)
    copier = copier_of(cutter, verify)
    if copier is None:
        return _Way(cutter.cut, _CUT)
    return _Way(copier.copy, _COPIED, expected_bytes=copier.expected_bytes)


def _in_order(way: _Way, spans: list[range]) -> Generator[Chunk]:
    """Do the spans on several threads; yield them in order, holding few at a time.

    On a single core they would only drive each other's bytes out of its cache.
    """
    threads = worker_count()
    if threads == 1:
        return (way.work(span) for span in spans)
    return done_ahead(way.work, spans, threads=threads, ahead=threads * _AHEAD - 1)


def _pieces(
    chunks: Generator[Chunk], spans: list[range], tally: Tally, progress: Progress | None
) -> Iterator[TileRow | PackedRows]:
    """Yield what is written, and count; a chunk that is written gives its memory to the next."""
    for chunk, span in zip(chunks, spans, strict=True):
        tally.add(chunk.tally)
        while chunk.pieces:
            yield chunk.pieces.pop(0)
        if progress:
            progress(span.stop, spans[-1].stop)


def _facts(cutter: Cutter, tally: Tally, verified: Verified) -> dict[str, Any]:
    slide, section, plan = cutter.slide, cutter.section, cutter.plan
    grid, stated = plan.grid, slide.resolution.stated
    return {
        "slide_id": cutter.slide_id,
        "width": slide.size[0],
        "height": slide.size[1],
        "vendor": slide.vendor,
        "reader": slide.reader,
        "mpp": float(slide.mpp),
        "mpp_source": slide.resolution.source,
        "mpp_stated": None if stated is None else [stated.mpp_x, stated.mpp_y, stated.source],
        "requested_mpp": section.grid.mpp,
        "effective_mpp": cutter.mpp,
        "grid": {
            "tile_px": grid.tile_px,
            "side": grid.side,
            "stride": grid.stride,
            "columns": grid.columns,
            "rows": grid.rows,
        },
        "path": plan.path.model_dump(),
        "recoloured": _recoloured(slide, plan.path.level, len(tally.kept)),
        "store": section.store,
        "copied": tally.copied,
        "verified": verified,
        "encoded": len(tally.kept) - tally.copied if section.store == "pixels" else 0,
        "encoder": {"quality": section.jpeg_quality, "chroma": section.jpeg_chroma},
        "tissue_share": plan.mask.tissue_share,
        "pen_share": float(plan.mask.is_pen.mean()),
        "tiles": len(tally.kept),
        "blurred": tally.blurred,
        "left_out": plan.left_out,
        "quality": plan.quality.model_dump(mode="json"),
        "tissue_unknown": tally.without_tissue,
        "invalid": tally.invalid,
    }


def _recoloured(slide: Slide, level: int, tiles: int) -> int:
    """Return how many tiles are not coloured as the file says they are, and warn of them."""
    stored = slide.stored_levels[level]
    if stored is None or not stored.is_recoloured or not tiles:
        return 0
    _log.warning(
        "%s: its tag says %s, its JPEG tiles say otherwise; %d tiles are coloured as they say",
        slide.path.name,
        stored.colour,
        tiles,
    )
    return tiles


def _refuse_too_many_invalid(slide: Slide, tally: Tally, section: TilesSection) -> None:
    wanted = len(tally.kept) + tally.blurred + len(tally.invalid)
    if len(tally.invalid) <= section.max_invalid * wanted:
        return
    raise SlideError(
        Reason.UNREADABLE_TILES,
        f"More than {section.max_invalid:.0%} of the tiles cannot be read",
        got=f"{len(tally.invalid)} of {wanted} in {slide.path.name}",
        remedy="Copy the slide from the scanner again; `wsi-vit slides check` lists what is bad",
    )
