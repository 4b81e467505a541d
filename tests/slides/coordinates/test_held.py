"""Slides found by what is in them, and kept open."""

import os
import threading
from pathlib import Path

import pytest

from tests.slides.making import tissue_like, write_jpeg_tiff
from wsi_vit.errors import DatasetError
from wsi_vit.geometry import Region
from wsi_vit.slides.coordinates.held import HeldSlides, SlideWanted
from wsi_vit.slides.coordinates.places import SlidePlaces
from wsi_vit.slides.files import slide_digest
from wsi_vit.slides.resolution import ResolutionSection
from wsi_vit.slides.slide import Slide
from wsi_vit.store import DigestCache


def slide_at(root: Path, name: str, seed: int = 0) -> Path:
    return write_jpeg_tiff(root / name, tissue_like(128, 128, seed=seed), mpp=0.5)


def known(root: Path, slide: Path) -> SlideWanted:
    """Note a slide, as tiling does."""
    digest = slide_digest(slide, DigestCache(root))
    SlidePlaces(root).note(digest, slide)
    return SlideWanted(slide_id=slide.stem, digest=digest, mpp=None, resolution=ResolutionSection())


def corner(slide: Slide) -> bytes:
    return slide.read(Region(0, 0, 8, 8), width_px=8, height_px=8).tobytes()


def test_a_slide_is_opened_once_and_the_longest_unused_is_closed(tmp_path: Path) -> None:
    wanted = [known(tmp_path, slide_at(tmp_path, f"{i}.tif", seed=i)) for i in range(3)]
    slides = HeldSlides(tmp_path, most=2)

    def open_now(index: int) -> Slide:
        with slides.held(wanted[index]) as slide:
            return slide

    first = open_now(0)
    second = open_now(1)
    assert open_now(0) is first
    open_now(2)

    assert open_now(0) is first
    assert open_now(1) is not second


def test_a_slide_in_use_is_never_closed(tmp_path: Path) -> None:
    wanted = [known(tmp_path, slide_at(tmp_path, f"{i}.tif", seed=i)) for i in range(3)]
    slides = HeldSlides(tmp_path, most=1)
    truth: list[bytes] = []
    with slides.held(wanted[0]) as one:
        truth.append(corner(one))
        for other in wanted[1:]:
            with slides.held(other):
                pass
        assert corner(one) == truth[0]
        with slides.held(wanted[0]) as again:
            assert again is one


def test_a_slide_that_was_moved_is_missed_by_name_until_its_new_place_is_noted(
    tmp_path: Path,
) -> None:
    slide = slide_at(tmp_path, "a.tif")
    wanted = known(tmp_path, slide)
    slide.rename(tmp_path / "b.tif")
    slides = HeldSlides(tmp_path)

    with (
        pytest.raises(DatasetError, match=r"Slides are not where .*a\.tif.*wsi-vit tile"),
        slides.held(wanted),
    ):
        pass
    known(tmp_path, tmp_path / "b.tif")
    with slides.held(wanted) as found:
        assert found.path == tmp_path / "b.tif"


def test_a_slide_that_was_replaced_is_refused_even_while_it_is_open(tmp_path: Path) -> None:
    slide = slide_at(tmp_path, "a.tif")
    wanted, slides = known(tmp_path, slide), HeldSlides(tmp_path)
    with slides.held(wanted) as opened:
        corner(opened)

    slide_at(tmp_path, "a.tif", seed=1)

    with pytest.raises(DatasetError, match="not the one that was tiled"), slides.held(wanted):
        pass


def test_a_child_process_opens_slides_of_its_own(tmp_path: Path) -> None:
    """Handles that a parent opened share one position in the file with their copies."""
    wanted, slides = known(tmp_path, slide_at(tmp_path, "a.tif")), HeldSlides(tmp_path)
    with slides.held(wanted) as mine:
        before = corner(mine)
    child = os.fork()
    if child == 0:
        with slides.held(wanted) as other:
            is_fresh = other is not mine and corner(other) == before
        os._exit(0 if is_fresh else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with slides.held(wanted) as again:
        assert again is mine


def test_threads_may_read_while_others_make_room(tmp_path: Path) -> None:
    wanted = [known(tmp_path, slide_at(tmp_path, f"{i}.tif", seed=i)) for i in range(4)]
    slides, truths = HeldSlides(tmp_path, most=1), dict[int, set[bytes]]()

    def read(start: int) -> None:
        for turn in range(12):
            index = (start + turn) % 4
            with slides.held(wanted[index]) as slide:
                truths.setdefault(index, set()).add(corner(slide))

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {index: len(found) for index, found in truths.items()} == dict.fromkeys(range(4), 1)
