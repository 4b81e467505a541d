import pytest

from wsi_vit.slides.readers.planes import plane_for, planes_of
from wsi_vit.slides.readers.reader import Level


def level(
    downsample: float, *, tile: int = 256, width: int = 40_000, height: int = 30_000
) -> Level:
    return Level(
        width=int(width / downsample),
        height=int(height / downsample),
        downsample=downsample,
        tile_width=tile,
        tile_height=tile,
    )


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(0.9, (0, 1), id="finer than the slide: the finest"),
        pytest.param(1.0, (0, 1), id="native"),
        pytest.param(1.48, (0, 1), id="between: the finer"),
        pytest.param(1.99, (0, 1), id="a hair finer than half: not enlarged"),
        pytest.param(2.0, (0, 2), id="half, scaled while decoding"),
        pytest.param(2.96, (0, 1), id="cuts the pixels of a half: full size"),
        pytest.param(3.97, (1, 1), id="a stored level within one per cent"),
        pytest.param(4.0, (1, 1), id="a stored level rather than a scaled one"),
        pytest.param(8.5, (1, 1), id="cuts the pixels of half a level: the level"),
        pytest.param(8.001, (1, 2), id="half of a stored level rather than an eighth"),
        pytest.param(32.0, (2, 2), id="the tissue mask"),
        pytest.param(1000.0, (2, 8), id="coarser than all"),
    ],
)
def test_the_coarsest_plane_that_is_fine_enough_serves(
    wanted: float, expected: tuple[int, int]
) -> None:
    planes = planes_of([level(1), level(4.0005), level(16)], [True] * 3)

    found = plane_for(planes, wanted)

    assert (found.level, found.factor) == expected


@pytest.mark.parametrize(
    ("corner", "factor"),
    [
        pytest.param((512.0, 0.0), 2, id="on the scaled pixels"),
        pytest.param((513.0, 0.0), 1, id="between them, across"),
        pytest.param((0.0, 0.5), 1, id="between them, down"),
    ],
)
def test_a_scaled_plane_serves_where_its_pixels_are_the_outputs(
    corner: tuple[float, float], factor: int
) -> None:
    planes = planes_of([level(1)], [True])

    assert plane_for(planes, 2.0, corner=corner).factor == factor
    assert plane_for(planes, 6.3, corner=corner).factor == 2  # many pixels: edges do not matter


def test_only_jpeg_tiles_of_whole_blocks_are_scaled() -> None:
    planes = planes_of([level(1, tile=240), level(4, tile=100), level(16)], [True, True, False])

    assert [(plane.level, plane.factor) for plane in planes] == [
        (0, 1), (0, 2), (0, 4), (0, 8), (1, 1), (2, 1),
    ]  # fmt: skip


def test_a_scaled_plane_ends_where_blocks_hold_only_the_slide() -> None:
    whole, half, *_ = planes_of([level(1, width=1000, height=640)], [True])

    assert (whole.width, whole.height, whole.is_clipped) == (1000, 640, False)
    assert (half.width, half.height, half.is_clipped) == (496, 320, True)
