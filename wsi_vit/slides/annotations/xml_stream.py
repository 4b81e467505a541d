"""XML read as it streams by: no tree is held, and entities and document types are refused.

A slide with a hundred thousand outlines has millions of corners; an element a corner would take
gigabytes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from wsi_vit.errors import AnnotationError
from wsi_vit.slides.annotations.shapes import Drawing

_CHUNK_BYTES = 1 << 18

Attributes = Mapping[str, str]
"""What an element says in its opening tag."""


class Listener(Protocol):
    """What one kind of file does with its elements, in the order of the file."""

    def start(self, tag: str, attributes: Attributes) -> None:
        """Hear that an element begins."""
        ...

    def end(self, tag: str) -> None:
        """Hear that an element ends."""
        ...

    def drawing(self) -> Drawing:
        """Return what the file held, once it has ended."""
        ...


def stream_xml(path: Path, kinds: Mapping[str, Callable[[], Listener]]) -> Drawing:
    """Return what the listener for a file's outermost element made of it.

    Raises:
        AnnotationError: The file is damaged, carries a document type or entities, or its outermost
            element is none of these kinds; or what the listener refuses.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, XMLParser

    target = _Target(path, kinds)
    parser: Any = XMLParser(target=target, forbid_dtd=True)
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                parser.feed(chunk)
        return parser.close()
    except DefusedXmlException as error:
        raise AnnotationError(
            f"Refused XML annotations that carry {type(error).__name__.removesuffix('Forbidden')}",
            got=path,
            remedy="Delete the document type from the file; annotations need none",
        ) from error
    except (ParseError, ValueError, LookupError) as error:  # the last two: its encoding
        raise AnnotationError(
            f"Damaged XML: {error}", got=path, remedy="Export the annotations again"
        ) from error


class _Target:
    """Hands what the parser tells to the listener that the first element calls for."""

    def __init__(self, path: Path, kinds: Mapping[str, Callable[[], Listener]]) -> None:
        self._path, self._kinds = path, kinds
        self._listener: Listener | None = None

    def start(self, tag: str, attributes: Attributes) -> None:
        if self._listener is not None:
            self._listener.start(tag, attributes)
            return
        if tag not in self._kinds:
            raise AnnotationError(
                "Unknown kind of XML annotations",
                got=f"<{tag}> in {self._path}",
                known=("<ASAP_Annotations> (ASAP)", "<Annotations> (Aperio ImageScope)"),
                remedy="Export them as one of these, or as GeoJSON from QuPath",
            )
        self._listener = self._kinds[tag]()

    def end(self, tag: str) -> None:
        if self._listener is not None:
            self._listener.end(tag)

    def close(self) -> Drawing:
        return Drawing() if self._listener is None else self._listener.drawing()


def number(attributes: Attributes, name: str) -> float:
    """Return a number of an element; some locales write a decimal comma.

    Raises:
        AnnotationError: There is none.
    """
    text = attributes.get(name)
    try:
        return float(str(text).replace(",", "."))
    except ValueError:
        raise AnnotationError(
            f"A position has no number as its {name}",
            got=text,
            remedy="Export the annotations again",
        ) from None
