"""How fast a slide becomes tiles, beside OpenSlide + PIL, the bare copy, and peers.

    python -m benchmarks.tiling [--quick] [--json] [--peers SCRIPT --environments FOLDER]

Draws an Aperio-style slide of 40,000 x 30,000 px (a mosaic of synthetic tissue; JPEG tiles of
256 px, quality 80, 4:2:0, levels 1, 4, 16) and cuts the same tissue tiles out of it in processes of
their own, each pinned to one core, in interleaved rounds; medians are compared. What is close is
taken in three turns a round, and its ratio is the median of the turns': what else a machine does
from one minute to the next would hide it. Copying and its limit, a fifth of a second each, are
taken five times a turn, now the one first and now the other.

- `raw`: `read_region`, PIL's bilinear resize, one .jpg a tile (quality 80, 4:2:0).
- `limit`: the stored tiles packed into one file with an index; nothing is checked.
- `ours`: from the plan to the last byte of the shard (the tile phase, in CPU seconds), and
  `wsi-vit tile` as a user types it (whole process, in wall seconds, digest and fsync included).
- `workers2`: two threads beside one, at half resolution; `workers2_limit`: two processes that share
  nothing, each on a core of its own, beside one of them alone. What cores of one processor share
  (memory, cache, heat) neither can have twice.

`--peers` names a script that runs one peer, and `--environments` a folder with one virtual
environment a peer (see `benchmarks.peers`, which asks all of them); without them
`half_vs_best_peer` is null. `--quick` takes a slide of 10,000 x 8,000 px and one round; the
goals hold for the full run on a quiet machine.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Job, as_users_have, peer_options, run_ours, run_peer
from benchmarks.telling import options, tell
from benchmarks.tiling_slide import BASE_MPP, QUALITY, TILE, draw_slide

ROOT = Path(__file__).parents[1]
RESOLUTIONS = {"native": 0.25, "half": 0.5, "any": 0.37}
FASTEST = ("fastslide", "vips", "tiffslide")
"""The fastest peers at half resolution, as `benchmarks.peers` finds."""
IDENTICAL_TILES = 400

Figures = dict[str, Any]


# ------------------------------------------------------------------ jobs, in processes of their own


def section_of(mpp: float) -> Any:
    """Return the tiles section of a job."""
    from wsi_vit.slides.tiles import TilesSection

    grid = {"tile_px": TILE, "mpp": mpp}
    return TilesSection.model_validate({"grid": grid, "jpeg_quality": QUALITY})


def plan_of(slide_path: Path, mpp: float) -> list[tuple[int, int]]:
    """Return the corners of the wanted tiles, for everyone."""
    from wsi_vit.slides.slide import open_slide
    from wsi_vit.slides.tiles import plan_tiles

    with open_slide(slide_path) as slide:
        regions = plan_tiles(slide, section_of(mpp)).regions
        return [(round(region.x), round(region.y)) for region in regions]


def job_ours(
    slide_path: Path, mpp: float, corners: Sequence[tuple[int, int]], out: Path
) -> Figures:
    """Write our shard; the plan is made before the clock starts."""
    from wsi_vit.slides.cutting import Cutter
    from wsi_vit.slides.slide import open_slide
    from wsi_vit.slides.tiles import plan_tiles
    from wsi_vit.slides.tiling import write_tiles

    section = section_of(mpp)
    with open_slide(slide_path) as slide:
        before = time.perf_counter()
        plan = plan_tiles(slide, section)
        planned_s = time.perf_counter() - before
        import_module("pyarrow.ipc")  # start-up, not tiles
        cutter = Cutter(slide, "slide", section, plan)
        clock = Clock()
        tally, _ = write_tiles(cutter, out / "tiles.arrow", None)
        figures = clock.read(len(tally.kept))
    assert len(tally.kept) == len(corners), (len(tally.kept), len(corners))
    written = (out / "tiles.arrow").stat().st_size
    return {**figures, "path": plan.path.model_dump(), "plan_s": planned_s, "bytes": written}


def job_raw(slide_path: Path, mpp: float, corners: Sequence[tuple[int, int]], out: Path) -> Figures:
    """What everyone writes first."""
    from openslide import OpenSlide
    from PIL import Image

    slide = OpenSlide(slide_path)
    slide.read_region((0, 0), slide.level_count - 1, slide.level_dimensions[-1]).convert("HSV")
    step = mpp / BASE_MPP
    level = slide.get_best_level_for_downsample(step + 1e-6)
    side = round(TILE * step / slide.level_downsamples[level])
    clock = Clock()
    for number, corner in enumerate(corners):
        image = slide.read_region(corner, level, (side, side)).convert("RGB")
        if side != TILE:
            image = image.resize((TILE, TILE), Image.Resampling.BILINEAR)
        image.save(out / f"{number}.jpg", quality=QUALITY)
    return clock.read(len(corners))


def job_limit(
    slide_path: Path, mpp: float, corners: Sequence[tuple[int, int]], out: Path
) -> Figures:
    """Copy the stored tiles into one file, and write where each lies."""
    import tifffile

    assert mpp == BASE_MPP
    clock = Clock()
    with tifffile.TiffFile(slide_path) as handle:
        page: Any = handle.pages[0]
        offsets, counts, columns = (
            page.dataoffsets,
            page.databytecounts,
            -(-page.imagewidth // TILE),
        )
    file, index = os.open(slide_path, os.O_RDONLY), []
    with (out / "pack").open("wb", buffering=1 << 20) as pack:
        for x, y in corners:
            tile = y // TILE * columns + x // TILE
            index.append((x, y, pack.tell(), counts[tile]))
            pack.write(b"\xff\xd8" + os.pread(file, counts[tile], offsets[tile])[2:])
    (out / "index.json").write_text(json.dumps(index))
    os.close(file)
    return clock.read(len(corners))


JOBS = {"ours": job_ours, "raw": job_raw, "limit": job_limit}


class Clock:
    """Seconds and CPU seconds of this process, its threads included."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self, tiles: int) -> Figures:
        """Return what has passed, and the most memory in MB this process ever held."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        status = Path("/proc/self/status").read_text()  # getrusage inherits the parent's peak
        peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
        return {"tiles": tiles, "wall_s": wall, "cpu_s": cpu, "peak_rss_mb": peak}


def run_job(
    name: str, resolution: str, slide: Path, corners: Path, *, cores: Sequence[int]
) -> Figures:
    """Run a job in a process pinned to these cores; add what its whole process took."""
    with tempfile.TemporaryDirectory(dir=slide.parent) as out:
        pinned = ",".join(map(str, cores))
        order = [name, str(slide), str(RESOLUTIONS[resolution]), str(corners), out, pinned]
        command = [sys.executable, "-m", "benchmarks.tiling", "--job", *order]
        started = time.perf_counter()
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=as_users_have(), check=False
        )
        process_s = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr)
    return {**json.loads(done.stdout.splitlines()[-1]), "process_s": process_s}


def do_job(order: Sequence[str]) -> None:
    """Be such a process."""
    name, slide, mpp, corners, out, cores = order
    os.sched_setaffinity(0, map(int, cores.split(",")))
    wanted = [(x, y) for x, y in json.loads(Path(corners).read_text())]
    print(json.dumps(JOBS[name](Path(slide), float(mpp), wanted, Path(out))))


def one_on_each_core(slide: Path, corners: Path) -> Figures:
    """Cut re-encoded tiles in two processes at once that share nothing but the machine; means."""
    first, second = cores_of(2)
    run = partial(run_job, "ours", "half", slide, corners)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda core: run(cores=[core]), (first, second)))
    keys = ("tiles", "wall_s", "cpu_s", "peak_rss_mb")
    return {key: statistics.mean(figures[key] for figures in both) for key in keys}


def cores_of(count: int) -> list[int]:
    """Return the first cores that there are."""
    return sorted(os.sched_getaffinity(0))[:count]


# --------------------------------------------------------------------------------------- checks


def bit_identical(slide_path: Path, folder: Path) -> bool:
    """Say whether copied tiles decode to OpenSlide's pixels."""
    import pyarrow as pa
    from openslide import OpenSlide
    from PIL import Image

    job_ours(slide_path, BASE_MPP, plan_of(slide_path, BASE_MPP), folder)
    known = OpenSlide(slide_path)
    with pa.memory_map(str(folder / "tiles.arrow")) as source:
        table = pa.ipc.open_stream(source).read_all()
        every = max(1, table.num_rows // IDENTICAL_TILES)
        for row in table.take(list(range(0, table.num_rows, every))).to_pylist():
            corner = int(row["x"]), int(row["y"])
            truth = np.asarray(known.read_region(corner, 0, (TILE, TILE)))[..., :3]
            if not np.array_equal(np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))), truth):
                return False
    return True


