"""How fast training reads tiles, beside Hugging Face `datasets` on the very same shards.

    python -m benchmarks.reading [--quick] [--json]

Encodes tiles of 256 px of synthetic colon (JPEG quality 80, 4:2:0), writes them as our tiler does,
builds a dataset, and reads rows at random in interleaved rounds on one core; medians of the ratios.

- `vs_datasets`: tiles/s of `DatasetExamples.__getitems__` (batches of 32: pictures, labels, names)
  over `ds[i]` of the same table as `load_from_disk` opens it, pictures decoded by its own `Image`
  feature to arrays; goal >= 2.
- `vs_datasets_batches`: the same over `ds[[...]]`, 32 rows at a time.
- `vs_limit`: ours over the bare decoding of the same bytes by simplejpeg, held in a list.
- `processes2`: batches through the training's own reader, tiles/s of two worker processes over one.
- `coordinates`: tiles/s of a shard of coordinates, read from the slide, over those of its pixels.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics import interleaved
from benchmarks.telling import options, tell
from benchmarks.tiling_slide import draw_slide
from wsi_vit.cohort import CohortRow
from wsi_vit.datasets.build import SlideShards, build_from_shards
from wsi_vit.datasets.reading import DatasetExamples, TrainingSet, open_dataset
from wsi_vit.datasets.splits import CohortSplit
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.slides.shard import StoreKind
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.store import Store

TILE, BATCH = 256, 32
LABELS = LabelMap(
    classes=(
        LabelClass(name="mucosa", source=("mucosa",), colour="#0072b2"),
        LabelClass(name="tumour", source=("tumour",), colour="#d55e00"),
    )
)


def dataset_of(slides: Sequence[Path], root: Path, kind: StoreKind) -> TrainingSet:
    """Return a dataset of slides, two in training and two that only make the split possible."""
    section = TilesSection.model_validate(
        {"grid": {"tile_px": TILE, "mpp": 0.25, "min_tissue": 0.3}, "store": kind}
    )
    store, shards = Store(root), list[SlideShards]()
    for number, slide in enumerate(slides):
        row = CohortRow(
            slide=slide,
            slide_id=slide.stem,
            patient=slide.stem,
            label=LABELS.names[number % 2],
            split="validation" if number == len(slides) - 1 else "train",
        )
        tiles = tile_slide(SlideInput.of(row), section=section, store=store)
        shards.append(SlideShards(row=row, tiles=tiles))
    made = build_from_shards(
        shards,
        labels=LABELS,
        task="classification",
        split=CohortSplit(),
        name="reading",
        store=store,
    )
    return open_dataset(made.folder)


def ours(examples: DatasetExamples, order: NDArray[np.int64]) -> int:
    """Read rows at random in batches, as training does; return a checksum."""
    total = 0
    for start in range(0, len(order), BATCH):
        for example in examples.__getitems__(order[start : start + BATCH].tolist()):
            total += int(example.image[0, 0, 0])
    return total


def peer(table: Any, rows: NDArray[np.int64], *, size: int) -> int:
    """Read the same rows as anybody would: row by row, or some at a time."""
    total = 0
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size].tolist()
        found = [table[chosen[0]]["image"]] if size == 1 else table[chosen]["image"]
        for picture in found:
            total += int(np.asarray(picture)[0, 0, 0])
    return total


def bare(streams: Sequence[bytes], order: NDArray[np.int64]) -> int:
    """Decode the same bytes and nothing else."""
    import simplejpeg

    return sum(int(simplejpeg.decode_jpeg(streams[i])[0, 0, 0]) for i in order)


def through_processes(examples: DatasetExamples, order: NDArray[np.int64]) -> dict[str, float]:
    """Return tiles/s of the training's reader with one and with two processes."""
    from wsi_vit.training.batches import BatchReader
    from wsi_vit.training.order import cut

    found: dict[str, float] = {}
    stacking: Any = _Stacking()
    for workers in (1, 2):
        with BatchReader(examples, model=stacking, workers=workers) as reader:
            list(reader.read(cut(order[: 4 * BATCH], BATCH)))  # the processes have begun
            began = time.perf_counter()
            count = sum(len(loaded.keys) for loaded in reader.read(cut(order, BATCH)))
            found[f"tiles_s_processes{workers}"] = count / (time.perf_counter() - began)
    return found


class _Stacking:
    """What the reader needs of a model: the stacking that all of ours do."""

    def collate(self, examples: Sequence[Any]) -> Any:
        """Stack as the models do."""
        from wsi_vit.models.pixels import stack_examples

        return stack_examples(examples, labels=LABELS, task="classification", side_px=TILE)


def measure(*, quick: bool) -> dict[str, Any]:
    """Draw, tile, build, and read in rounds."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        side = 5_120 if quick else 16_384
        slides = [root / f"slide{number}.svs" for number in range(2)]
        for slide in slides:
            draw_slide(slide, side, side)
        data = dataset_of(slides, root / "store", "pixels")
        places = dataset_of(slides, root / "store", "coordinates")
        return rounds(data, places, quick=quick)


def rounds(data: TrainingSet, places: TrainingSet, *, quick: bool) -> dict[str, Any]:
    """Time everybody on the same rows."""
    from datasets import load_from_disk

    table, examples = load_from_disk(str(data.folder)), data.examples("train")
    count = min(len(examples), 256 if quick else 2_000)
    order = np.random.default_rng(0).permutation(len(examples))[:count]
    rows = examples.rows[order]
    streams = [examples.encoded(int(i)) for i in range(len(examples))]
    far = places.examples("train")
    assert ours(examples, order) == peer(table, rows, size=1) == ours(far, order)
    jobs: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(examples, order),
        "datasets": lambda: peer(table, rows, size=1),
        "datasets_batches": lambda: peer(table, rows, size=BATCH),
        "limit": lambda: bare(streams, order),
        "coordinates": lambda: ours(far, order),
    }
    times = interleaved(jobs, rounds=3 if quick else 15)
    processes = through_processes(examples, order)

    def over(name: str) -> float:
        pairs = zip(times[name], times["ours"], strict=True)
        return round(statistics.median(theirs / mine for theirs, mine in pairs), 3)

    return {
        "vs_datasets": over("datasets"),
        "vs_datasets_batches": over("datasets_batches"),
        "vs_limit": over("limit"),
        "coordinates": round(1 / over("coordinates"), 3),
        "processes2": round(
            processes["tiles_s_processes2"] / processes["tiles_s_processes1"], 3
        ),
        "tiles": count,
        **{f"tiles_s_{job}": round(count / statistics.median(found))
           for job, found in times.items()},
        **{job: round(found) for job, found in processes.items()},
    }  # fmt: skip


def main() -> None:
    """Measure, print, and keep the result of a full run."""
    asked = options(__doc__, quick="the same keys in seconds").parse_args()
    tell("reading", measure(quick=asked.quick), asked)


if __name__ == "__main__":
    main()
