"""Forms with files, read in threads while they arrive.

`python_multipart` is Python: on a body that is made for it, it takes most of a second for each
megabyte. Starlette runs it in the event loop, where nothing else is answered meanwhile.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import BinaryIO, cast

import anyio.to_thread
from anyio import CapacityLimiter
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.requests import Request

from api.errors import InvalidRequest
from api.http.strict_json import check_text
from index.failures import name_full_disk

Count = Callable[[int], None]

MAX_FILES = 1
MAX_FIELDS = 16  # more than any form of Lineup has
MAX_FIELD_BYTES = 2**20  # as in Starlette
IN_MEMORY_BYTES = 2**20  # a larger file lies on the disk; as in Starlette
# Threads that parse. More would not parse faster: they hold the interpreter's lock.
PARSERS = 4
_parsers = CapacityLimiter(PARSERS)


@asynccontextmanager
async def open_form(
    request: Request,
    fields: Collection[str],
    folder: Path | None = None,
    count: Count | None = None,
) -> AsyncIterator[FormData]:
    """Read a multipart form; close its file at the end of the block. Raises `InvalidRequest`."""
    form = await read_form(request, fields, folder, count)
    try:
        yield form
    finally:
        await form.close()


async def read_form(
    request: Request,
    fields: Collection[str],
    folder: Path | None = None,
    count: Count | None = None,
) -> FormData:
    """Read a multipart form with at most one file, which the caller closes.

    `fields` are the names of the parts that mean something. A large file lies in `folder`, by
    default the machine's folder of temporary files. `count` is called in a thread with the bytes of
    each piece that arrives; its error ends the request. Raises `InvalidRequest`, `StorageFull`.
    """
    reader = _Reader(request.headers["content-type"], fields, folder, count)
    try:
        async with aclosing(request.stream()) as stream:
            async for piece in stream:
                await anyio.to_thread.run_sync(reader.feed, piece, limiter=_parsers)
        return reader.finish()
    except BaseException:
        reader.close()
        raise


class _Reader:
    """Collects the parts of one form."""

    def __init__(
        self,
        content_type: str,
        fields: Collection[str],
        folder: Path | None,
        count: Count | None,
    ) -> None:
        _, options = parse_options_header(content_type)
        self._fields = fields
        self._folder = folder
        self._count = count
        self._parts: list[tuple[str, str | UploadFile]] = []
        self._file: UploadFile | None = None
        self._header_name = b""
        self._header_value = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._name = ""
        self._text: bytearray | None = None  # of the current part; None if it is the file
        self._is_complete = False
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_header_name,
                    "on_header_value": self._add_to_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_data,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except KeyError:
            raise InvalidRequest("the Content-Type of the form has no boundary") from None
        except FormParserError as err:
            raise InvalidRequest(f"this is not a multipart form: {err}") from err

    def feed(self, piece: bytes) -> None:
        """Parse the next bytes. Raises `InvalidRequest`, `StorageFull`."""
        if self._count is not None:
            self._count(len(piece))
        try:
            self._parser.write(piece)
        except FormParserError as err:
            raise InvalidRequest("this is not a multipart form") from err

    def finish(self) -> FormData:
        """Return the form. Raises `InvalidRequest` if its end is missing."""
        if not self._is_complete:
            raise InvalidRequest("the multipart form has no end")
        if self._file is not None:
            self._file.file.seek(0)
        return FormData(self._parts)

    def close(self) -> None:
        """Close the file, which deletes it."""
        if self._file is not None:
            self._file.file.close()

    def _begin_part(self) -> None:
        self._headers = []

    def _add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers.append((self._header_name.lower(), self._header_value))
        self._header_name = self._header_value = b""

    def _begin_data(self) -> None:
        """The headers of a part are complete: it is the file if it has a file name."""
        _, options = parse_options_header(dict(self._headers).get(b"content-disposition"))
        if b"name" not in options:
            raise InvalidRequest("a part of the form has no name")
        self._name = _decode(options[b"name"], "the name of a part")
        if self._name not in self._fields:
            raise InvalidRequest(
                f"the form has a part {self._name[:50]!r}, which means nothing here"
            )
        if b"filename" in options:
            if self._file is not None:
                raise InvalidRequest(f"the form has more than {MAX_FILES} file")
            name = _decode(options[b"filename"], "a file's name")
            self._text = None
            self._file = UploadFile(
                _make_file(self._folder),
                filename=name,
                headers=Headers(raw=self._headers),
                size=0,
            )
        else:
            self._text = bytearray()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            assert self._file is not None
            with name_full_disk("the file of the form"):
                self._file.file.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > MAX_FIELD_BYTES:
            raise InvalidRequest(f"{self._name}: more than {MAX_FIELD_BYTES:,} bytes")

    def _end_part(self) -> None:
        if len(self._parts) >= MAX_FIELDS:
            raise InvalidRequest(f"the form has more than {MAX_FIELDS} parts")
        if self._text is None:
            assert self._file is not None
            self._parts.append((self._name, self._file))
        else:
            self._parts.append((self._name, _decode(self._text, self._name)))

    def _end(self) -> None:
        self._is_complete = True


def _make_file(folder: Path | None) -> BinaryIO:
    """Make a file that moves from memory to the disk when it grows, and is gone when closed."""
    place = None if folder is None else str(folder)
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=place)  # noqa: SIM115 - the caller closes it
    return cast(BinaryIO, file)


def _decode(data: bytes | bytearray, what: str) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as err:
        raise InvalidRequest(f"{what} is not UTF-8") from err
    check_text(text)
    return text
