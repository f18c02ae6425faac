from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from embedder.file_metadata.reading import read_file_metadata
from embedder.file_metadata.statements import (
    MAX_FILE_BYTES,
    MAX_KEYS,
    MAX_READ_BYTES,
    MAX_VALUE_BYTES,
)
from embedder.pictures.png import SIGNATURE
from tests.work import count_calls, forbid_hanging, measure_memory

Encoder = Callable[..., bytes]

# A hostile file may cost no more than decoding a picture does.
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND", b"")


def text_chunk(keyword: str, text: bytes) -> bytes:
    return chunk(b"tEXt", keyword.encode("latin-1") + b"\x00" + text)


def jpeg_of(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG file without its picture, for which nobody looks."""
    lengths = [struct.pack(">H", len(body) + 2) for _, body in segments]
    parts = [
        bytes((0xFF, marker)) + size + body
        for (marker, body), size in zip(segments, lengths, strict=True)
    ]
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9"


def exif_of(**tags: str | bytes) -> bytes:
    """An EXIF block of Pillow's, by the names of the tags."""
    names = {
        "ImageDescription": 0x010E,
        "Make": 0x010F,
        "Model": 0x0110,
        "Software": 0x0131,
        "Artist": 0x013B,
    }
    names |= {"HostComputer": 0x013C}
    exif = Image.Exif()
    for name, value in tags.items():
        if name in names:
            exif[names[name]] = value
    exif.get_ifd(0x8769).update(
        {
            number: tags[name]
            for name, number in (("UserComment", 0x9286), ("DateTimeOriginal", 0x9003))
            if name in tags
        }
    )
    return exif.tobytes()


def xmp_of(attributes: str = "", elements: str = "", before: str = "") -> str:
    namespaces = (
        f'xmlns:rdf="{RDF}" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    )
    return (
        f'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>{before}'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        f'{namespaces}><rdf:Description rdf:about="" {attributes}>{elements}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    )


def jpeg_with_xmp(packet: bytes) -> bytes:
    return jpeg_of((0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + packet))


def iim(*records: tuple[int, int, bytes]) -> bytes:
    return b"".join(
        struct.pack(">BBBH", 0x1C, record, number, len(text)) + text
        for record, number, text in records
    )


def resources(iptc: bytes) -> bytes:
    padded = iptc + b"\x00" * (len(iptc) % 2)
    other = b"8BIM\x04\x25\x03key\x00\x00\x00\x03abc\x00"
    return (
        b"Photoshop 3.0\x00"
        + other
        + b"8BIM\x04\x04\x00\x00"
        + struct.pack(">I", len(iptc))
        + padded
    )


# Failures


def test_what_is_no_image_says_nothing() -> None:
    for data in (b"", b"hello", b"%PDF-1.7", b"GIF89a"):
        assert read_file_metadata(data) == {}


def test_a_file_that_ends_too_early_says_what_comes_before_and_why_it_ends() -> None:
    data = png_of(text_chunk("Software", b"NovelAI"), text_chunk("Comment", b"never reached"))
    says = read_file_metadata(data[:60])
    assert says["png:Software"] == "NovelAI"
    assert says["png:error"] == "truncated png: the file ends within 'tEXt'"
    assert set(read_file_metadata(jpeg_of((0xFE, b"made by hand"))[:-2])) == {
        "jpeg:Comment",
        "jpeg:error",
    }


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"", "begin like TIFF"),
        (b"nonsense", "begin like TIFF"),
        (b"II*\x00\xff\xff\xff\xff", "an offset points beyond the end"),
        (b"II*\x00\x08\x00\x00\x00\xff\xff", "65535 entries"),
        (exif_of(Software="a program with a long name")[:-25], "an offset points beyond the end"),
    ],
)
def test_exif_that_cannot_be_read_is_recorded_with_the_reason(block: bytes, reason: str) -> None:
    says = read_file_metadata(
        jpeg_of(
            (0xE1, b"Exif\x00\x00" + block.removeprefix(b"Exif\x00\x00")),
            (0xFE, b"read all the same"),
        )
    )
    assert reason in str(says["exif:error"])
    assert says["jpeg:Comment"] == "read all the same"


