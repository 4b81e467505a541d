"""Pictures of tiles of which only the places are kept: read from their slides when wanted.

A batch is read slide by slide, and in each slide in the order of its file. Before the first tile is
decoded, the system is told of all the bytes that the batch needs, so that a slow disk fetches
from every slide at once.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.shards import open_stream
from wsi_vit.errors import DatasetError, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides.coordinates.held import HeldSlides, SlideWanted
from wsi_vit.slides.jpeg.encoding import Chroma, encode_jpeg
from wsi_vit.slides.jpeg.stored import Extent
from wsi_vit.slides.resolution import ResolutionSection
from wsi_vit.slides.slide import Slide
from wsi_vit.store import read_manifest

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shard:
    """The tiles of one slide."""

    slide: SlideWanted
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    side: float
    tile_px: int
    quality: int
    chroma: Chroma

    @classmethod
    def of(cls, path: Path) -> Self:
        manifest, table = read_manifest(path.parent), open_stream(path)
        shape, facts = manifest.shape, manifest.facts
        return cls(
            slide=SlideWanted(
                slide_id=facts["slide_id"],
                digest=shape.inputs["slide"],
                mpp=shape.sections["mpp"],
                resolution=ResolutionSection.model_validate(shape.sections["tiles"]["resolution"]),
            ),
            x=table["x"].to_numpy(),
            y=table["y"].to_numpy(),
            side=facts["grid"]["side"],
            tile_px=facts["grid"]["tile_px"],
            quality=facts["encoder"]["quality"],
            chroma=facts["encoder"]["chroma"],
        )

    def region(self, row: int) -> Region:
        return Region(float(self.x[row]), float(self.y[row]), self.side, self.side)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    """A tile that is wanted."""

    place: int
    """In the batch."""
    name: str
    shard: int
    region: Region
    slide: Slide
    extents: list[Extent]

    @property
    def order(self) -> tuple[int, int, float, float]:
        """Slide by slide, in each by the place in its file, or row by row where nobody knows it."""
        first = self.extents[0][1] if self.extents else 0
        return self.shard, first, self.region.y, self.region.x

    def read(self, out: Picture) -> None:
        try:
            self.slide.read_into(out, self.region)
        except SlideError as error:
            where = f"{self.region.x:g}, {self.region.y:g}"
            raise DatasetError(
                f"The tile {self.name} cannot be read from its slide: {error.what}",
                got=f"{self.region.width:g} base pixels from ({where}) in {self.slide.path.name}",
                remedy="Copy the slide again; or tile it with `verify: every`, which leaves such "
                "tiles out",
            ) from error


class SlidePictures:
    """Tiles of slides that stay open, the last used ones."""

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = [_Shard.of(path) for path in shards]
        self._ends = np.cumsum([len(shard.x) for shard in self._shards])
        self._px = _one_size(self._shards)
        self._slides = HeldSlides(shards[0].resolve().parents[2])
        self._slides.refuse_missing(shard.slide for shard in self._shards)

    def read(self, rows: Sequence[int], names: Sequence[str]) -> list[Picture]:
        """Return the pictures of rows, RGB (h, w, 3), in this order; names are for errors.

        Raises:
            DatasetError: A slide is gone or is another one, or a tile cannot be read.
        """
        out = np.empty((len(rows), self._px, self._px, 3), np.uint8)
        with ExitStack() as stack:
            for tile in sorted(self._wanted(rows, names, stack), key=lambda tile: tile.order):
                tile.read(out[tile.place])
        return list(out)

    def encoded(self, row: int, name: str) -> bytes:
        """Return one tile as JPEG, encoded as the recipe has it for a shard of pixels.

        Raises:
            DatasetError: A slide is gone or is another one, or the tile cannot be read.
        """
        shard = self._shards[self._shard_of(row)]
        return encode_jpeg(self.read([row], [name])[0], shard.quality, chroma=shard.chroma)

    def _wanted(
        self, rows: Sequence[int], names: Sequence[str], stack: ExitStack
    ) -> Iterator[_Tile]:
        """Yield the tiles; their slides are open as long as the stack is, and know of them."""
        slides: dict[int, Slide] = {}
        for place, row in enumerate(rows):
            number = self._shard_of(row)
            shard = self._shards[number]
            if number not in slides:
                slides[number] = stack.enter_context(self._slides.held(shard.slide))
            slide, px = slides[number], self._px
            region = shard.region(row - int(self._ends[number]) + len(shard.x))
            extents = slide.extents(region, width_px=px, height_px=px)
            slide.announce(extents)
            yield _Tile(
                place=place,
                name=names[place],
                shard=number,
                region=region,
                slide=slide,
                extents=extents,
            )

    def _shard_of(self, row: int) -> int:
        return int(np.searchsorted(self._ends, row, side="right"))


def _one_size(shards: Sequence[_Shard]) -> int:
    sizes = sorted({shard.tile_px for shard in shards})
    if len(sizes) > 1:
        raise DatasetError(
            "The slides of a dataset were cut to tiles of different sizes",
            got=", ".join(f"{size} px" for size in sizes),
            remedy="Tile them all by one recipe",
        )
    return sizes[0]
