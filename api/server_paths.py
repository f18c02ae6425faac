"""What a client may read of the paths of the machine that serves: names, never folders.

A path says who the operator is, where cases lie and how they are called. An answer names a file
relative to its source, and a source relative to the root that it lies in, or by its last part. What
a client sends itself may come back. Jobs and entries of earlier releases are stored with absolute
paths: they are named when they are answered, so that old rows say no more than new ones.

The command line works on its own machine: its messages keep their paths.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from api.errors import SourceNotAllowed
from api.sources.item import make_printable
from api.sources.locations import encode_path, folder_of, is_url

UPLOAD = "upload:"  # before the name of an uploaded source
# What `api.ingest.spool` keeps: an upload in a folder of its own, and lists of paths.
STANDARD_INPUT = "standard input"  # the name of such a list, also in an entry's provenance
UPLOAD_FOLDER = re.compile(r"[0-9a-f]{32}")
LIST_SUFFIX = ".paths"
_KEPT_LIST = re.compile(rf"[0-9a-f]{{64}}{re.escape(LIST_SUFFIX)}")
# An absolute path in a sentence: at least one folder, up to what ends a word. The paths of routes
# are no paths of this machine.
_PATH = re.compile(
    r"""(?<![\w.:/~\\-])(?:file:/+)?/(?!v1/|static/)(?:[^/\n:'"`,;()<>]+/)+[^\s/:'"`,;()<>]*"""
)


@dataclass(frozen=True, slots=True)
class PathHider:
    """Shortens the paths below known folders in any text: they become relative to the folder."""

    folders: tuple[str, ...]

    @classmethod
    def below(cls, folders: Iterable[str | os.PathLike[str] | None]) -> PathHider:
        """Return a hider of these folders; what is empty or no absolute path is left out."""
        known = {
            str(folder).rstrip("/\\") for folder in folders if folder and is_local(str(folder))
        }
        known |= {os.path.realpath(folder) for folder in known if Path(folder).is_absolute()}
        known -= {"", os.sep}
        return cls(tuple(sorted(known, key=lambda folder: (-len(folder), folder))))

    def hide(self, text: str) -> str:
        """Return the text without these folders, and without other absolute paths."""
        return hide_paths(self.hide_folders(text))

    def hide_folders(self, text: str) -> str:
        """Return the text without these folders."""
        for folder in self.folders:
            for spelled in _spellings(folder):
                if spelled in text:
                    pattern = (
                        rf"(?<![\w.)\]-])(?:file:/*(?=/))?{re.escape(spelled)}(?:[/\\]+|(?![\w.-]))"
                    )
                    text = re.sub(pattern, partial(_rest, folder), text)
        return text


def is_local(location: str) -> bool:
    """Return whether a location is an absolute path of a machine, also as a `file:` URL."""
    if is_url(location):
        return location.lower().startswith("file:")
    return location.startswith("/") or PureWindowsPath(location).is_absolute()


def hide_paths(text: str) -> str:
    """Return a text in which each absolute path is only its last part."""
    return _PATH.sub(lambda found: name_path(found[0]), text)


def name_path(location: str) -> str:
    """Return the last part of a local path; what is no absolute path stays as it is."""
    if not is_local(location):
        return location
    path = location.partition("://")[2] if is_url(location) else location
    flavour = PurePath if path.startswith("/") else PureWindowsPath
    return flavour(path).name or path


def name_source(location: str, roots: Iterable[str] = ()) -> str:
    """Return the name of a job's source for a client.

    An upload is `upload:NAME`. Another local source is relative to the root that it lies in, or its
    last part. A URL stays, without user, password and query, which can hold keys.
    """
    if not is_local(location):
        return _name_url(location) if is_url(location) else location
    name = name_path(location)
    if _KEPT_LIST.fullmatch(name):
        return STANDARD_INPUT
    roots = list(roots)
    folder = folder_of(location)
    if folder in roots and UPLOAD_FOLDER.fullmatch(name_path(folder)):
        return f"{UPLOAD}{make_printable(name)}"
    for root in roots:
        if is_local(root) and location.startswith(root.rstrip("/") + "/"):
            return make_printable(location[len(root.rstrip("/")) + 1 :])
    return make_printable(name)


def name_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request of a job as a client may read it: sources by name, no roots, no folder.

    The model of a re-embedding can be a folder, and the descriptor of a back-fill a file.
    """
    named = {key: value for key, value in request.items() if key not in ("roots", "folder")}
    if isinstance(sources := request.get("sources"), list):
        roots = [str(root) for root in request.get("roots") or ()]
        named["sources"] = [name_source(str(source), roots) for source in sources]
    for key in ("model", "descriptor"):
        if isinstance(name := request.get(key), str):
            named[key] = name_path(name)
    return named


def hider_of(request: Mapping[str, Any]) -> PathHider:
    """Return what hides the folders of a job's request in its messages."""
    sources = [str(source) for source in request.get("sources") or ()]
    folders = [*map(folder_of, filter(is_local, sources)), *sources]
    return PathHider.below([*folders, *(request.get("roots") or ()), request.get("folder")])


def name_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance of an entry as a client may read it.

    Its `location` is left out if it is a path of this machine, and a `path` that is absolute, from
    a list of paths, becomes its last part.
    """
    named = dict(provenance)
    if isinstance(location := named.get("location"), str) and is_local(location):
        del named["location"]
    if isinstance(path := named.get("path"), str):
        named["path"] = name_path(path)
    return named


def describe_for_client(err: BaseException) -> str:
    """Return the message of an error for a client: the paths among its facts become names.

    What a client sent itself is repeated as it was sent.
    """
    text = str(err)
    if isinstance(err, SourceNotAllowed) and err.is_as_sent:
        return text
    for fact in vars(err).values():
        if isinstance(fact, (str, os.PathLike)) and is_local(str(fact)):
            for spelled in _spellings(str(fact)):
                text = text.replace(spelled, name_path(str(fact)))
    return hide_paths(text)


def _spellings(path: str) -> list[str]:
    """The ways in which messages write a path: as it is, printable, encoded, in a URL."""
    spelled = [path, make_printable(path), encode_path(path), repr(path)[1:-1]]
    spelled.append(quote(os.fsencode(path)))
    return list(dict.fromkeys(spelled))


def _rest(folder: str, found: re.Match[str]) -> str:
    """What stays of a folder in a text: nothing before a name within, else its own name."""
    return "" if found[0].endswith(("/", "\\")) else make_printable(name_path(folder))


def _name_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition("://")[0] + "://"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
