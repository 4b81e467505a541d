"""Pictures of every kind: shown to the model by a stated rule, or refused with the reason."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageOps

from tests.prediction.colours import LABELS
from wsi_vit.errors import UsageError
from wsi_vit.prediction.pictures import (
    Photograph,
    decode,
    find_images,
    header_bytes,
    save_class_map,
)

RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
GREY = RGB[..., 0]


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def sideways(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def png_of_16_bits(path: Path) -> Path:
    """Write what Pillow reads but cannot write: 16 bits for each of red, green and blue."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x01\x02" * 6) * 2)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def test_grey_palette_and_black_and_white_get_their_colours(tmp_path: Path) -> None:
    grey = decode(saved(tmp_path / "l.png", Image.fromarray(GREY))).pixels
    two = decode(saved(tmp_path / "1.png", Image.fromarray(GREY > 127))).pixels
    picture = Image.fromarray(GREY // 128).convert("P")
    picture.putpalette([10, 20, 30, 200, 100, 50])
    palette = decode(saved(tmp_path / "p.png", picture)).pixels

    assert (grey == GREY[..., None]).all()
    assert (two == np.where(GREY > 127, 255, 0)[..., None]).all()
    assert (palette == np.array([[10, 20, 30], [200, 100, 50]])[GREY // 128]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_lie_on_white(tmp_path: Path, mode: str) -> None:
    clear = Image.fromarray(RGB).convert(mode)
    alpha = np.zeros((4, 6), np.uint8)
    alpha[0] = 255
    clear.putalpha(Image.fromarray(alpha))
    pixels = decode(saved(tmp_path / "clear.png", clear)).pixels

    assert (pixels[1:] == 255).all()
    assert (pixels[0] == np.asarray(clear.convert("RGB"))[0]).all()


def test_cmyk_is_converted(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (200, 20, 20)).convert("CMYK")
    pixels = decode(saved(tmp_path / "print.jpg", red, quality=95)).pixels

    assert np.abs(pixels.astype(int) - (200, 20, 20)).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_photographs_stand_upright_and_maps_go_back(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    path = tmp_path / f"phone.{suffix}"
    saved(path, Image.fromarray(RGB), exif=sideways(orientation))
    photograph = decode(path)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    ids = np.arange(24, dtype=np.uint8).reshape(photograph.pixels.shape[:2])
    stored = Photograph(photograph.pixels, photograph.orientation).as_stored(ids)

    np.testing.assert_array_equal(photograph.pixels, expected)
    if suffix == "png":  # a TIFF is turned by Pillow itself
        save_class_map(tmp_path / "map.png", stored % 3, LABELS, orientation=orientation)
        with Image.open(tmp_path / "map.png") as image:
            again = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(again, LABELS.export(ids % 3))


def test_an_orientation_that_does_not_exist_means_upright(tmp_path: Path) -> None:
    odd = saved(tmp_path / "odd.png", Image.fromarray(RGB), exif=sideways(77))

    np.testing.assert_array_equal(decode(odd).pixels, RGB)
    assert decode(odd).orientation == 1


def test_more_than_8_bits_are_refused_in_grey_and_in_colour(tmp_path: Path) -> None:
    deep = saved(tmp_path / "l.png", Image.fromarray(np.full((9, 9), 40_000, np.uint16)))
    wide = tmp_path / "w.tif"
    tifffile.imwrite(wide, np.full((9, 9, 3), 40_000, np.uint16), photometric="rgb")
    floats = saved(tmp_path / "f.tif", Image.fromarray(np.ones((9, 9), np.float32)))

    for path in (deep, wide, floats, png_of_16_bits(tmp_path / "c.png")):
        with pytest.raises(ValueError, match=r"8 bits a channel|cannot identify"):
            decode(path)


def test_several_pages_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    path = saved(tmp_path / "scan.tif", pages[0], save_all=True, append_images=pages[1:])

    with pytest.raises(ValueError, match="2 pages"):
        decode(path)


def test_a_picture_beyond_the_limit_is_refused_and_one_below_it_warns_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert decode(path).pixels.shape == (4, 6, 3)

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match="DecompressionBomb"):
        decode(path)


def test_what_a_picture_will_hold_is_known_from_its_header(tmp_path: Path) -> None:
    assert header_bytes(saved(tmp_path / "x.png", Image.fromarray(RGB))) == 72
    assert header_bytes(tmp_path / "missing.png") == 0


def test_names_are_stems_places_in_folders_and_numbered_where_they_come_again(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.JPG", "sub/a.png", ".hidden.png", "b.classes.png", "b.overlay.png", "t.txt"):
        (folder / name).touch()
    named = [Path("a/x.png"), Path("b/x.png"), Path("c/x~2.png"), Path("d/x.tif")]

    assert [name for name, _ in find_images(named)] == ["x", "x~2", "x~2~2", "x~3"]
    assert list(find_images([folder])) == [
        ("b", folder / "b.JPG"),
        ("sub/a", folder / "sub/a.png"),
    ]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No picture"):
        list(find_images([tmp_path]))