def test_one_broken_tag_leaves_the_others() -> None:
    block = exif_of(Make="a maker of cameras", Software="a program with a long name")
    offset = struct.pack(">I", block.index(b"a maker of") - 6)
    assert block.count(offset) == 1
    says = read_file_metadata(jpeg_of((0xE1, block.replace(offset, b"\x7f\xff\xff\xff"))))
    assert says["exif:Software"] == "a program with a long name"
    assert says["exif:error"] == "a value lies beyond the end of the block"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE x [<!ENTITY a "AAAAAAAAAA"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://localhost/x.dtd">',
    ],
)
def test_xmp_that_declares_a_document_type_is_refused_in_any_encoding(
    declaration: str, encoding: str
) -> None:
    packet = xmp_of(
        elements="<xmp:CreatorTool>&a;</xmp:CreatorTool>", before=declaration
    ).partition("?>")[2]
    says = read_file_metadata(jpeg_with_xmp(packet.encode(encoding)))
    assert says["xmp:error"] == "the packet declares a document type"
    assert "xmp:CreatorTool" not in says


@pytest.mark.parametrize(
    "packet", [b"", b"<", b"<a><b></a>", b"<a>&lol;</a>", b"\xff\xff", b"<a xmp:CreatorTool='x'/>"]
)
def test_xmp_that_is_no_xml_is_recorded(packet: bytes) -> None:
    assert "xmp:error" in read_file_metadata(jpeg_with_xmp(packet))


def test_broken_iptc_is_recorded_and_what_came_before_it_is_kept() -> None:
    whole = resources(iim((2, 110, b"an agency"), (2, 115, b"a source")))
    says = read_file_metadata(
        jpeg_of((0xED, whole.replace(struct.pack(">H", 8) + b"a source", b"\x7f\xffa source")))
    )
    assert says["iptc:Credit"] == "an agency"
    assert says["iptc:error"] == "a record lies beyond the end of the block"
    assert "beyond the end" in str(read_file_metadata(jpeg_of((0xED, whole[:-12])))["iptc:error"])
    assert "iptc:error" in read_file_metadata(jpeg_of((0xED, b"Photoshop 3.0\x008BIM\x04\x04")))


@pytest.mark.parametrize(
    "body",
    [
        chunk(b"zTXt", b"Comment\x00\x00not deflated"),
        chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(MAX_READ_BYTES + 1))),
        chunk(b"iTXt", b"Comment\x00\x01\x00\x00\x00" + zlib.compress(bytes(MAX_READ_BYTES * 4))),
        chunk(b"iTXt", b"Comment\x00\x00\x00en"),
        text_chunk("", b"no keyword"),
        text_chunk("k" * 80, b"a long keyword"),
        text_chunk("bell \x07", b"not printable"),
        text_chunk("Comment", bytes(MAX_READ_BYTES + 1)),
    ],
)
def test_a_text_chunk_that_is_not_read_is_recorded_and_leaves_the_others(body: bytes) -> None:
    says = read_file_metadata(png_of(body, text_chunk("Software", b"NovelAI")))
    assert says["png:Software"] == "NovelAI"
    assert set(says) == {"png:Software", "png:error"}


def test_an_avif_file_that_cannot_be_opened_is_recorded(samples: dict[str, bytes]) -> None:
    assert "avif:error" in read_file_metadata(samples["avif"][:120])


# Bounds


