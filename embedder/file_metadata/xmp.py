"""Fields of XMP packets (ISO 16684-1; IPTC Photo Metadata Standard), as attributes or as elements.

expat parses the packet as a stream and builds no tree. The first document type declaration ends the
parsing, so no entity is ever declared, in any encoding of the packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Never
from xml.parsers import expat

from embedder.file_metadata.statements import Statements

# Namespace and name with a space between, as expat gives them.
FIELDS: Mapping[str, str] = {
    "http://ns.adobe.com/xap/1.0/ CreatorTool": "xmp:CreatorTool",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/ DigitalSourceType": "xmp:DigitalSourceType",
    "http://ns.adobe.com/photoshop/1.0/ Credit": "xmp:Credit",
    "http://ns.adobe.com/exif/1.0/ UserComment": "xmp:UserComment",
}
_RESOURCE = "http://www.w3.org/1999/02/22-rdf-syntax-ns# resource"


def read_xmp(packet: bytes, statements: Statements) -> None:
    """Collect the fields of a packet.

    Raises ValueError, ExpatError.
    """
    statements.require_readable(len(packet))
    _Fields(statements).read(packet.rstrip(b"\x00 \t\r\n"))


class _Fields:
    """The state of the parser: the field that it is in, and the text of the field so far."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._inside: str | None = None
        self._text: list[str] = []

    def read(self, packet: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = self._start
        parser.CharacterDataHandler = self._characters
        parser.EndElementHandler = self._end
        parser.Parse(packet, True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        for each, text in attributes.items():
            if each in FIELDS:
                self._statements.put(FIELDS[each], text)
        if name in FIELDS:
            self._inside, self._text = name, [attributes.get(_RESOURCE, "")]

    def _characters(self, text: str) -> None:
        if self._inside is not None:
            self._text.append(text)

    def _end(self, name: str) -> None:
        if name == self._inside:
            self._statements.put(FIELDS[name], "".join(self._text).strip())
            self._inside = None


def _refuse(*_declared: object) -> Never:
    raise ValueError("the packet declares a document type")
