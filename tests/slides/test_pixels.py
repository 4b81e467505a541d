"""What of decoded tiles is kept: what the next picture needs too, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.slides.making import tissue_like, write_jpeg_tiff
from wsi_vit.slides.jpeg import pixels
from wsi_vit.slides.jpeg.pixels import JpegPixels
from wsi_vit.slides.slide import open_slide

SIDE = 64


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how many tiles are decoded."""
    counted, decode = list[int](), pixels.decode_strictly

    def counting(*args: Any) -> Any:
        counted.append(1)
        return decode(*args)

    monkeypatch.setattr(pixels, "decode_strictly", counting)
    return counted


@pytest.mark.parametrize(
    ("boxes", "decodes", "held"),
    [
        pytest.param([(0, 0, 128, 64), (128, 0, 128, 64)], 4, 0, id="side by side"),
        pytest.param([(0, 0, 96, 64), (96, 0, 96, 64)], 3, 1, id="cutting one tile"),
        pytest.param([(x, 0, 128, 64) for x in (0, 64, 128, 192)], 6, 4, id="overlapping"),
        pytest.param([(0, 0, 320, 192)] * 3, 30, 15, id="the same again"),
    ],
)
def test_a_decoded_tile_is_kept_where_another_picture_needs_it(
    tmp_path: Path,
    decoded: list[int],
    boxes: list[tuple[int, int, int, int]],
    decodes: int,
    held: int,
) -> None:
    truth = tissue_like(5 * SIDE, 3 * SIDE)
    path = write_jpeg_tiff(tmp_path / "a.tif", truth, kind="own tables", mpp=2.0)
    with open_slide(path) as slide:
        assert slide.stored
        own = JpegPixels(slide.stored, cache_bytes=1 << 20)

        found = [own.read(0, 1, box) for box in boxes]

        for (x, y, width, height), image in zip(boxes, found, strict=True):
            whole = JpegPixels(slide.stored, cache_bytes=0).read(0, 1, (0, 0, *truth.shape[1::-1]))
            assert np.array_equal(image, whole[y : y + height, x : x + width])
    assert len(decoded) - len(boxes) * 15 == decodes
    assert len(own._kept._tiles) == held


def test_no_more_is_kept_than_was_granted(tmp_path: Path, decoded: list[int]) -> None:
    path = write_jpeg_tiff(
        tmp_path / "a.tif", tissue_like(5 * SIDE, 3 * SIDE), kind="own tables", mpp=2.0
    )
    with open_slide(path) as slide:
        assert slide.stored
        own = JpegPixels(slide.stored, cache_bytes=2 * SIDE * SIDE * 4)
        for x in range(0, 256, 32):
            own.read(0, 1, (x, 0, SIDE, SIDE))

    assert own._kept._bytes == 2 * SIDE * SIDE * 4
    assert len(decoded) == 6, "five tiles, the first of them again before it was known to be shared"