def test_a_long_text_is_cut_and_identified_by_its_length_and_hash() -> None:
    text = "ß" * MAX_VALUE_BYTES
    says = read_file_metadata(
        png_of(chunk(b"iTXt", b"workflow\x00\x00\x00\x00\x00" + text.encode()))
    )
    assert says["png:workflow"] == {
        "text": "ß" * (MAX_VALUE_BYTES // 2),
        "characters": MAX_VALUE_BYTES,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "cut": True,
    }
    fitting = "x" * MAX_VALUE_BYTES
    assert (
        read_file_metadata(png_of(text_chunk("prompt", fitting.encode())))["png:prompt"] == fitting
    )


def test_all_texts_of_a_file_together_are_bounded() -> None:
    says = read_file_metadata(
        png_of(*(text_chunk(f"key {n}", b"%03d " % n * 10_000) for n in range(30)))
    )
    texts = [value if isinstance(value, str) else str(value["text"]) for value in says.values()]
    assert sum(len(text.encode()) for text in texts) == MAX_FILE_BYTES
    assert len(json.dumps(says)) < 2 * MAX_FILE_BYTES
    assert all(
        isinstance(value, dict) and value["characters"] == 40_000
        for value in list(says.values())[7:]
    )


def test_there_are_no_more_keys_than_the_limit_and_a_repeated_one_has_a_number() -> None:
    says = read_file_metadata(
        png_of(*(text_chunk("Comment", b"%d" % n) for n in range(500)), chunk(b"zTXt", b""))
    )
    assert len(says) <= MAX_KEYS
    assert (says["png:Comment"], says["png:Comment 2"]) == ("0", "1")
    assert says["png:error"] == "the file has more metadata than are read"


def test_a_text_that_calls_itself_an_error_is_no_error() -> None:
    assert read_file_metadata(png_of(text_chunk("error", b"nothing is wrong"))) == {
        "png:error 2": "nothing is wrong"
    }


def xmp_chunk(packet: str) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + packet.encode())


def exif_of_many_tags() -> bytes:
    entries = b"".join(struct.pack("<HHII", 0x0131, 2, 40_000, 8) for _ in range(1000))
    return (
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00" + struct.pack("<H", 1000) + entries + bytes(50_000)
    )


DEFLATED = zlib.compress(bytes(MAX_READ_BYTES))
NESTED = xmp_of(elements="<xmp:CreatorTool>" * 50_000 + "</xmp:CreatorTool>" * 50_000)
BOMBS: dict[str, Callable[[], bytes]] = {
    "inflating": lambda: png_of(
        *(chunk(b"zTXt", b"k%d\x00\x00" % n + DEFLATED) for n in range(3000))
    ),
    "inflating, private": lambda: png_of(*[chunk(b"zTXt", b"GPS\x00\x00" + DEFLATED)] * 3000),
    "empty texts": lambda: png_of(*[text_chunk("Comment", b"")] * 150_000),
    "broken texts": lambda: png_of(*[chunk(b"iTXt", b"Comment\x00")] * 150_000),
    "long texts": lambda: png_of(*[text_chunk("Comment", b"\xff" * 4_000_000)] * 12),
    "nested elements": lambda: png_of(xmp_chunk(NESTED)),
    "many packets": lambda: png_of(*[xmp_chunk(NESTED)] * 30),
    "many exif": lambda: jpeg_of(*[(0xE1, exif_of_many_tags())] * 900),
    "many iptc": lambda: jpeg_of(*[(0xED, resources(iim(*[(2, 25, b"")] * 12_000)))] * 900),
    "many comments": lambda: jpeg_of(*[(0xFE, b"")] * 19_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_file_takes_little_work_and_memory_and_says_little(name: str) -> None:
    data = BOMBS[name]()
    with forbid_hanging(), count_calls() as work:
        says = read_file_metadata(data)
    with measure_memory() as used:
        assert read_file_metadata(data) == says
    assert work.calls < 2_000_000
    assert used.peak_bytes < 60_000_000
    assert len(says) <= MAX_KEYS


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_ever_raises_and_all_that_is_said_can_be_stored(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(rich_files())))
    for _ in range(data.draw(st.integers(1, 12))):
        whole[data.draw(st.integers(8, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(8, len(whole)))
    for key, value in read_file_metadata(bytes(whole[:cut])).items():
        assert "\x00" not in json.loads(json.dumps({key: value}, ensure_ascii=False).encode())[key]
        assert "\x00" not in key


def rich_files() -> list[bytes]:
    exif = exif_of(
        Make="Maker", Software="Program", UserComment=b"UNICODE\x00" + "words".encode("utf-16-be")
    )
    xmp = xmp_of('xmp:CreatorTool="Tool"', "<photoshop:Credit>Agency</photoshop:Credit>").encode()
    comments = (
        text_chunk("Comment", b"words"),
        chunk(b"zTXt", b"Title\x00\x00" + zlib.compress(b"more words")),
    )
    picture, tiff = BytesIO(), BytesIO()
    Image.new("RGB", (40, 40)).save(picture, "WEBP", exif=exif, xmp=xmp)
    Image.new("RGB", (40, 40)).save(tiff, "TIFF", exif=exif)
    return [
        jpeg_of((0xE1, exif), (0xED, resources(iim((2, 110, b"an agency")))), (0xFE, b"words")),
        jpeg_with_xmp(xmp),
        png_of(chunk(b"eXIf", exif[6:]), *comments, xmp_chunk(xmp.decode())),
        picture.getvalue(),
        tiff.getvalue(),
    ]


# Privacy


def test_places_owners_and_devices_are_not_read() -> None:
    exif = Image.Exif()
    exif[0x0131] = "Program"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 3.0)})
    exif.get_ifd(0x8769).update(
        {0xA430: "An Owner", 0xA431: "a serial number", 0xA435: "a lens' serial number"}
    )
    copies = [
        "exif:GPSLatitude",
        "GPS position",
        "exif:BodySerialNumber",
        "exif:CameraOwnerName",
        "Owner name",
    ]
    copies += ["Raw profile type exif", "Raw profile type APP1"]
    texts = [text_chunk(keyword, b"private") for keyword in copies]
    says = read_file_metadata(
        png_of(*texts, text_chunk("exif:Software", b"Program"), chunk(b"eXIf", exif.tobytes()[6:]))
    )
    assert says == {"png:exif:Software": "Program", "exif:Software": "Program"}


