r"""Text from outside, encoded for where it goes: it is shown, and never interpreted.

Names of files, generators, labels and licences are written by whoever made the images, and error
messages repeat them. A terminal obeys control characters in them, a spreadsheet runs a cell that
begins with ``=``, a log takes a line break for the next record, and characters that change the
direction of writing let one name look like another. This module owns the rules; the console, the
CSV of `lineup jobs failures`, the formatters of the logs and the HTML pages use them.

What is hazardous: control characters (C0, DEL, C1), separators of lines and paragraphs, characters
without a shape (zero-width, bidirectional marks, embeddings, overrides and isolates, tags,
fillers), halves of surrogate pairs, and marks or variation selectors that nothing in the text
carries. Sources: Unicode 15, General_Category and Default_Ignorable_Code_Point; UTS #39 (joiners in
identifiers); UTS #51 (emoji); Trojan Source, CVE-2021-42574. Ordinary text of every script stays as
it is: joiners between letters of the scripts that need them, and within emoji.

`show` writes a hazardous character as Python does, for example ``\x1b`` or ``\u202e``. A backslash
stays a backslash, so that names stay readable: a name that has the four letters ``\x1b`` looks the
same. The CSV and the JSON can be read back exactly.
"""

from __future__ import annotations

import copy
import logging
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

