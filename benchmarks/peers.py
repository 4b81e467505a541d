"""Tissue tiles of one slide by every peer's own recommended way, as whole processes beside ours.

    python -m benchmarks.peers --peers SCRIPT --environments FOLDER [--quick] [--json]

Draws the slide of `benchmarks.tiling` at 20,000 x 16,000 px and lets each peer and `wsi-vit tile`
cut it in turn, at native and half resolution, into tiles of 256 and 512 px, pinned to one and to
two cores; JPEG quality 80 wherever a peer lets it be chosen. Each chooses its own tissue, so
speeds are per tile. Measured from outside: wall seconds and CPU seconds of the process and all its
children, the peak of their summed memory, the bytes on disk. Medians of three interleaved rounds;
who takes over twenty seconds is timed once.

SCRIPT runs one peer (`PEER --slide S --tile PX --mpp MPP --workers N --out DIR`) and ends with a
JSON line that has `tiles`; FOLDER has one virtual environment a peer (opentile also wants the
variable TURBOJPEG to name a libturbojpeg). The limits are SCRIPT's own: `limit_pass` copies the
slide's tiles into one file, which only 256 px at native resolution allow, `limit_decode` decodes
and encodes each tile by libjpeg-turbo and shares nothing between tiles. pytessera is left out at
half resolution: asked for it, it gives the tiles of its nearest level, which are the native ones.
What is not installed, or cannot do a job, is null. `--quick` takes a slide of 10,000 x 8,000 px,
tiles of 256 px on one core and one round.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.telling import options, tell
from benchmarks.tiling_slide import BASE_MPP, TILE, draw_slide

ROOT = Path(__file__).parents[1]
PEERS = {
    "raw": "base", "opentile": "base", "vips": "base", "tiffslide": "base",
    "fastslide": "fastslide", "hs2p": "hs2p", "wsipatching": "wsipatching",
    "pytessera": "pytessera", "lazyslide": "lazyslide", "tiatoolbox": "tiatoolbox",
    "limit_pass": "base", "limit_decode": "base",
}  # fmt: skip
"""Each peer's virtual environment; `raw` is OpenSlide + PIL, what everyone writes first."""
_PACKED = ("limit_pass", "limit_decode")
"""Those told to write one file instead of one a tile: what shards are measured by."""
_LOOKED_EVERY_S = 0.1
"""Looking for a process's children goes through all there are: oftener, it slows what is measured,
as cores of one processor share more than they have apart."""
LIMIT_S = 600.0
"""After so long a peer is ended, and its figure is null."""
SLOW_S = 20.0
"""Who takes longer is timed once: rounds are for differences that noise could make."""

Figures = dict[str, Any]


def outside(command: Sequence[str | Path], *, cores: int, out: Path) -> Figures | None:
    """Run a command pinned to so many cores; return what it took, None where it failed.

    `wall_s`, `cpu_s` of all descendants, `peak_mb` of their summed resident memory, `out_mb` on
    disk under `out`, and `said`, its output.
    """
    pinned = sorted(os.sched_getaffinity(0))[:cores]
    environment = as_users_have(
        PYTHONPATH=str(ROOT), OMP_NUM_THREADS=str(cores), VIPS_CONCURRENCY=str(cores),
        HF_HUB_OFFLINE="1",
    )  # fmt: skip
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryFile("w+") as complaints:
        before, started = os.times(), time.perf_counter()
        child = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, pinned)), *map(str, command)],
            cwd=out, env=environment, stdout=log, stderr=complaints,
        )  # fmt: skip
        peak = watched(child)
        wall, after = time.perf_counter() - started, os.times()
        log.seek(0)
        said = log.read()
        if child.returncode:
            complaints.seek(0)
            print(f"{command[2]}: {complaints.read().strip().splitlines()[-1:]}", flush=True)
            return None
    spent = sum(
        getattr(after, k) - getattr(before, k) for k in ("children_user", "children_system")
    )
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {"wall_s": wall, "cpu_s": spent, "peak_mb": peak / 1e6, "out_mb": written / 1e6,
            "said": said}  # fmt: skip


def as_users_have(**variables: str) -> dict[str, str]:
    """Return this environment with further variables, and Python keeping what it has compiled."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | variables


def watched(child: "subprocess.Popen[bytes]") -> int:
    """Wait for a process; return the peak of its and its descendants' summed resident bytes."""
    peak, end = 0, time.monotonic() + LIMIT_S
    root = psutil.Process(child.pid)
    while child.poll() is None:
        try:
            family = [root, *root.children(recursive=True)]
            peak = max(peak, sum(process.memory_info().rss for process in family))
        except psutil.NoSuchProcess:
            continue  # one of them ended in between
        if time.monotonic() > end:
            for process in family:
                process.kill()
        time.sleep(_LOOKED_EVERY_S)
    return peak


def peer_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add where peers are to a benchmark's options."""
    parser.add_argument("--peers", type=Path, help="script that runs one peer")
    parser.add_argument("--environments", type=Path, help="one virtual environment a peer")
    return parser


def run_peer(name: str, job: "Job", slide: Path, asked: argparse.Namespace) -> Figures | None:
    """Let one peer do a job; None where it is not installed or cannot."""
    if asked.peers is None or asked.environments is None:
        return None
    python = asked.environments.resolve() / PEERS[name] / "bin/python"
    if not python.exists() or not _does(name, job):
        return None
    with tempfile.TemporaryDirectory(dir=slide.parent) as folder:
        order = ["--slide", slide, "--tile", job.tile_px, "--mpp", job.mpp]
        command = [python, asked.peers.resolve(), name, *order, "--workers", job.cores]
        command += ["--sink", "pack"] if name in _PACKED else []
        figures = outside([*command, "--out", folder], cores=job.cores, out=Path(folder))
    if figures is None:
        return None
    told = json.loads(figures.pop("said").strip().splitlines()[-1])
    if not told.get("tiles"):
        return None
    return {**figures, **told}