# What is read


def test_every_text_chunk_of_a_png_is_read_verbatim(encoder: Encoder, picture: Image.Image) -> None:
    workflow = '{"nodes": [{"id": 1, "text": "a \\u0000 stays as it is spelt"}]}'
    texts = PngInfo()
    texts.add_text("parameters", "a cat\nNegative prompt: a dog\nSteps: 20, Model: some_model")
    texts.add_text("prompt", workflow)
    texts.add_text("workflow", workflow, zip=True)
    texts.add_itxt("Description", "日本語 🐈", zip=True)
    texts.add_itxt("Title", "Żółw")
    says = read_file_metadata(encoder(picture, "PNG", pnginfo=texts))
    assert says == {
        "png:parameters": "a cat\nNegative prompt: a dog\nSteps: 20, Model: some_model",
        "png:prompt": workflow,
        "png:workflow": workflow,
        "png:Description": "日本語 🐈",
        "png:Title": "Żółw",
    }


def test_text_that_is_utf_8_against_the_standard_is_read_as_that_and_latin_1_otherwise() -> None:
    says = read_file_metadata(
        png_of(text_chunk("one", "Żółw".encode()), text_chunk("other", "Bär".encode("latin-1")))
    )
    assert says == {"png:one": "Żółw", "png:other": "Bär"}


def test_a_nul_is_spelt_out_and_text_of_nothing_else_says_nothing() -> None:
    says = read_file_metadata(
        png_of(
            text_chunk("Comment", b"a\x00b\x00"),
            text_chunk("Title", b"\x00\x00"),
            text_chunk("x", b"  "),
        )
    )
    assert says == {"png:Comment": r"a\x00b"}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_exif_is_read_in_every_format(format: str, encoder: Encoder, picture: Image.Image) -> None:
    block = exif_of(
        ImageDescription="a description",
        Make="a maker",
        Model="a model",
        Software="a program",
        Artist="an artist",
        HostComputer="a computer",
        DateTimeOriginal="2026:11:25 10:00:00",
        UserComment=b"ASCII\x00\x00\x00a comment",
    )
    says = read_file_metadata(encoder(picture, format, exif=block))
    assert says == {
        "exif:ImageDescription": "a description",
        "exif:Make": "a maker",
        "exif:Model": "a model",
        "exif:Software": "a program",
        "exif:Artist": "an artist",
        "exif:HostComputer": "a computer",
        "exif:DateTimeOriginal": "2026:11:25 10:00:00",
        "exif:UserComment": "a comment",
    }


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"UNICODE\x00" + "a cat, Żółw".encode("utf-16-be"), "a cat, Żółw"),
        (b"UNICODE\x00" + "a cat, Żółw".encode("utf-16-le"), "a cat, Żółw"),
        (b"UNICODE\x00" + "a cat 🐈".encode("utf-16"), "a cat 🐈"),
        (b"UNICODE\x00" + "日本語".encode("utf-16-be"), "日本語"),
        (b"UNICODE\x00" + b"\xd8\x00\x00a", "�a"),
        (b"ASCII\x00\x00\x00a cat", "a cat"),
        (b"JIS\x00\x00\x00\x00\x00" + "日本語".encode("iso2022_jp"), "日本語"),
        (bytes(8) + "Żółw".encode(), "Żółw"),
        (b"no code at all", "no code at all"),
    ],
)
def test_a_user_comment_is_decoded_by_its_character_code(raw: bytes, text: str) -> None:
    """Pillow writes big-endian blocks, which decides where no zero does."""
    assert read_file_metadata(jpeg_of((0xE1, exif_of(UserComment=raw))))["exif:UserComment"] == text


