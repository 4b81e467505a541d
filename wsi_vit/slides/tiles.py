"""From a slide to its shard of tiles: the stage `tiles`."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.section import Section
from wsi_vit.slides.files import printable_name, slide_digest, usable_file
from wsi_vit.slides.grid import GridSection, TileGrid, plan_grid
from wsi_vit.slides.jpeg import ENCODER, encode_jpeg
from wsi_vit.slides.overview import worker_count
from wsi_vit.slides.picture import write_picture
from wsi_vit.slides.quality import QualitySection, sharpness
from wsi_vit.slides.resolution import ResolutionSection
from wsi_vit.slides.shard import TileRow, write_shard
from wsi_vit.slides.slide import Slide, open_slide
from wsi_vit.slides.tissue import TissueMask, TissueSection, find_tissue
from wsi_vit.store import Artefact, DigestCache, Shape, Store

VERSION = 1
_ENLARGEMENT = 1.05
"""Tiles may be this much finer than the slide; more would be invented detail."""
_CHUNK = 8
_AHEAD = 4
"""Chunks in work a thread: enough to keep all busy, little enough to hold few tiles."""

Progress = Callable[[int, int], None]
"""Told how many tiles are done, of how many."""


class TilesSection(Section):
    """How a slide becomes tiles."""

    grid: GridSection
    tissue: TissueSection = TissueSection()
    resolution: ResolutionSection = ResolutionSection()
    quality: QualitySection = QualitySection()
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    max_invalid: float = Field(default=0.05, ge=0, le=1)
    """Largest share of wanted tiles that may be unreadable before the slide is quarantined."""


@dataclass(frozen=True, slots=True)
class TilePlan:
    """Which tiles of a slide are wanted; no tile has been read for it."""

    grid: TileGrid
    mask: TissueMask
    regions: tuple[Region, ...]
    """Wanted tiles in base pixels, row-major."""
    tissue: NDArray[np.float64]
    """Share of each wanted tile that is tissue."""


def plan_tiles(slide: Slide, section: TilesSection) -> TilePlan:
    """Lay the grid, find the tissue and choose the tiles.

    A tile whose overview cannot be read is wanted too: only reading it tells what it is.

    Raises:
        SlideError: TOO_COARSE, TOO_SMALL, NO_TISSUE or NO_MPP.
    """
    _refuse_enlarging(slide, section.grid)
    grid = plan_grid(slide.size, slide.mpp, section.grid)
    if not len(grid):
        raise SlideError(
            Reason.TOO_SMALL,
            f"Not one tile of {grid.side:.1f} base pixels fits",
            got=f"{slide.size[0]} x {slide.size[1]} px in {slide.path.name}",
            remedy="Make tiles smaller, or set edge: pad in the recipe",
        )
    mask = find_tissue(slide, section.tissue)
    regions = tuple(grid.regions())
    share = mask.coverage(regions)
    wanted = ((share >= section.grid.min_tissue) & (share > 0)) | (mask.unreadable(regions) > 0)
    if not (wanted.any() and (mask.is_tissue.any() or mask.is_unreadable.any())):
        raise _no_tissue(slide, mask, section.grid)
    chosen = np.flatnonzero(wanted)
    return TilePlan(grid, mask, tuple(regions[i] for i in chosen), share[chosen])


def tile_slide(
    path: Path,
    *,
    slide_id: str,
    mpp: float | None,
    section: TilesSection,
    store: Store,
    progress: Progress | None = None,
) -> Artefact:
    """Cut a slide into tiles, or find that it was done already.

    The artefact holds `tiles.arrow` (see `shard`) and `thumbnail.jpg`; its facts say what was asked
    for and what was got, and list tiles that could not be read. The same slide and section give the
    same bytes, however many threads there are. Memory does not grow with the slide.

    Raises:
        SlideError: The slide must be quarantined; the reason code says why.
        StoreError: The artefact cannot be written.
    """
    printable_name(slide_id)
    usable_file(path)
    shape = tiles_shape(path, slide_id=slide_id, mpp=mpp, section=section, store=store)

    def make(folder: Path) -> dict[str, Any]:
        with open_slide(path, mpp=mpp, resolution=section.resolution) as slide:
            return _make_tiles(slide, slide_id, section, folder, progress)

    return store.ensure(shape, make)


def tiles_shape(
    path: Path, *, slide_id: str, mpp: float | None, section: TilesSection, store: Store
) -> Shape:
    """Return what decides the tiles of a slide, and so names them."""
    sections = {"tiles": section, "slide_id": slide_id, "mpp": mpp, "encoder": ENCODER}
    digest = slide_digest(path, DigestCache(store.root))
    return Shape.of("tiles", VERSION, sections=sections, inputs={"slide": digest})


@dataclass(slots=True)
class _Tally:
    """What became of the wanted tiles."""

    kept: list[Region] = field(default_factory=list)
    blurred: int = 0
    """Less sharp than asked."""
    invalid: list[dict[str, Any]] = field(default_factory=list)
    without_tissue: int = 0
    """Readable, but its overview was not, and what was read of that shows too little tissue."""


@dataclass(frozen=True, slots=True)
class _Tile:
    region: Region
    row: TileRow | None
    """None where it could not be read, was blurred, or turned out to be no tissue."""
    problem: str | None = None


def _make_tiles(
    slide: Slide, slide_id: str, section: TilesSection, folder: Path, progress: Progress | None
) -> dict[str, Any]:
    plan = plan_tiles(slide, section)
    tally = _Tally()
    cut = partial(_cut, slide, slide_id, section)
    least = section.grid.min_tissue
    # Closed before the slide is: a thread that still reads a closed slide takes the process down.
    with closing(_in_order(cut, plan)) as tiles:
        rows = _kept_rows(tiles, plan, tally, least=least, progress=progress)
        count = write_shard(folder / "tiles.arrow", rows)
    _refuse_too_many_invalid(slide, tally, count, section)
    if count == 0:
        raise _no_tissue(slide, plan.mask, section.grid)
    write_picture(folder / "thumbnail.jpg", slide, plan.mask, tally.kept)
    return _facts(slide, slide_id, section, plan, tally)


def _cut(
    slide: Slide, slide_id: str, section: TilesSection, wanted: Sequence[tuple[Region, float]]
) -> list[_Tile]:
    """Read and encode some tiles, in order; called in a thread."""
    return [_cut_one(slide, slide_id, section, region, share) for region, share in wanted]


def _cut_one(
    slide: Slide, slide_id: str, section: TilesSection, region: Region, tissue: float
) -> _Tile:
    side = section.grid.tile_px
    try:
        image = slide.read(region, width_px=side, height_px=side)
    except SlideError as error:
        if error.reason is not Reason.UNREADABLE_TILES:
            raise
        return _Tile(region, None, problem=str(error.reason))
    sharp = sharpness(image)
    if sharp < section.quality.min_sharpness or tissue < section.grid.min_tissue or tissue == 0:
        return _Tile(region, None)
    row = TileRow(
        image=encode_jpeg(image, section.jpeg_quality),
        slide_id=slide_id,
        x=region.x,
        y=region.y,
        mpp=float(slide.mpp) * region.width / side,
        tissue=tissue,
        quality=sharp,
    )
    return _Tile(region, row)


def _in_order(cut: Callable[..., list[_Tile]], plan: TilePlan) -> Generator[_Tile]:
    """Cut the planned tiles on several threads; yield them in order, holding few at a time."""
    wanted = list(zip(plan.regions, plan.tissue.tolist(), strict=True))
    threads = worker_count()
    pending: deque[Future[list[_Tile]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(0, len(wanted), _CHUNK):
                pending.append(pool.submit(cut, wanted[start : start + _CHUNK]))
                if len(pending) >= threads * _AHEAD:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _kept_rows(
    tiles: Iterable[_Tile],
    plan: TilePlan,
    tally: _Tally,
    *,
    least: float,
    progress: Progress | None,
) -> Iterator[TileRow]:
    """Yield the rows worth writing and count the rest."""
    for done, (tile, share) in enumerate(zip(tiles, plan.tissue, strict=True), start=1):
        if tile.problem:
            where = {"x": tile.region.x, "y": tile.region.y}
            tally.invalid.append({**where, "reason": tile.problem})
        elif tile.row:
            tally.kept.append(tile.region)
            yield tile.row
        elif share > 0 and share >= least:
            tally.blurred += 1
        else:
            tally.without_tissue += 1
        if progress:
            progress(done, len(plan.regions))


def _facts(
    slide: Slide, slide_id: str, section: TilesSection, plan: TilePlan, tally: _Tally
) -> dict[str, Any]:
    grid, stated = plan.grid, slide.resolution.stated
    return {
        "slide_id": slide_id,
        "width": slide.size[0],
        "height": slide.size[1],
        "vendor": slide.vendor,
        "reader": slide.reader,
        "mpp": float(slide.mpp),
        "mpp_source": slide.resolution.source,
        "mpp_stated": None if stated is None else [stated.mpp_x, stated.mpp_y, stated.source],
        "requested_mpp": section.grid.mpp,
        "effective_mpp": float(slide.mpp) * grid.side / grid.tile_px,
        "grid": {
            "tile_px": grid.tile_px,
            "side": grid.side,
            "stride": grid.stride,
            "columns": grid.columns,
            "rows": grid.rows,
        },
        "tissue_share": plan.mask.tissue_share,
        "pen_share": float(plan.mask.is_pen.mean()),
        "tiles": len(tally.kept),
        "blurred": tally.blurred,
        "tissue_unknown": tally.without_tissue,
        "invalid": tally.invalid,
    }


def _refuse_enlarging(slide: Slide, grid: GridSection) -> None:
    if grid.mpp * _ENLARGEMENT >= slide.mpp:
        return
    raise SlideError(
        Reason.TOO_COARSE,
        f"Tiles of {grid.mpp:g} µm/px would have to be enlarged",
        got=f"{slide.mpp:.4g} µm/px by {slide.resolution.source} in {slide.path.name}",
        remedy="Ask for a coarser mpp in the recipe, or leave the slide out",
    )


def _refuse_too_many_invalid(
    slide: Slide, tally: _Tally, count: int, section: TilesSection
) -> None:
    wanted = count + tally.blurred + len(tally.invalid)
    if len(tally.invalid) <= section.max_invalid * wanted:
        return
    raise SlideError(
        Reason.UNREADABLE_TILES,
        f"More than {section.max_invalid:.0%} of the tiles cannot be read",
        got=f"{len(tally.invalid)} of {wanted} in {slide.path.name}",
        remedy="Copy the slide from the scanner again; `wsi-vit slides check` lists what is bad",
    )


def _no_tissue(slide: Slide, mask: TissueMask, grid: GridSection) -> SlideError:
    return SlideError(
        Reason.NO_TISSUE,
        f"No tile is at least {grid.min_tissue:.0%} tissue",
        got=f"{mask.tissue_share:.2%} of {slide.path.name} is tissue",
        remedy="Look at the slide; lower grid.min_tissue or the tissue thresholds if it has some",
    )
