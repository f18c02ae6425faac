"""Options and arguments that several commands share, and requests checked by the API's models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from api.errors import InvalidRequest

if TYPE_CHECKING:
    from index.truth.corpora import CorpusKind

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
JsonLines = Annotated[
    bool, typer.Option("--json", help="Print progress and result as JSON, one document a line.")
]
KindOption = Annotated[
    str, typer.Option(help="Kind of the corpus: known_fake or known_real.", metavar="KIND")
]
EntryArgument = Annotated[
    int, typer.Argument(min=1, metavar="ENTRY", help="Id of the entry.", show_default=False)
]
Cursor = Annotated[
    str | None, typer.Option(help="Continue a list: the cursor printed below its last page.")
]
Request = TypeVar("Request", bound=BaseModel)
SHOWN_INPUT = 200  # characters of a wrong value that an error repeats


def _check_corpus(name: str) -> str:
    """Return the name of a corpus. Raises `InvalidCorpusName`, as every other way to name one."""
    from index.truth.corpora import check_name

    return check_name(name)


CorpusArgument = Annotated[
    str,
    typer.Argument(
        metavar="CORPUS", help="Name of the corpus.", show_default=False, callback=_check_corpus
    ),
]


def corpus_kind(text: str) -> CorpusKind:
    """Return the kind of a corpus. Raises `typer.BadParameter`."""
    from index.truth.corpora import CorpusKind

    try:
        return CorpusKind(text)
    except ValueError as err:
        raise typer.BadParameter(
            f"{text!r} is neither known_fake nor known_real", param_hint="--kind"
        ) from err


def check_request(model: type[Request], **fields: Any) -> Request:  # noqa: ANN401 -- the fields of any model
    """Make a request of the API. Raises `InvalidRequest`, which names each wrong field."""
    try:
        return model(**fields)
    except ValidationError as err:
        details = [
            f"{'.'.join(map(str, each['loc']))} {shorten(repr(each['input']))}: {each['msg']}"
            for each in err.errors()
        ]
        raise InvalidRequest("; ".join(details)) from err


def shorten(text: str) -> str:
    """Return the beginning of a text that an error repeats."""
    return text if len(text) <= SHOWN_INPUT else f"{text[:SHOWN_INPUT]}…"
