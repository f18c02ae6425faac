from __future__ import annotations

from xml.parsers.expat import ExpatError

import pytest

from embedder.file_metadata.statements import MAX_READ_BYTES, Statements
from embedder.file_metadata.xmp import read_xmp

START = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    'xmlns:a="http://ns.adobe.com/xap/1.0/" xmlns:b="http://ns.adobe.com/photoshop/1.0/" '
    'xmlns:c="http://example.org/other/"><rdf:Description'
)


def read(rest: str, coding: str = "utf-8") -> dict[str, object]:
    statements = Statements()
    read_xmp((START + rest + "</rdf:Description></rdf:RDF>").encode(coding), statements)
    return dict(statements.collected)


def test_a_field_is_known_by_its_namespace_whatever_its_prefix() -> None:
    assert read(' a:CreatorTool="one" c:CreatorTool="other">') == {"xmp:CreatorTool": "one"}
    assert read("><b:CreatorTool>one</b:CreatorTool>") == {}


def test_the_text_of_an_element_may_come_in_pieces_and_in_children() -> None:
    inner = "<rdf:Alt><rdf:li>the &amp; agency</rdf:li></rdf:Alt>"
    assert read(f"><b:Credit> {inner} </b:Credit>") == {"xmp:Credit": "the & agency"}


def test_a_resource_is_the_value_of_an_element() -> None:
    assert read('><b:Credit rdf:resource="http://example.org/x"/>') == {
        "xmp:Credit": "http://example.org/x"
    }


@pytest.mark.parametrize("coding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_before_an_entity_is_declared(coding: str) -> None:
    packet = f'<!DOCTYPE x [<!ENTITY e "e">]>{START}>&e;</rdf:Description></rdf:RDF>'
    with pytest.raises(ValueError, match="declares a document type"):
        read_xmp(packet.encode(coding), Statements())


def test_what_is_no_xml_raises_and_too_large_a_packet_is_not_parsed() -> None:
    with pytest.raises(ExpatError):
        read_xmp(b"<x:xmpmeta", Statements())
    with pytest.raises(ValueError, match="is not read"):
        read_xmp(b"<" * (MAX_READ_BYTES + 1), Statements())


def test_padding_around_a_packet_is_ignored() -> None:
    statements = Statements()
    whole = START + ' a:CreatorTool="one"></rdf:Description></rdf:RDF>'
    read_xmp(whole.encode() + b" \n\x00" * 50, statements)
    assert statements.collected == {"xmp:CreatorTool": "one"}