# Marks in a row that ordinary text has at most: pointed Hebrew and Tibetan stay under six.
MOST_MARKS = 8
ZWNJ, ZWJ = "\u200c", "\u200d"
# Without a shape of their own, and not of the category Cf.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# Of the category Cf, but with a shape: signs of Arabic, Syriac, Kaithi and Egyptian writing.
_SHAPED_FORMATS = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
) | frozenset(map(chr, range(0x13430, 0x13440)))
# Scripts whose spelling uses the joiners: Arabic to Mandaic, the Indic ones, those of South-East
# Asia, Mongolian, presentation forms, Brahmi and its relatives, Adlam.
_JOINING = (
    (0x0600, 0x109F),
    (0x1780, 0x1CFF),
    (0xA800, 0xABFF),
    (0xFB50, 0xFDFF),
    (0xFE70, 0xFEFC),
    (0x10A00, 0x11FFF),
    (0x1E900, 0x1E95F),
)
_VIRAMA = 9  # the canonical combining class
_SELECTORS = ((0x180B, 0x180D), (0x180F, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
_SKIN_TONES = (0x1F3FB, 0x1F3FF)
_KEYCAPS = frozenset("0123456789#*")
# The flags that are written with tags, in full: England, Scotland, Wales (RGI set of UTS #51).
_BLACK_FLAG = "\U0001f3f4"
_FLAGS = frozenset(
    _BLACK_FLAG + "".join(chr(0xE0000 + ord(letter)) for letter in name) + "\U000e007f"
    for name in ("gbeng", "gbsct", "gbwls")
)
_LONGEST_FLAG = max(map(len, _FLAGS))

# What a spreadsheet takes for the beginning of a formula; the wide forms count in Japanese Excel.
_FORMULA = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_STARTS_FORMULA = re.compile(rf"[\s\"']*[{_FORMULA}]|[\t\r\n']")
# A spreadsheet that separates cells by semicolons sees another cell here.
_LATER_FORMULA = re.compile(rf"(;[\s\"']*)([{_FORMULA}])")
_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([ntr]))")
_SHORT = {"n": "\n", "t": "\t", "r": "\r"}


def show(text: str) -> str:
    r"""Return text with every hazardous character escaped visibly, as ``\x1b`` or ``\u202e``.

    The result has no hazardous character, and is its own result.
    """
    return _escape(text, _as_python)


def show_lines(text: str) -> str:
    """Return text like `show`, with its line breaks: for what Lineup itself lays out in lines."""
    return text if is_plain(text) else "\n".join(map(show, text.split("\n")))


def is_plain(text: str) -> bool:
    """Return whether `show` certainly changes nothing, without looking at every character."""
    return text.isascii() and text.isprintable()


def show_value(value: object) -> object:
    """Return text shown, and any other value as it is: what a template finalises its values by.

    Markup is a template's own, or was shown before.
    """
    return show(value) if type(value) is str else value


def escape_json(text: str) -> str:
    """Return JSON text in which hazardous characters of its strings are JSON escapes.

    It is the same document. Line breaks between its tokens stay.
    """
    return "\n".join(_escape(line, _as_json) for line in text.split("\n"))


def csv_cell(value: object) -> object:
    r"""Return a value as a cell that no spreadsheet interprets.

    Numbers stay numbers. In text, a backslash is doubled, and hazardous characters are escaped as
    by `show`. Text that a spreadsheet could take for a formula (it begins with ``=``, ``+``, ``-``
    or ``@``, also after spaces and quotes), and text that begins with an apostrophe, a tab or a
    line break, gets an apostrophe in front. `read_csv_cell` reverses it.
    """
    if not isinstance(value, str):
        return value
    cell = _escape(value.replace("\\", "\\\\"), _as_python)
    cell = _LATER_FORMULA.sub(lambda found: found[1] + _as_python(found[2]), cell)
    return f"'{cell}" if _STARTS_FORMULA.match(value) else cell


def read_csv_cell(cell: str) -> str:
    """Return the text that `csv_cell` wrote."""

    def read(found: re.Match[str]) -> str:
        number = found[1] or found[2] or found[3]
        return chr(int(number, 16)) if number else _SHORT.get(found[4], "\\")

    return _ESCAPED.sub(read, cell.removeprefix("'"))


class VisibleFormatter(logging.Formatter):
    """A formatter of logs: one line a record, whatever the message and its arguments hold.

    The lines of a traceback follow their record, each behind `TRACE`, so that none of them can be
    taken for a record.
    """

    TRACE = "  | "

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return super().format(make_visible(record))

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 -- logging's own
        """Return a traceback, each line marked."""
        return self._mark(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 -- logging's own
        """Return a stack, each line marked."""
        return self._mark(super().formatStack(stack_info))

    def _mark(self, lines: str) -> str:
        return "\n".join(self.TRACE + show(line) for line in lines.split("\n"))


def make_visible(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy of a record whose message and arguments have no hazardous character.

    Text that another formatter has already cached for the traceback is forgotten.
    """
    shown = copy.copy(record)
    shown.msg = show(str(record.msg))
    shown.exc_text = None
    if isinstance(record.args, Mapping):
        shown.args = {name: _shown_argument(each) for name, each in record.args.items()}
    elif record.args:
        shown.args = tuple(_shown_argument(each) for each in record.args)
    return shown


class _Shown:
    """An argument of a record, shown when the message is put together."""

    def __init__(self, argument: object) -> None:
        self._argument = argument

    def __str__(self) -> str:
        return show(str(self._argument))

    def __repr__(self) -> str:
        return show(repr(self._argument))


def _shown_argument(argument: object) -> object:
    if isinstance(argument, str):
        return show(argument)
    return argument if argument is None or isinstance(argument, Number) else _Shown(argument)


def _escape(text: str, escape: Callable[[str], str]) -> str:
    if is_plain(text):
        return text
    pieces: list[str] = []
    place = kept_from = 0  # the characters between the two stay, and can carry marks
    while place < len(text):
        letter = text[place]
        size = 1
        if _is_hazardous(text, kept_from, place):
            pieces.append(escape(letter))
            kept_from = place + 1
        else:
            size = _size_of_flag(text, place) if letter == _BLACK_FLAG else 1
            pieces.append(text[place : place + size])
        place += size
    return "".join(pieces)


def _as_python(letter: str) -> str:
    if letter in _SHORT.values():
        return repr(letter)[1:-1]
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else _as_wide(code)


def _as_wide(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _as_json(letter: str) -> str:
    code = ord(letter)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _size_of_flag(text: str, place: int) -> int:
    ends = range(place + 2, min(len(text), place + _LONGEST_FLAG) + 1)
    return next((end - place for end in ends if text[place:end] in _FLAGS), 1)


def _is_hazardous(text: str, kept_from: int, place: int) -> bool:
    letter = text[place]
    if letter.isascii():
        return not letter.isprintable()
    if letter in (ZWNJ, ZWJ):
        return not _joins(text, kept_from, place)
    code = ord(letter)
    if _is_within(code, _SELECTORS):
        return not _varies(_letter_before(text, kept_from, place), code)
    category = unicodedata.category(letter)
    if category[0] == "M":
        return letter in _BLANK or not _is_carried(text, kept_from, place)
    if category == "Cf":
        return letter not in _SHAPED_FORMATS
    return (
        category in ("Cc", "Cs", "Zl", "Zp")
        or letter in _BLANK
        or code == 0x2065
        or 0xFFF0 <= code <= 0xFFF8
        or 0xE0000 <= code <= 0xE0FFF
    )


def _joins(text: str, kept_from: int, place: int) -> bool:
    """Whether a joiner stands where spelling or an emoji needs it."""
    before, after = _letter_before(text, kept_from, place), text[place + 1 : place + 2]
    if not before:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return True
    if not after:
        return False
    after_joins = unicodedata.combining(after) == _VIRAMA or _is_joining(after, "L")
    if _is_joining(before, "LM") and after_joins:
        return True
    if before == "\ufe0f" or _SKIN_TONES[0] <= ord(before) <= _SKIN_TONES[1]:
        before = _letter_before(text, kept_from, place - 1)
    return text[place] == ZWJ and _is_pictograph(before) and _is_pictograph(after)


def _varies(before: str, selector: int) -> bool:
    """Whether a variation selector follows something that has variants."""
    if not before:
        return False
    if selector >= 0xE0100:
        return unicodedata.name(before, "").startswith("CJK ")
    if selector < 0xFE00:
        return 0x1820 <= ord(before) <= 0x18AA
    has_variants = before in _KEYCAPS or before in "\xa9\xae" or ord(before) >= 0x1000
    return has_variants and unicodedata.category(before)[0] not in "MZC"


def _is_carried(text: str, kept_from: int, place: int) -> bool:
    """Whether a mark stands on a letter of the text, and on few other marks."""
    for base in range(place - 1, max(kept_from, place - MOST_MARKS) - 1, -1):
        if unicodedata.category(text[base])[0] != "M":
            return True
    return False


def _letter_before(text: str, kept_from: int, place: int) -> str:
    return text[place - 1] if place > kept_from else ""


def _is_joining(letter: str, categories: str) -> bool:
    return _is_within(ord(letter), _JOINING) and unicodedata.category(letter)[0] in categories


def _is_pictograph(letter: str) -> bool:
    return letter >= "\u2190" and unicodedata.category(letter) in ("So", "Sm", "Sk")


def _is_within(code: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= code <= last for first, last in ranges)
