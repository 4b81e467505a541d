"""Which bytes a slide is made of: one file or many, and what their digest covers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wsi_vit.errors import Reason, SlideError
from wsi_vit.slides.files import companions, is_tiff, printable_name, slide_digest, usable_file
from wsi_vit.store import DigestCache, file_digest

DICOM = bytes(128) + b"DICM"


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def mirax(folder: Path) -> tuple[Path, Path]:
    data = write(folder / "a/Data0001.dat")
    return write(folder / "a.mrxs"), data


def dicom(folder: Path) -> tuple[Path, Path]:
    return write(folder / "a.dcm", DICOM), write(folder / "b.dcm", DICOM + b"level 1")


def dicom_without_suffix(folder: Path) -> tuple[Path, Path]:
    return write(folder / "I001", DICOM), write(folder / "I002", DICOM + b"level 1")


def loud_dicom(folder: Path) -> tuple[Path, Path]:
    return write(folder / "A.DCM", DICOM), write(folder / "B.DCM", DICOM + b"level 1")


def hamamatsu(folder: Path) -> tuple[Path, Path]:
    part = write(folder / "a(1,0).jpg")
    text = b"[Virtual Microscope Specimen]\r\nImageFile=a.jpg\r\nImageFile(1,0)=a(1,0).jpg\r\n"
    return write(folder / "a.vms", text), part


MANY_FILES = [mirax, dicom, dicom_without_suffix, loud_dicom, hamamatsu]


@pytest.mark.parametrize("make", MANY_FILES, ids=lambda make: make.__name__)
def test_a_change_in_any_file_of_a_slide_changes_its_digest(
    tmp_path: Path, make: Callable[[Path], tuple[Path, Path]]
) -> None:
    path, part = make(tmp_path / "slide")
    cache = DigestCache(tmp_path / "store")
    assert companions(path) == (part,)
    before = slide_digest(path, cache)

    write(part, DICOM + b"other pixels")
    changed = slide_digest(path, cache)
    part.rename(part.with_name("z" + part.name))

    assert len({before, changed, slide_digest(path, cache)}) == 3


@pytest.mark.parametrize("make", MANY_FILES, ids=lambda make: make.__name__)
def test_a_neighbour_that_is_no_part_of_the_slide_changes_nothing(
    tmp_path: Path, make: Callable[[Path], tuple[Path, Path]]
) -> None:
    path, _ = make(tmp_path / "slide")
    cache = DigestCache(tmp_path / "store")
    before = slide_digest(path, cache)

    write(path.parent / "notes.txt", b"DICM is written on the label")

    assert slide_digest(path, cache) == before


def test_a_slide_of_one_file_has_the_digest_of_its_bytes_wherever_it_lies(tmp_path: Path) -> None:
    path, twin = write(tmp_path / "a.svs", b"slide"), write(tmp_path / "other/b.svs", b"slide")
    cache = DigestCache(tmp_path / "store")

    assert slide_digest(path, cache) == slide_digest(twin, cache) == file_digest(path)


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_a_tiff_is_known_by_its_first_bytes(tmp_path: Path, start: bytes) -> None:
    assert is_tiff(write(tmp_path / "a.svs", start + b"rest"))
    assert not is_tiff(write(tmp_path / "b.tif", b"\0" + start))


def test_a_loop_of_links_is_unreadable_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "a.svs").symlink_to(tmp_path / "b.svs")
    (tmp_path / "b.svs").symlink_to(tmp_path / "a.svs")

    with pytest.raises(SlideError) as caught:
        usable_file(tmp_path / "a.svs")

    assert caught.value.reason is Reason.UNREADABLE


def test_a_name_too_long_for_the_disk_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(SlideError) as caught:
        usable_file(tmp_path / ("a" * 5000))

    assert caught.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize("name", ["Fall 12-ß", "切片", "a.b", "...", "a b"])
def test_ids_of_any_language_are_kept_as_they_are(name: str) -> None:
    assert printable_name(name) == name


@pytest.mark.parametrize("name", ["a\u202eb", "a\x7fb", "\ud800", "a\0b", "..", "\\\\host\\a"])
def test_ids_that_hide_or_lead_away_are_refused_without_being_printed(name: str) -> None:
    with pytest.raises(SlideError) as caught:
        printable_name(name)

    assert caught.value.reason is Reason.UNSAFE_PATH
    assert str(caught.value).isprintable()