def _does(name: str, job: "Job") -> bool:
    """Say whether what a peer gives is what the job asks for."""
    is_native = job.mpp == BASE_MPP
    if name == "limit_pass":
        return is_native and job.tile_px == TILE
    return is_native or name != "pytessera"


def run_ours(job: "Job", slide: Path) -> Figures:
    """Run `wsi-vit tile` as a user would, with nothing there yet."""
    from wsi_vit.recipe import dump_recipe, load_recipe
    from wsi_vit.slides.tiles import TilesSection

    grid = {"tile_px": job.tile_px, "mpp": job.mpp}
    tiles = TilesSection.model_validate({"grid": grid, "jpeg_quality": 80})
    recipe = load_recipe("wsi_classification")
    recipe = recipe.model_copy(update={"source": recipe.source.model_copy(update={"tiles": tiles})})
    with tempfile.TemporaryDirectory(dir=slide.parent) as folder:
        place = Path(folder)
        (place / "tiling.yaml").write_text(dump_recipe(recipe))
        (place / "cohort.csv").write_text(f"slide,patient\n{slide},p\n")
        order = ["tiling.yaml", "--cohort", "cohort.csv", "--out", "runs", "--json"]
        command = [sys.executable, "-m", "wsi_vit", "tile", *order]
        figures = outside(command, cores=job.cores, out=place)
    if figures is None:
        sys.exit("wsi-vit tile failed")
    (told,) = json.loads(figures.pop("said"))
    return {**figures, "tiles": told["tiles"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What everyone is asked for."""

    tile_px: int
    mpp: float
    cores: int

    def __str__(self) -> str:
        resolution = "native" if self.mpp == BASE_MPP else "half"
        return f"{resolution} {self.tile_px} px {self.cores} core{'s'[: self.cores - 1]}"


FULL = [
    Job(tile_px=tile_px, mpp=mpp, cores=cores)
    for cores in (1, 2)
    for tile_px in (256, 512)
    for mpp in (BASE_MPP, 2 * BASE_MPP)
]
QUICK = [job for job in FULL if job.cores == 1 and job.tile_px == 256]


def measure(asked: argparse.Namespace) -> Figures:
    """Draw the slide and let everyone do every job, in interleaved rounds."""
    jobs, rounds, width, height = (
        (QUICK, 1, 10_000, 8_000) if asked.quick else (FULL, 3, 20_000, 16_000)
    )
    runs: dict[tuple[str, str], list[Figures | None]] = {}
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        slide = Path(name) / "slide.svs"
        draw_slide(slide, width, height)
        for number, job in itertools.product(range(rounds), jobs):
            print(f"round {number + 1} of {rounds}: {job}", file=sys.stderr, flush=True)
            runs.setdefault(("wsi-vit", str(job)), []).append(run_ours(job, slide))
            for peer in PEERS:
                found = runs.setdefault((peer, str(job)), [])
                if all(run is not None and run["wall_s"] < SLOW_S for run in found):
                    found.append(run_peer(peer, job, slide, asked))
    table = {key: medians([run for run in found if run]) for key, found in runs.items()}
    return {
        "jobs": {
            str(job): {who: table[who, str(job)] for who in ("wsi-vit", *PEERS)} for job in jobs
        },
        "slide_px": [width, height],
        "rounds": rounds,
    }


def medians(runs: list[Figures]) -> Figures | None:
    """Return a job's medians; None where it was never done."""
    if not runs:
        return None

    def median(value: Callable[[Figures], float]) -> float:
        return round(statistics.median(map(value, runs)), 2)

    return {
        "tiles": runs[0]["tiles"],
        "tiles_s": median(lambda run: run["tiles"] / run["wall_s"]),
        "cpu_ms_a_tile": median(lambda run: 1e3 * run["cpu_s"] / run["tiles"]),
        "peak_mb": median(lambda run: run["peak_mb"]),
        "out_mb": median(lambda run: run["out_mb"]),
    }


def table_of(job: str, row: dict[str, Figures | None]) -> str:
    """Return one job as a table, the fastest first, each beside `raw`."""
    did = sorted(
        ((who, found) for who, found in row.items() if found), key=lambda each: -each[1]["tiles_s"]
    )
    raw = row["raw"]
    lines = [f"\n{job:<26}  tiles  tiles/s  x raw  CPU ms  peak MB  out MB"]
    for who, found in did:
        ratio = f"{found['tiles_s'] / raw['tiles_s']:.2f}" if raw else "-"
        lines.append(
            f"  {who:<24}  {found['tiles']:>5}  {found['tiles_s']:>7.0f}  {ratio:>5}"
            f"  {found['cpu_ms_a_tile']:>6.2f}  {found['peak_mb']:>7.0f}  {found['out_mb']:>6.1f}"
        )
    cannot = [who for who, found in row.items() if not found]
    return "\n".join(
        [*lines, f"  not installed, or cannot: {', '.join(cannot)}"] if cannot else lines
    )


def main() -> None:
    """Measure, print tables, and keep a full result."""
    parser = peer_options(options(__doc__, quick="256 px, one core, one round"))
    asked = parser.parse_args()
    figures = measure(asked)
    for job, row in figures["jobs"].items():
        print(table_of(job, row))
    tell("peers", figures, asked)


if __name__ == "__main__":
    main()
