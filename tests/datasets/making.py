"""Small shards in the format of the slides room, and image folders."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsi_vit.cohort import CohortRow
from wsi_vit.datasets.build import SlideShards
from wsi_vit.datasets.image_shards import png_of
from wsi_vit.datasets.shards import encoded, pixel_features, target_features, write_stream
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.store import Artefact, Shape, Store

LABELS = LabelMap(
    classes=(
        LabelClass(name="stroma", source=(0, "Stroma"), colour="#0072b2"),
        LabelClass(name="tumour", source=(1, "Tumour"), colour="#d55e00"),
    ),
    background="stroma",
)
SIDE = 100.0


def jpeg(seed: int, px: int = 16) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (px, px, 3), np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def tiles_of(store: Store, slide_id: str, *, columns: int, lines: int, seed: int) -> Artefact:
    places = [(x * SIDE, y * SIDE) for y in range(lines) for x in range(columns)]

    def make(folder: Path) -> dict[str, Any]:
        n = len(places)
        batch = {
            "image": [encoded(jpeg(seed * 1000 + i)) for i in range(n)],
            "slide_id": [slide_id] * n,
            "x": [x for x, _ in places],
            "y": [y for _, y in places],
            "mpp": [0.5] * n,
            "tissue": [1.0] * n,
            "quality": [0.5] * n,
            **{name: [0.0] * n for name in ("blur", "pen", "dark", "glass")},
        }
        write_stream(folder / "tiles.arrow", pixel_features(), [batch])
        return {"slide_id": slide_id, "tiles": n, "grid": {"side": SIDE, "stride": SIDE}}

    shape = Shape.of("tiles", 1, sections={"slide": slide_id, "seed": seed}, inputs={})
    return store.ensure(shape, make)


def labels_of(store: Store, tiles: Artefact, targets: list[Any], task: str) -> Artefact:
    def make(folder: Path) -> dict[str, Any]:
        features = target_features(LABELS, task)
        name = "label" if task == "classification" else "mask"
        rows = [encoded(png_of(t)) if isinstance(t, np.ndarray) else t for t in targets]
        write_stream(folder / "labels.arrow", features, [{name: rows}])
        return {}

    plain = [t.tolist() if isinstance(t, np.ndarray) else t for t in targets]
    shape = Shape.of(
        "tile-labels",
        1,
        sections={"targets": plain, "task": task},
        inputs={"tiles": tiles.digest},
    )
    return store.ensure(shape, make)


def cohort_shards(
    store: Store, *, slides: int, task: str = "classification", columns: int = 4, lines: int = 2
) -> list[SlideShards]:
    """Slides of as many patients, half of the tiles tumour, the first tile unlabelled."""
    made = list[SlideShards]()
    for number in range(slides):
        slide_id, n = f"s{number:02}", columns * lines
        tiles = tiles_of(store, slide_id, columns=columns, lines=lines, seed=number)
        if task == "classification":
            targets: list[Any] = [None, *[(i + number) % 2 for i in range(1, n)]]
        else:
            targets = [None, *[np.full((16, 16), i % 2, np.uint8) for i in range(1, n)]]
        row = CohortRow(
            slide=Path(f"/slides/{slide_id}.svs"),
            slide_id=slide_id,
            patient=f"p{number:02}",
            site=f"site{number % 2}",
        )
        labels = labels_of(store, tiles, targets, task)
        made.append(SlideShards(row=row, tiles=tiles, tile_labels=labels))
    return made


def image_folder(root: Path, *, patients: int = 6, px: int = 16) -> Path:
    """`<class>/image/P<patient>-<n>.png` with masks of the same name in `<class>/label/`."""
    for number in range(patients * 2):
        word = ("Stroma", "Tumour")[number % 2]
        name = f"P{number // 2:03}-{number}.png"
        for kind in ("image", "label"):
            (root / word / kind).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (px, px, 3), np.uint8)
        Image.fromarray(pixels).save(root / word / "image" / name)
        mask = np.zeros((px, px), np.uint8)
        mask[:, number % px :] = 200
        mask[0, 0] = 100  # anti-aliased: below the threshold
        Image.fromarray(mask).save(root / word / "label" / name)
    return root
