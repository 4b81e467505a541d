"""A label image over the whole slide as annotations: each value is a source id of the label map."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import AnnotationError
from wsi_vit.geometry import Region
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.slides.readers.tifffile_reader import decoding_errors

_TOLERANCE = 0.01
"""The scales along x and y may differ by this much: a mask's size is a rounded number."""

_CUSTOMARY = (0, IGNORE_ID)
"""Values that say "nothing" in most label images; leaving them out is worth no note."""

_MOST_PIXELS = 1_000_000_000
_BAND = 1024


@dataclass(frozen=True, slots=True)
class RasterAnnotations:
    """Training ids on a grid that covers the slide."""

    ids: NDArray[np.uint8]
    """Shape (rows, columns); 255 is outside every annotation."""
    scale: tuple[float, float]
    """Mask pixels a base pixel, along x and y."""
    class_count: int
    notes: tuple[str, ...]

    def coverage(self, regions: Sequence[Region]) -> NDArray[np.float64]:
        """Return the exact share of each region covered by each class, shape (n, classes)."""
        shares = [self._shares(region) for region in regions]
        return np.array(shares, np.float64).reshape(len(regions), self.class_count)

    def _shares(self, region: Region) -> NDArray[np.float64]:
        rows, columns = self.ids.shape
        top, down = _weights(region.y * self.scale[1], region.bottom * self.scale[1], rows)
        left, across = _weights(region.x * self.scale[0], region.right * self.scale[0], columns)
        cut = self.ids[top : top + len(down), left : left + len(across)]
        whole = region.width * self.scale[0] * region.height * self.scale[1]
        return np.array([_weighed(cut == k, down, across) for k in range(self.class_count)]) / whole

    def mask(
        self, region: Region, *, width_px: int, height_px: int, other: int
    ) -> NDArray[np.uint8]:
        """Return the training id at each pixel's centre, shape (height_px, width_px)."""
        x = region.x + (np.arange(width_px) + 0.5) * region.width / width_px
        y = region.y + (np.arange(height_px) + 0.5) * region.height / height_px
        columns = np.floor(x * self.scale[0]).astype(np.int64)
        rows = np.floor(y * self.scale[1]).astype(np.int64)
        high, wide = self.ids.shape
        picture = self.ids[rows.clip(0, high - 1)[:, None], columns.clip(0, wide - 1)[None, :]]
        outside = (rows < 0) | (rows >= high)
        beside = (columns < 0) | (columns >= wide)
        unknown = (picture == IGNORE_ID) | outside[:, None] | beside[None, :]
        return np.where(unknown, np.uint8(other), picture)


def _weights(start: float, stop: float, length: int) -> tuple[int, NDArray[np.float64]]:
    """Return the first cell of an interval, and how much of it and the next ones it covers."""
    start, stop = max(start, 0.0), min(stop, float(length))
    if stop <= start:
        return 0, np.zeros(0)
    cells = np.arange(int(np.floor(start)), int(np.ceil(stop)))
    return int(cells[0]), np.minimum(cells + 1, stop) - np.maximum(cells, start)


def _weighed(
    found: NDArray[np.bool_], down: NDArray[np.float64], across: NDArray[np.float64]
) -> float:
    """Return the sum of found cells (rows, columns), each by its weights.

    Only the outermost weights differ from 1, so the inner cells are counted, not multiplied: a
    product would turn the whole mask into float64.
    """
    if not found.size:
        return 0.0
    rows = found[:, 0] * across[0] + np.count_nonzero(found[:, 1:-1], axis=1)
    if len(across) > 1:
        rows += found[:, -1] * across[-1]
    return float(down @ rows)