def losses_db(slide_path: Path) -> Figures:
    """Return the PSNR of half-resolution tiles: decoded at a half, and encoded again.

    `half_psnr_db` is held against OpenSlide's full decoding and the means of 2 x 2 pixels, before
    anything is encoded; `encoder_psnr_db` compares before and after encoding.
    """
    import simplejpeg
    from openslide import OpenSlide

    from wsi_vit.slides.jpeg.encoding import encode_jpeg
    from wsi_vit.slides.slide import open_slide
    from wsi_vit.slides.tiles import plan_tiles

    known, decoded, encoded = OpenSlide(slide_path), [], []
    with open_slide(slide_path) as slide:
        regions = plan_tiles(slide, section_of(RESOLUTIONS["half"])).regions
        for region in regions[:: max(1, len(regions) // 20)]:
            image = slide.read(region, width_px=TILE, height_px=TILE).astype(float)
            corner = round(region.x), round(region.y)
            full = np.asarray(known.read_region(corner, 0, (2 * TILE, 2 * TILE)))[..., :3]
            means = full.reshape(TILE, 2, TILE, 2, 3).mean((1, 3))
            decoded.append(((image - means) ** 2).mean())
            back = simplejpeg.decode_jpeg(encode_jpeg(image.astype(np.uint8), QUALITY))
            encoded.append(((image - back) ** 2).mean())
    return {
        f"{name}_psnr_db": round(float(10 * np.log10(255**2 / np.mean(errors))), 1)
        for name, errors in (("half", decoded), ("encoder", encoded))
    }


# ------------------------------------------------------------------------------------- the whole


def measure(asked: argparse.Namespace) -> Figures:
    """Draw the slide, run everything in rounds, and compare medians."""
    width, height, rounds, turns = (10_000, 8_000, 1, 1) if asked.quick else (40_000, 30_000, 3, 3)
    with tempfile.TemporaryDirectory(prefix="tiling-") as name:
        folder = Path(name)
        slide = folder / "slide.svs"
        draw_slide(slide, width, height)
        plans = {}
        for resolution, mpp in RESOLUTIONS.items():
            plans[resolution] = folder / f"{resolution}.json"
            plans[resolution].write_text(json.dumps(plan_of(slide, mpp)))
        runs: dict[str, list[Figures]] = {}
        whole: list[float] = []
        peers: dict[str, list[float]] = {}
        for _ in range(rounds):
            for turn in range(1 + turns):
                for job, resolution, cores in CLOSE if turn else ORDER:
                    pinned = cores_of(cores)
                    figures = run_job(job, resolution, slide, plans[resolution], cores=pinned)
                    runs.setdefault(f"{job} {resolution} {cores}", []).append(figures)
                if turn and len(cores_of(2)) == 2:
                    runs.setdefault(APART, []).append(one_on_each_core(slide, plans["half"]))
            whole += [run_ours(NATIVE, slide)["wall_s"] for _ in range(3)]  # two seconds each
            for peer in FASTEST:
                if found := run_peer(peer, HALF, slide, asked):
                    peers.setdefault(peer, []).append(found["tiles_s"] / found["tiles"])
        return {
            **compare(runs, whole, peers),
            "bit_identical": bit_identical(slide, folder),
            "encoder": f"quality {QUALITY}, 4:2:0",
            **losses_db(slide),
            "slide": f"{width} x {height} px, {slide.stat().st_size / 1e6:.0f} MB",
            "rounds": rounds,
        }


NATIVE = Job(tile_px=TILE, mpp=BASE_MPP, cores=1)
HALF = Job(tile_px=TILE, mpp=2 * BASE_MPP, cores=1)
APART = "ours half, one on each core"
ORDER = [*(("raw", resolution, 1) for resolution in RESOLUTIONS), ("ours", "any", 1)]
COPYING = [("limit", "native", 1), ("ours", "native", 1)]
CLOSE = [
    *(pair for turn in range(5) for pair in COPYING[:: -1 if turn % 2 else 1]),
    ("ours", "half", 1),
    ("ours", "half", 2),
]


def compare(
    runs: dict[str, list[Figures]], whole: list[float], peers: dict[str, list[float]]
) -> Figures:
    """Return the ratios of medians."""

    def median(job: str, key: str) -> float:
        return statistics.median(figures[key] for figures in runs[job])

    def ratio(over: str, under: str, key: str) -> float:
        return round(median(over, key) / median(under, key), 2)

    def in_turns(over: str, under: str, key: str, times: int = 1) -> float:
        turns = zip(runs[over], runs[under], strict=True)
        return round(times * statistics.median(a[key] / b[key] for a, b in turns), 2)

    seconds = {name: statistics.median(rounds) for name, rounds in peers.items()}
    half_s = median("ours half 1", "wall_s") / median("ours half 1", "tiles")
    return {
        "native_vs_raw": round(median("raw native 1", "process_s") / statistics.median(whole), 2),
        "native_phase_vs_raw": ratio("raw native 1", "ours native 1", "wall_s"),
        "native_phase_cpu_vs_raw": ratio("raw native 1", "ours native 1", "cpu_s"),
        "native_of_limit": in_turns("limit native 1", "ours native 1", "cpu_s"),
        "half_cpu_vs_raw": ratio("raw half 1", "ours half 1", "cpu_s"),
        "half_vs_best_peer": round(min(seconds.values()) / half_s, 2) if seconds else None,
        "any_mpp_vs_raw": ratio("raw any 1", "ours any 1", "cpu_s"),
        "workers2": in_turns("ours half 1", "ours half 2", "wall_s"),
        "workers2_limit": in_turns("ours half 1", APART, "wall_s", times=2)
        if APART in runs
        else None,
        "peak_rss_mb": round(max(median(job, "peak_rss_mb") for job in runs if "ours" in job)),
        "plan_s": round(median("ours native 1", "plan_s"), 3),
        "peers_half_tiles_s": {name: round(1 / s, 1) for name, s in seconds.items()},
        "us_a_tile": {
            job: round(1e6 * median(job, "cpu_s") / median(job, "tiles"), 1) for job in runs
        },
        "paths": {job: each[0]["path"] for job, each in runs.items() if "path" in each[0]},
    }


def main() -> None:
    """Measure, print, and keep a full result."""
    parser = peer_options(options(__doc__, quick="a small slide, one round"))
    parser.add_argument("--job", nargs=6, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        do_job(asked.job)
        return
    figures = measure(asked)
    if not figures["peers_half_tiles_s"]:
        print("No peer is installed: half_vs_best_peer is null (see --peers, --environments).")
    tell("tiling", figures, asked)


if __name__ == "__main__":
    main()
