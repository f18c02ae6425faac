"""Parameters that several routes have."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from api.fields import CORPUS_NAME
from index.truth.schema import LARGEST_ID

Cursor = Annotated[
    str | None,
    Query(description="`next_cursor` of the previous page. Leave it out for the first page."),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Largest number of items on a page.")]
CorpusName = Annotated[str, Path(description="Name of a corpus.", pattern=CORPUS_NAME)]
EntryId = Annotated[int, Path(description="Id of an entry.", ge=1, le=LARGEST_ID)]
JobId = Annotated[int, Path(description="Id of a job.", ge=1, le=LARGEST_ID)]