def read_raster(
    path: Path, *, slide_size: tuple[int, int], labels: LabelMap, kind: str
) -> RasterAnnotations:
    """Return a PNG or TIFF label image as annotations.

    Args:
        path: The image; it covers the whole plane, at any scale.
        slide_size: Width and height of the slide in base pixels.
        labels: Names each value by an integer source.
        kind: `png` or `tiff`.

    Raises:
        AnnotationError: It cannot be read, is no label image, has other proportions than the slide,
            or holds no value that the label map knows.
    """
    values = _read_png(path, slide_size) if kind == "png" else _read_tiff(path, slide_size)
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
        raise _no_labels(path, f"shape {values.shape}, {values.dtype}")
    ids, counts = _narrowed(values, labels)
    unknown = {value: n for value, n in counts.items() if labels.id_of_source(value) is None}
    if (ids == IGNORE_ID).all():
        raise AnnotationError(
            "The label map knows none of the values of a label image",
            got=f"{', '.join(map(str, sorted(unknown)[:20]))} in {path}",
            known=[source for item in labels.classes for source in item.sources],
            remedy="Add the values, as whole numbers, to the sources of the classes",
        )
    width, height = slide_size
    notes = tuple(
        f"value {value} ({count / values.size:.1%} of the label image) left out: the label map "
        "does not know it"
        for value, count in sorted(unknown.items())
        if value not in _CUSTOMARY
    )
    return RasterAnnotations(ids, (ids.shape[1] / width, ids.shape[0] / height), len(labels), notes)


def _narrowed(
    values: NDArray[np.integer[Any]], labels: LabelMap
) -> tuple[NDArray[np.uint8], dict[int, int]]:
    """Return training ids and the count of each value, band by band."""
    ids, counts = np.empty(values.shape, np.uint8), dict[int, int]()
    for top in range(0, len(values), _BAND):
        band = values[top : top + _BAND]
        if band.min(initial=0) < 0 or band.max(initial=0) > np.iinfo(np.uint16).max:
            raise AnnotationError(
                "A label image holds a value below 0 or above 65535",
                got=f"{band.min()} to {band.max()}",
                remedy="Write class numbers, not colours or measurements",
            )
        found = np.bincount(band.ravel())
        for value in np.flatnonzero(found).tolist():
            counts[value] = counts.get(value, 0) + int(found[value])
        ids[top : top + _BAND] = labels.narrow(band, other=IGNORE_ID)
    return ids, counts


def _no_labels(path: Path, got: str) -> AnnotationError:
    return AnnotationError(
        "This image is no label image: it must hold one whole number a pixel",
        got=f"{got} in {path}",
        remedy="Export the class numbers as an 8-bit or 16-bit grey (or indexed) PNG or TIFF",
    )


def _check_size(columns: int, rows: int, slide_size: tuple[int, int], path: Path) -> None:
    across, down = columns / slide_size[0], rows / slide_size[1]
    slack = _TOLERANCE * max(across, down) + 1 / min(slide_size)
    if abs(across - down) > slack:
        raise AnnotationError(
            "A label image has other proportions than its slide",
            got=f"{columns} x {rows} for a slide of {slide_size[0]} x {slide_size[1]} ({path})",
            remedy="Export it over the whole slide; is it of another slide, or turned?",
        )


def _read_png(path: Path, slide_size: tuple[int, int]) -> NDArray[Any]:
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path)
        with picture:
            _check_size(*picture.size, slide_size, path)
            if picture.mode not in ("1", "L", "P", "I", "I;16"):
                raise _no_labels(path, f"mode {picture.mode}")
            return np.asarray(picture.convert("L") if picture.mode == "1" else picture)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from error


def _read_tiff(path: Path, slide_size: tuple[int, int]) -> NDArray[Any]:
    """Read the finest level that stays below `_MOST_PIXELS`."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            levels = tiff.series[0].levels
            level = next((item for item in levels if item.size <= _MOST_PIXELS), None)
            if level is None:
                raise AnnotationError(
                    "A label image is too large to be held in memory",
                    got=f"{levels[-1].shape} in {path}",
                    remedy="Export it at a coarser scale; any scale does",
                )
            if len(level.shape) != 2:
                raise _no_labels(path, f"shape {level.shape}")
            _check_size(level.shape[1], level.shape[0], slide_size, path)
            page: Any = level.keyframe
            if len(page.dataoffsets) < math.prod(page.chunked):
                raise ValueError(f"{len(page.dataoffsets)} of {math.prod(page.chunked)} pieces")
            return level.asarray()
    except decoding_errors() as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> AnnotationError:
    return AnnotationError(
        f"Cannot read a label image ({type(error).__name__}: {error})",
        got=path,
        remedy="Export it again",
    )
