"""Tar archives of every format and compression, whole and damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import tarfile
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sources import tar
from api.sources.access import Access
from api.sources.item import Item, Span, UnreadableItem, UnusableSource
from api.sources.streams import Stream
from api.sources.tar import TarSource, is_tar
from tests.api.sources.storage import FailingStorage, disk_error

ReadWhole = Callable[..., list[Any]]

COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gz": partial(gzip.compress, compresslevel=1),
    "bz2": bz2.compress,
    "xz": partial(lzma.compress, preset=0),
}
FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}

Files = Iterable[tuple[str | tarfile.TarInfo, bytes]]


def archive(files: Files, tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive; a TarInfo stands for a member of another kind, its size is that of the
    bytes.
    """
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tar_format) as opened:
        for name, content in files:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return written.getvalue()


def special(name: str, kind: bytes, link: str = "", **pax: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.pax_headers = (
        kind,
        link,
        {key.replace("__", "."): value for key, value in pax.items()},
    )
    return info


def outcome(item: Item, max_bytes: int = 1000) -> bytes | str:
    try:
        return item.read(max_bytes)
    except UnreadableItem as err:
        return err.reason


def read(path: Path, max_bytes: int = 1000) -> list[tuple[str, bytes | str]]:
    """Names and contents, or reasons; in small spans by a source that did not list them."""
    with closing(TarSource(str(path))) as source:
        return [
            (item.name, outcome(item, max_bytes))
            for span in TarSource(str(path)).spans(3)
            for item in source.items(Span(span.count, json.loads(json.dumps(span.where))))
        ]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write_archive(content: bytes) -> Path:
        (tmp_path / "a.tar").write_bytes(content)
        return tmp_path / "a.tar"

    return write_archive


Write = Callable[[bytes], Path]

NUMBERED = [
    (f"d/{number:03}.png", random.Random(number).randbytes(number * 70)) for number in range(30)
]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_archive_cut_anywhere_gives_what_lies_before_and_says_so(
    write: Write, compression: str
) -> None:
    whole = COMPRESSIONS[compression](archive(NUMBERED))
    contents = dict(NUMBERED)
    end = (
        whole.rindex(NUMBERED[-1][1]) + 2000 if compression == "tar" else len(whole)
    )  # zeros behind it tell nothing
    for length in random.Random(0).sample(range(40, end), 40):
        *before, last = read(write(whole[:length]), 10_000)
        assert last == ("a.tar", "truncated_archive"), length
        assert [name for name, _ in before] == [name for name, _ in NUMBERED[: len(before)]]
        assert all(content == contents[name] for name, content in before[:-1])
        assert not before or before[-1][1] in (contents[before[-1][0]], "truncated_archive")


def test_a_member_that_is_cut_is_listed_and_fails_before_the_archive_does(write: Write) -> None:
    whole = archive([("a.png", bytes(600)), ("b.png", bytes(600))])
    end = whole.rindex(b"b.png") + 512 + 500
    assert read(write(whole[:end])) == [
        ("a.png", bytes(600)),
        ("b.png", "truncated_archive"),
        ("a.tar", "truncated_archive"),
    ]


def test_an_archive_without_its_end_mark_is_reported(write: Write) -> None:
    whole = archive([("a.png", b"a")])
    assert read(write(whole[:1024])) == [("a.png", b"a"), ("a.tar", "truncated_archive")]
    assert read(write(whole[:1536])) == [("a.png", b"a")]  # one block of zeros: GNU tar only warns


def test_a_damaged_header_ends_the_listing_with_a_failure(write: Write) -> None:
    whole = bytearray(archive(NUMBERED))
    whole[whole.index(b"d/010.png") + 3] ^= 1
    *before, last = read(write(bytes(whole)), 10_000)
    assert (before, last) == (NUMBERED[:10], ("a.tar", "corrupt_archive"))


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_damaged_compressed_data_end_the_listing_with_a_failure(
    write: Write, compression: str
) -> None:
    noise = [(f"{number}.png", random.Random(number).randbytes(50_000)) for number in range(60)]
    whole = bytearray(COMPRESSIONS[compression](archive(noise)))
    whole[len(whole) // 2] ^= 0xFF
    *before, last = read(write(bytes(whole)), 100_000)
    assert last == ("a.tar", "corrupt_archive")
    assert (
        compression == "gz" or 0 < len(before) < 60
    )  # gzip tells noise that is stored from its checksum at the end
    if compression != "gz":
        assert before[:-1] == noise[: len(before) - 1]


@given(data=st.data())
def test_no_damage_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    compression = data.draw(st.sampled_from(sorted(COMPRESSIONS)))
    tar_format = data.draw(st.sampled_from(sorted(FORMATS.values())))
    long_name = "long/" * 15 + "name.png"
    content = bytearray(
        COMPRESSIONS[compression](archive([*NUMBERED[:3], (long_name, b"x")], tar_format))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    path.write_bytes(content)
    assert isinstance(is_tar(str(path), Access()), bool)
    assert all(isinstance(name, str) for name, _ in read(path))


@pytest.mark.parametrize("size", [-512, 2**63, 2**80])
def test_a_size_that_no_file_has_is_a_damage(write: Write, size: int) -> None:
    info = tarfile.TarInfo("a.png")
    info.size = size
    block = info.tobuf(tarfile.GNU_FORMAT)
    assert read(write(archive([("b.png", b"b")])[:1024] + block + bytes(1024))) == [
        ("b.png", b"b"),
        ("a.tar", "corrupt_archive"),
    ]


@pytest.mark.parametrize(
    "records",
    [
        b"9999 path=a\n",
        b"x path=a\n",
        b"7 path\n",
        b"0 a=b\n",
        b"12 size=x1y\n",
        b"17 size=" + b"9" * 8 + b"\n",
    ],
)
def test_extended_headers_without_sense_are_a_damage(write: Write, records: bytes) -> None:
    extended = archive([(special("x", tarfile.XHDTYPE), records)])[:1024]
    assert read(write(extended + archive([("a.png", b"a")])))[-1][1] in (
        "corrupt_archive",
        "truncated_archive",
    )


def test_an_extended_header_without_end_takes_no_memory(write: Write) -> None:
    info = special("x", tarfile.XHDTYPE)
    info.size = 2**40
    assert read(write(info.tobuf(tarfile.GNU_FORMAT) + bytes(5000))) == [
        ("a.tar", "corrupt_archive")
    ]


def test_what_is_no_file_is_an_item_that_fails(write: Write) -> None:
    sparse = special(
        "pax-sparse.png", tarfile.REGTYPE, GNU__sparse__major="1", GNU__sparse__name="real.png"
    )
    files = [
        (special("folder", tarfile.DIRTYPE), b""),
        (special("link.png", tarfile.SYMTYPE, "a.png"), b""),
        (special("hard.png", tarfile.LNKTYPE, "a.png"), b""),
        (special("pipe", tarfile.FIFOTYPE), b""),
        (special("device", tarfile.CHRTYPE), b""),
        (special("label", b"V"), b"data of an unknown kind"),
        (sparse, b"holes"),
        ("a.png", b"a"),
    ]
    assert read(write(archive(files))) == [
        ("link.png", "not_a_file"),
        ("hard.png", "not_a_file"),
        ("pipe", "not_a_file"),
        ("device", "not_a_file"),
        ("label", "unsupported_member"),
        ("real.png", "unsupported_member"),
        ("a.png", b"a"),
    ]


def test_an_old_sparse_member_is_passed_over_with_its_list_of_holes(write: Write) -> None:
    block = bytearray(special("holes.png", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    block[482] = 1
    more, last = bytearray(512), bytes(512)
    more[504] = 1
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    holes = bytes(block + more + last)
    assert read(write(holes + archive([("a.png", b"a")]))) == [
        ("holes.png", "unsupported_member"),
        ("a.png", b"a"),
    ]
    assert read(write(holes[:1000]))[-1] == ("a.tar", "truncated_archive")


def test_hidden_members_are_left_out_as_in_a_folder(write: Write) -> None:
    files = [
        (name, name.encode())
        for name in ("./a.png", "./._a.png", ".x/b.png", "c/.DS_Store", "c/../d.png", "/e.png")
    ]
    assert [name for name, _ in read(write(archive(files)))] == ["a.png", "c/../d.png", "/e.png"]


def test_an_archive_that_was_replaced_gives_no_other_member_s_bytes(write: Write) -> None:
    path = write(archive([("a.png", b"a" * 600), ("b.png", b"b")]))
    (span,) = TarSource(str(path)).spans(9)
    write(archive([("0.png", b"0"), ("a.png", b"a" * 600), ("b.png", b"b")]))
    with closing(TarSource(str(path))) as source:
        assert [outcome(item) for item in source.items(span)] == [
            "changed_archive",
            "changed_archive",
        ]
    path.unlink()
    with pytest.raises(UnusableSource):
        list(TarSource(str(path)).items(span))


def test_storage_that_fails_is_not_taken_for_the_end_of_an_archive(
    failing_storage: type[FailingStorage],
) -> None:
    failing_storage.files["a.tar"] = archive(NUMBERED)
    with closing(TarSource("failing://a.tar")) as source:
        (span,) = source.spans(99)
        items = source.items(span)
        first = next(items)
        failing_storage.error = disk_error
        assert outcome(first) == "unreadable"
        with pytest.raises(UnusableSource, match="Input/output error"):
            list(source.spans(9))
        failing_storage.error = None
        assert outcome(first) == NUMBERED[0][1]


def test_zstd_is_named_where_python_cannot_read_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.sources.streams.DECOMPRESSORS", {b"\x28\xb5\x2f\xfd": None})
    path = write(b"\x28\xb5\x2f\xfd and so on")
    for refused in (
        lambda: is_tar(str(path), Access()),
        lambda: list(TarSource(str(path)).spans(1)),
    ):
        with pytest.raises(UnusableSource, match="zstd"):
            refused()


def test_an_archive_is_known_by_its_content(write: Write) -> None:
    whole = archive([("a", b"a")])
    for compress in COMPRESSIONS.values():
        assert is_tar(str(write(compress(whole))), Access())
        assert not is_tar(str(write(compress(b"no archive"))), Access())
        assert not is_tar(str(write(compress(whole)[:3])), Access())
    assert is_tar(
        str(write(special("old", tarfile.AREGTYPE).tobuf(tarfile.USTAR_FORMAT))), Access()
    )


def test_a_large_member_is_read_a_byte_beyond_the_bound(write: Write) -> None:
    bomb = gzip.compress(archive([("a.png", bytes(64 * 2**20)), ("b.png", b"b")]), compresslevel=9)
    path = write(bomb)
    tracemalloc.start()
    found = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [("a.png", bytes(1001)), ("b.png", b"b")]
    assert peak < 8 * 2**20


def test_listing_takes_no_memory_that_grows_with_the_archive(write: Write) -> None:
    path = write(archive((f"frame.{number:06}.png", b"") for number in range(8000)))
    source = TarSource(str(path))
    tracemalloc.start()
    assert sum(span.count for span in source.spans(100)) == 8000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 2**20


SAMPLES = [
    ("0.cls", b"3"),
    ("0.jpg", b"image" * 200),
    ("0.json", b'{"n": 0}'),
    ("0.png", b"other"),
    ("1.jpg", b"without"),
    ("2.json", b'{"n": 2}'),
    ("3.jpg", b"\xff"),
    ("3.txt", b"words"),
    ("0.txt", b"late"),
]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_sidecars_are_told_whichever_side_they_lie_on(
    tmp_path: Path, compression: str, read_whole: ReadWhole
) -> None:
    path = tmp_path / "shard"
    path.write_bytes(COMPRESSIONS[compression](archive(SAMPLES)))
    assert [item[:3] for item in read_whole(partial(TarSource, str(path)))] == [
        ("0.jpg", b"image" * 200, {"class": 3, "n": 0}),
        ("0.png", b"other", {"class": 3, "n": 0}),
        ("1.jpg", b"without", {}),
        ("2.json", b'{"n": 2}', {}),
        ("3.jpg", b"\xff", {"caption": "words"}),
        ("0.txt", b"late", {}),
    ]


def test_a_compressed_archive_is_gone_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for number in range(50):
        files += [
            (f"{number}.jpg", random.Random(number).randbytes(3000)),
            (f"{number}.json", b'{"n": %d}' % number),
            (f"{number}.png", b"x"),
        ]
    path = tmp_path / "shard"
    path.write_bytes(gzip.compress(archive(files)))
    spans = list(TarSource(str(path)).spans(6))
    offsets: list[int] = []
    read_at = Stream.read_at

    def record(stream: Stream, offset: int, size: int) -> bytes:
        offsets.append(offset)
        return read_at(stream, offset, size)

    monkeypatch.setattr(Stream, "read_at", record)
    with closing(TarSource(str(path))) as source:
        contents = {item.name: item.read(9999) for span in spans for item in source.items(span)}
    assert contents == {name: content for name, content in files if not name.endswith("json")}
    assert offsets == sorted(offsets)


def test_more_than_is_held_of_a_sample_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar, "HELD_BYTES", 1000)
    files = [
        ("a.jpg", b"1" * 700),
        ("a.png", b"2" * 700),
        ("a.tif", b"3" * 5000),
        ("a.txt", b"words"),
    ]
    path = tmp_path / "shard"
    path.write_bytes(gzip.compress(archive(files)))
    assert read(path, 9000) == files[:3]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("tar_format", FORMATS)
def test_every_format_is_read_in_spans(
    tmp_path: Path, tar_format: str, compression: str, read_whole: ReadWhole
) -> None:
    names = [
        "a.png",
        "ü/ß.png",
        "long/" * 18 + "n" * 80 + ".png",
        "d/" + os.fsdecode(b"\xff") + ".png",
    ]
    if tar_format != "ustar":
        names += ["/".join(["deeper" * 10] * 10) + ".png", "n" * 5000]
    files = [
        (name, os.fsencode(name)[-900:] * (place % 2)) for place, name in enumerate(names)
    ] + NUMBERED[:9]
    path = tmp_path / "shard"
    path.write_bytes(COMPRESSIONS[compression](archive(files, FORMATS[tar_format])))

    found = read_whole(partial(TarSource, str(path)))

    printed = [
        name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:4096]
        for name, _ in files
    ]
    assert [item.name for item in found] == printed
    assert [item.content for item in found] == [
        "unsupported_member" if len(name) > 4096 else content for name, content in files
    ]


def test_archives_written_one_behind_the_other_are_read_on(
    tmp_path: Path, read_whole: ReadWhole
) -> None:
    path = tmp_path / "two.tar.gz"
    first, second = archive([("a.png", b"a")]), archive([("b.png", b"b")])
    for content in (gzip.compress(first + second), gzip.compress(first) + gzip.compress(second)):
        path.write_bytes(content)
        assert [item[:2] for item in read_whole(partial(TarSource, str(path)))] == [
            ("a.png", b"a"),
            ("b.png", b"b"),
        ]
    path.write_bytes(first + b"left over by the writer" * 100)
    assert read(path) == [("a.png", b"a")]


def test_an_archive_behind_a_url_is_read_in_spans(
    memory_files: Callable[[str, bytes], str], read_whole: ReadWhole
) -> None:
    for compress in COMPRESSIONS.values():
        location = memory_files("memory://far/a.tar", compress(archive(NUMBERED)))
        assert [item[:2] for item in read_whole(partial(TarSource, location))] == [
            (name, content[:1001]) for name, content in NUMBERED
        ]
