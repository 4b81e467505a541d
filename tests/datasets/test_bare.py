"""A published picture is its pixels: nothing else of a file leaves, and no pixel changes."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from wsi_vit.datasets.bare import bare_picture

CANARY = "Jane-Doe-1961"
PIXELS = np.random.default_rng(0).integers(0, 255, (33, 47, 3), np.uint8)


def told(kind: str, **options: object) -> bytes:
    """Encode the pixels with the canary in every place that the format has for words."""
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = CANARY
    stream = BytesIO()
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", CANARY)
        info.add_itxt("Patient", CANARY, zip=False)
        options["pnginfo"] = info
    Image.fromarray(PIXELS).save(
        stream, kind, exif=exif, icc_profile=CANARY.encode(), comment=CANARY, **options
    )
    return stream.getvalue() + CANARY.encode()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 90}),
        ("JPEG", {"quality": 90, "progressive": True, "restart_marker_blocks": 2}),
        ("JPEG", {"quality": 90, "keep_rgb": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {"description": CANARY}),
    ],
)
def test_words_go_and_every_pixel_stays(kind: str, options: dict[str, object]) -> None:
    data = told(kind, **options)

    bare = bare_picture(data)

    assert CANARY.encode() in data
    assert CANARY.encode() not in bare
    assert np.array_equal(decoded(bare), decoded(data))
    assert bare_picture(bare) == bare


def test_a_jpegs_thumbnail_goes_and_its_colours_are_still_told() -> None:
    stream = BytesIO()
    Image.fromarray(PIXELS).convert("CMYK").save(stream, "JPEG")
    adobe = stream.getvalue()
    plain = BytesIO()
    Image.fromarray(PIXELS).save(plain, "JPEG")
    head, rest = plain.getvalue()[:20], plain.getvalue()[20:]
    with_thumb = head[:4] + b"\x00\x13" + head[6:18] + b"\x01\x01" + b"abc" + rest

    assert b"Adobe" in bare_picture(adobe)
    assert np.array_equal(decoded(bare_picture(adobe)), decoded(adobe))
    assert b"abc" in with_thumb[:24]
    assert bare_picture(with_thumb) == plain.getvalue()


def test_a_mask_with_a_palette_keeps_its_ids() -> None:
    mask = Image.fromarray(PIXELS[..., 0] % 3, "P")
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    stream = BytesIO()
    mask.save(stream, "PNG", transparency=0)

    bare = Image.open(BytesIO(bare_picture(stream.getvalue())))

    assert bare.mode == "P"
    assert np.array_equal(np.asarray(bare), PIXELS[..., 0] % 3)


def test_a_png_whose_end_is_lost_becomes_a_whole_one() -> None:
    data = told("PNG")
    cut = data[: data.rindex(b"IEND") - 4]

    assert bare_picture(cut).endswith(b"IEND\xaeB`\x82")
    assert np.array_equal(decoded(bare_picture(cut)), PIXELS)


@pytest.mark.real
@pytest.mark.parametrize("place", ["ade20k", "ebhi-seg", "cracks", "camvid"])
def test_real_pictures_decode_to_the_same_pixels(real_data: Path, place: str) -> None:
    files = [
        path
        for path in sorted((real_data / place).rglob("*"))
        if path.suffix in {".jpg", ".png", ".JPG"}
    ]
    for path in files[:: max(1, len(files) // 8)]:
        data = path.read_bytes()
        bare = bare_picture(data)
        assert len(bare) <= len(data)
        assert np.array_equal(decoded(bare), decoded(data)), path.name
