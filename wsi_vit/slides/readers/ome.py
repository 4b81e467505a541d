"""The physical pixel size in OME-XML (OME-TIFF's first image description)."""

from xml.etree.ElementTree import Element, ParseError

from wsi_vit.slides.resolution import StatedMpp

_MICRONS = {"\N{MICRO SIGN}m": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}


_MICRO_SIGN, _GREEK_MU = "\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}"


def is_ome(description: str) -> bool:
    """Say whether a TIFF's image description is OME-XML."""
    return "<OME" in description[:2000]


def ome_mpp(description: str) -> StatedMpp | None:
    """Return PhysicalSizeX and Y of the first image, None where there are none to be read."""
    from defusedxml import DefusedXmlException, ElementTree

    if not is_ome(description):
        return None
    # As text: it was decoded already, so an encoding that it declares no longer holds.
    text = description.encode("utf-8", "replace").decode()
    try:
        root = ElementTree.fromstring(text)
    except (ParseError, DefusedXmlException):
        return None
    pixels = next((item for item in root.iter() if item.tag.endswith("Pixels")), None)
    if pixels is None:
        return None
    x, y = _microns(pixels, "X"), _microns(pixels, "Y")
    return StatedMpp(x, y, "ome") if x and y else None


def _microns(pixels: Element, axis: str) -> float | None:
    name = pixels.get(f"PhysicalSize{axis}Unit", "um").replace(_GREEK_MU, _MICRO_SIGN)
    unit = _MICRONS.get(name)
    try:
        value = float(pixels.get(f"PhysicalSize{axis}", ""))
    except ValueError:
        return None
    return value * unit if unit else None
