"""How long very many outlines take: reading them, and labelling the tiles of a slide with them.

    python -m benchmarks.outlines [--quick] [--json]

Draws 100,000 outlines of four classes as QuPath GeoJSON (blobs of 12 corners, 30 to 90 px, apart
as nuclei are, one in ten with a hole) over a slide of 40,000 x 30,000 px, and sixteen large areas
below them. Ours, in a process of its own: `read_annotations`, which finds what of each area no
smaller one covers; the exact share of each of 18,000 tiles of 256 px that each class covers; masks
of 500 tiles. Beside it, in the same run: `json.loads` and `shapely.geometry.shape`, the least a
reader does; and shares by Shapely's `STRtree` and one intersection after the other on every 100th
tile, which counts twice where outlines lie upon each other. `--quick` takes 10,000 outlines. Memory
is the most that the process which reads and labels ever held.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import as_users_have
from benchmarks.telling import options, tell

ROOT = Path(__file__).parents[1]
SIZE, TILE, MASKS, SAMPLED = (40_000, 30_000), 256, 500, 100
AREAS = 16
NAMES = ("stroma", "tumour", "lymphocyte", "fibroblast", "endothelium")

Figures = dict[str, Any]


def draw_outlines(path: Path, count: int) -> None:
    """Write outlines as QuPath does, the same ones each time."""
    random = np.random.default_rng(0)
    turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    features = []
    for number in range(AREAS):
        centre = (np.array(divmod(number, 4)) + 0.5) * np.array(SIZE) / 4
        features.append(feature([centre + 3_500 * circle], NAMES[0]))
    across = int(np.ceil(np.sqrt(count * SIZE[0] / SIZE[1])))
    pitch = SIZE[0] / across
    for number in range(count):
        centre = (
            np.array(divmod(number, across)[::-1]) + 0.5 + random.uniform(-0.05, 0.05)
        ) * pitch
        radius = pitch * random.uniform(0.15, 0.35) * random.uniform(0.8, 1.2, (12, 1))
        rings = [centre + radius * circle]
        if number % 10 == 0:
            rings.append(centre + 0.3 * radius.min() * circle[::-1])
        features.append(feature(rings, NAMES[1 + number % (len(NAMES) - 1)]))
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def feature(rings: list[NDArray[np.float64]], name: str) -> Figures:
    """Return one outline with its holes as QuPath writes it."""
    closed = [[*ring.round(2).tolist(), ring[0].round(2).tolist()] for ring in rings]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": closed},
        "properties": {"classification": {"name": name}},
    }


def tiles() -> list[Any]:
    """Return the tiles of the slide."""
    from wsi_vit.geometry import Region

    return [
        Region(x, y, TILE, TILE)
        for y in range(0, SIZE[1] - TILE + 1, TILE)
        for x in range(0, SIZE[0] - TILE + 1, TILE)
    ]


def label_map() -> Any:
    """Return a label map of the five classes."""
    from wsi_vit.labels import LabelMap

    colours = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
    classes = [
        {"name": name, "source": [name], "colour": colour}
        for name, colour in zip(NAMES, colours, strict=True)
    ]
    return LabelMap.model_validate({"classes": classes})


def job_ours(path: Path) -> Figures:
    """Read, and label tiles."""
    from wsi_vit.slides.annotations import read_annotations

    began = time.perf_counter()
    drawn = read_annotations(path, slide_size=SIZE, labels=label_map())
    read_s = time.perf_counter() - began
    regions = tiles()
    began = time.perf_counter()
    drawn.coverage(regions)
    coverage_s = time.perf_counter() - began
    began = time.perf_counter()
    for region in regions[:: max(1, len(regions) // MASKS)]:
        drawn.mask(region, width_px=TILE, height_px=TILE, other=255)
    masks_s = time.perf_counter() - began
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    return {
        "read_s": read_s,
        "coverage_s": coverage_s,
        "ms_a_mask": 1000 * masks_s / len(regions[:: max(1, len(regions) // MASKS)]),
        "peak_rss_mb": peak,
    }


def job_plain(path: Path) -> Figures:
    """Do the same the usual way: a tree, and one intersection after the other."""
    from shapely import STRtree, box
    from shapely.geometry import shape

    began = time.perf_counter()
    features = json.loads(path.read_text())["features"]
    outlines = [shape(feature["geometry"]) for feature in features]
    read_s = time.perf_counter() - began
    began = time.perf_counter()
    tree = STRtree(outlines)
    built_s = time.perf_counter() - began
    sampled = tiles()[::SAMPLED]
    began = time.perf_counter()
    for region in sampled:
        square = box(region.x, region.y, region.right, region.bottom)
        shares = dict.fromkeys(NAMES, 0.0)
        for index in tree.query(square):
            name = features[index]["properties"]["classification"]["name"]
            shares[name] += outlines[index].intersection(square).area / TILE**2
    coverage_s = (time.perf_counter() - began) / len(sampled) * len(tiles())
    return {"read_s": read_s, "coverage_s": built_s + coverage_s}


JOBS = {"ours": job_ours, "plain": job_plain}


def run_job(name: str, path: Path) -> Figures:
    """Run one in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.outlines", "--job", name, str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=as_users_have(), check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(asked: argparse.Namespace) -> Figures:
    """Draw outlines and let both do the work, three times in turn."""
    count = 10_000 if asked.quick else 100_000
    with tempfile.TemporaryDirectory(prefix="outlines-") as folder:
        path = Path(folder) / "outlines.geojson"
        draw_outlines(path, count)
        runs: dict[str, list[Figures]] = {name: [] for name in JOBS}
        for _ in range(1 if asked.quick else 3):
            for name in JOBS:
                runs[name].append(run_job(name, path))
        megabytes = path.stat().st_size / 1e6

    def median(job: str, key: str) -> float:
        return float(np.median([run[key] for run in runs[job]]))

    return {
        "outlines": count,
        "file_mb": round(megabytes, 1),
        "tiles": len(tiles()),
        "read_s": round(median("ours", "read_s"), 2),
        "read_vs_shapely": round(median("plain", "read_s") / median("ours", "read_s"), 2),
        "coverage_s": round(median("ours", "coverage_s"), 2),
        "coverage_vs_tree": round(median("plain", "coverage_s") / median("ours", "coverage_s"), 2),
        "ms_a_mask": round(median("ours", "ms_a_mask"), 2),
        "peak_rss_mb": round(median("ours", "peak_rss_mb")),
    }


def main() -> None:
    """Measure, print, and keep a full result."""
    parser = options(__doc__, quick="10,000 outlines, one round")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        name, path = asked.job
        print(json.dumps(JOBS[name](Path(path))))
        return
    tell("outlines", measure(asked), asked)


if __name__ == "__main__":
    main()
