"""Whether this machine can do the work, and what to do where it cannot."""

import importlib
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

from wsi_vit.section import Section
from wsi_vit.settings import Settings

_LEAST_FREE_GB = 10
_NEEDED = (
    "torch",
    "transformers",
    "accelerate",
    "numpy",
    "pydantic",
    "openslide-python",
    "tifffile",
)
_NEEDED_FOR_SERVERS = ("prefect", "fastapi<0.151", "mlflow")


class Finding(Section):
    """One thing that was looked at."""

    what: str
    found: str
    fix: str = ""
    """What to do; empty where all is well."""


def examine(settings: Settings) -> list[Finding]:
    """Look at versions, libraries, devices, disk and servers."""
    return [
        *(_package(text) for text in (*_NEEDED, *_NEEDED_FOR_SERVERS)),
        _openslide(),
        *_devices(),
        _disk(settings.runs),
        _tracking(settings),
        _prefect(),
    ]


def _package(text: str) -> Finding:
    wanted = Requirement(text)
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return Finding(what=wanted.name, found="missing", fix="make setup")
    fits = wanted.specifier.contains(found, prereleases=True)
    fix = "" if fits else f"pip install '{text}' (newer ones break Prefect's server)"
    return Finding(what=wanted.name, found=found, fix=fix)


def _openslide() -> Finding:
    try:
        library = importlib.import_module(
            "wsi_vit.slides.readers.openslide_reader"
        ).library_version()
    except (ImportError, OSError) as error:
        return Finding(
            what="OpenSlide library",
            found=str(error),
            fix="pip install openslide-bin, or apt install libopenslide0",
        )
    return Finding(what="OpenSlide library", found=library)


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding(what="CPU cores", found=str(os.cpu_count()))
    if not torch.cuda.is_available():
        yield Finding(what="GPU", found="none: training and prediction run on the CPU")
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        yield Finding(
            what=f"GPU {index}", found=f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
        )


def _disk(runs: Path) -> Finding:
    place = next(path for path in (runs.resolve(), *runs.resolve().parents) if path.exists())
    free = shutil.disk_usage(place).free / 1e9
    short = free < _LEAST_FREE_GB
    fix = f"free space, or set WSI_VIT_RUNS to a larger disk (>= {_LEAST_FREE_GB} GB)"
    return Finding(what=f"disk at {runs}", found=f"{free:.0f} GB free", fix=fix if short else "")


def _tracking(settings: Settings) -> Finding:
    uri = settings.tracking_uri
    if not uri.startswith("http"):
        return Finding(what="MLflow", found=uri)
    return _answers("MLflow", uri, f"{uri}/health")


def _prefect() -> Finding:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Finding(what="Prefect server", found="none named; wsi-vit up starts one")
    return _answers("Prefect server", url, f"{url}/health")


def _answers(what: str, shown: str, url: str) -> Finding:
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=3):
            return Finding(what=what, found=shown)
    except (OSError, HTTPException, ValueError) as error:
        return Finding(what=what, found=f"{shown}: {error}", fix="start it (wsi-vit up)")