@pytest.mark.parametrize("form", ["attributes", "elements", "resources"])
def test_fields_of_xmp_are_read_from_attributes_and_from_elements(form: str) -> None:
    fields = {
        "xmp:CreatorTool": "Tool 1",
        "Iptc4xmpExt:DigitalSourceType": SYNTHETIC,
        "photoshop:Credit": "Żółw &amp; Co",
    }
    packet = {
        "attributes": xmp_of(
            attributes=" ".join(f'{name}="{text}"' for name, text in fields.items())
        ),
        "elements": xmp_of(
            elements="".join(f"<{name}>\n {text}</{name}>" for name, text in fields.items())
        ),
        "resources": xmp_of(
            elements="".join(f'<{name} rdf:resource="{text}"/>' for name, text in fields.items())
        ),
    }[form]
    assert read_file_metadata(jpeg_with_xmp(packet.encode() + b"  \x00")) == {
        "xmp:CreatorTool": "Tool 1",
        "xmp:DigitalSourceType": SYNTHETIC,
        "xmp:Credit": "Żółw & Co",
    }


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_xmp_is_read_in_every_format(format: str, encoder: Encoder, picture: Image.Image) -> None:
    packet = xmp_of(f'Iptc4xmpExt:DigitalSourceType="{SYNTHETIC}"').encode()
    if format == "PNG":
        texts = PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", packet.decode())
        data = encoder(picture, format, pnginfo=texts)
    elif format == "TIFF":
        data = encoder(picture, format, tiffinfo={700: packet})
    else:
        data = encoder(picture, format, xmp=packet)
    assert read_file_metadata(data) == {"xmp:DigitalSourceType": SYNTHETIC}


def test_records_of_iptc_are_read_from_jpeg_and_from_tiff(
    encoder: Encoder, picture: Image.Image
) -> None:
    records = iim(
        (1, 90, b"\x1b%G"),
        (2, 65, b"a program"),
        (2, 80, b"a by-line is not read"),
        (2, 110, "Żółw".encode()),
        (2, 115, b"a source"),
        (2, 116, "© an agency".encode("latin-1")),
    )
    expected = {
        "iptc:OriginatingProgram": "a program",
        "iptc:Credit": "Żółw",
        "iptc:Source": "a source",
        "iptc:CopyrightNotice": "© an agency",
    }
    assert read_file_metadata(jpeg_of((0xED, resources(records)))) == expected
    assert read_file_metadata(encoder(picture, "TIFF", tiffinfo={0x83BB: records})) == expected


def test_threads_may_read_at_the_same_time() -> None:
    files = rich_files() * 20
    expected = [read_file_metadata(data) for data in files]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(read_file_metadata, files)) == expected


@pytest.mark.corpus
def test_the_metadata_samples_are_read_without_an_error(special_files: Path) -> None:
    for path in sorted((special_files / "metadata").iterdir()):
        says = read_file_metadata(path.read_bytes())
        assert says, path.name
        assert not [key for key in says if key.endswith(":error")], path.name
