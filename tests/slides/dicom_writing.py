"""Tiny DICOM slides that tests write for themselves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def write_dicom(
    path: Path,
    frames: Sequence[bytes],
    *,
    size: tuple[int, int],
    tile: int = 64,
    says: str = "YBR_FULL_422",
    corners: Sequence[tuple[int, int]] | None = None,
    series: str | None = None,
    **more: Any,
) -> Path:
    """Write one level; `corners` (x, y) make its frames sparse, in any order."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = _WHOLE_SLIDE, generate_uid()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    said = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    said.SOPClassUID, said.SOPInstanceUID = _WHOLE_SLIDE, meta.MediaStorageSOPInstanceUID
    said.SeriesInstanceUID, said.StudyInstanceUID = series or generate_uid(), generate_uid()
    said.Modality, said.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    said.PhotometricInterpretation, said.SamplesPerPixel, said.PlanarConfiguration = says, 3, 0
    said.BitsAllocated = said.BitsStored = 8
    said.HighBit, said.PixelRepresentation = 7, 0
    said.Rows = said.Columns = tile
    said.TotalPixelMatrixColumns, said.TotalPixelMatrixRows = size
    said.NumberOfFrames, said.TotalPixelMatrixFocalPlanes = len(frames), 1
    said.DimensionOrganizationType = "TILED_FULL" if corners is None else "TILED_SPARSE"
    said.SharedFunctionalGroupsSequence = [_measures(2e-3)]
    if corners is not None:
        said.PerFrameFunctionalGroupsSequence = [_position(*corner) for corner in corners]
    for name, value in more.items():
        setattr(said, name, value)
    said.PixelData = encapsulate(list(frames))
    said["PixelData"].is_undefined_length = True
    said.save_as(path, enforce_file_format=True)
    return path


def _measures(mm: float) -> Dataset:
    group, measures = Dataset(), Dataset()
    measures.PixelSpacing = [mm, mm]
    group.PixelMeasuresSequence = [measures]
    return group


def _position(x: int, y: int) -> Dataset:
    group, place = Dataset(), Dataset()
    place.ColumnPositionInTotalImagePixelMatrix = x + 1
    place.RowPositionInTotalImagePixelMatrix = y + 1
    group.PlanePositionSlideSequence = [place]
    return group
