"""The errors: one tree as drawn, and messages that name the thing and say what to do."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from index import errors
from index.errors import CorpusError

PATH = Path("/data/lineup.tar")
SHA256 = "ab" * 32
# An example of every error that code raises, with what its message must contain.
EXAMPLES: list[tuple[CorpusError, list[str]]] = [
    (errors.UnknownCorpus("fakes"), ["no corpus", "'fakes'"]),
    (errors.UnknownEntry(7), ["no entry", "7"]),
    (errors.UnknownImage(SHA256), ["no image", SHA256]),
    (errors.UnknownLookup("abc"), ["no look-up", "'abc'"]),
    (errors.UnknownCalibration(7), ["no calibration", "7"]),
    (errors.UnknownBlob(SHA256), ["no thumbnail", SHA256]),
    (errors.UnknownJob(7), ["no job", "7"]),
    (errors.CorpusExists("fakes"), ["'fakes'", "exists already"]),
    (
        errors.CorpusKindConflict("fakes", "known_fake", "known_real"),
        ["'fakes'", "known_fake", "not known_real", "use another name"],
    ),
    (
        errors.CorpusKeepConflict("fakes", "thumbnail", "original"),
        ["'fakes'", "keeps thumbnail", "not original", "`lineup corpora keep`"],
    ),
    (
        errors.InspectionTooLarge("fakes", 5_000_000, 1_000_000),
        ["'fakes'", "5,000,000", "1,000,000", "`lineup inspect`"],
    ),
    (errors.EntryQuarantined(7, "fakes"), ["in quarantine", "'fakes'", "release entry 7"]),
    (errors.NotQuarantined(7), ["entry 7", "not in quarantine"]),
    (errors.JobStateConflict(7, "cancelled", "paused"), ["job 7", "cancelled", "paused"]),
    (errors.LeaseLost(7, 3), ["another worker", "chunk 3", "job 7"]),
    (errors.InvalidCorpusName("Bad name"), ["'Bad name'", "a-z"]),
    (errors.InvalidFilter("a reason"), ["a reason"]),
    (errors.InvalidVector("a reason"), ["a reason"]),
    (errors.InvalidProvenance("a reason"), ["a reason"]),
    (errors.InvalidReason("a reason"), ["a reason"]),
    (errors.InvalidComputation("a reason"), ["a reason"]),
    (errors.InvalidImageFacts("a reason"), ["a reason"]),
    (errors.InvalidDatabaseUrl("a reason"), ["a reason"]),
    (errors.DatabaseBusy("a lock"), ["unavailable", "a lock"]),
    (errors.DatabaseReadOnly("it is a replica"), ["no writes", "replica"]),
    (errors.DatabaseRefused("a wrong password"), ["refuses", "a wrong password"]),
    (errors.ForeignSpace("a" * 64, "b" * 64), ["a" * 16, "b" * 16, "the same model"]),
    (errors.DatabaseUnavailable("it is locked"), ["unavailable", "it is locked"]),
    (errors.StorageFull("a row", "it is full"), ["no room", "a row", "it is full", "free some"]),
    (
        errors.DatabaseDamaged("lineup.db", "a reason"),
        ["lineup.db is damaged", "a reason", "`lineup fsck`", "`lineup restore`"],
    ),
    (errors.NoData("/data does not exist"), ["/data does not exist", "run `lineup init`"]),
    (errors.SchemaOutdated("0003", "0004"), ["0003", "0004", "run `lineup init`"]),
    (errors.SchemaOutdated("9999", "0004", newer=True), ["9999", "upgrade Lineup"]),
    (errors.TruthDamaged("a reason"), ["contradicts", "a reason", "run `lineup fsck`"]),
    (errors.SnapshotCorrupt(PATH, "a reason"), [str(PATH), "a reason"]),
    (errors.IndexDirectoryUnwritable(PATH, "a reason"), [str(PATH), "a reason"]),
    (errors.BlobCorrupt(PATH, "a reason"), [str(PATH), "a reason"]),
    (errors.BackupExists(PATH), [str(PATH), "exists already", "--force"]),
    (errors.BackupUnwritable(PATH, "a reason"), [str(PATH), "cannot be written", "a reason"]),
    (errors.BackupUnreadable(PATH, "a reason"), [str(PATH), "cannot be read", "a reason"]),
    (errors.NotABackup(PATH, "a reason"), [str(PATH), "not a backup", "a reason"]),
    (errors.BackupCorrupt(PATH, "tables", "a reason"), [str(PATH), "'tables'", "a reason"]),
    (errors.BackupTooNew(PATH, "format 9"), [str(PATH), "format 9", "upgrade Lineup"]),
    (errors.RestoreTargetNotEmpty("it has rows"), ["it has rows", "empty database"]),
    (errors.RestoreUnwritable(PATH, "a reason"), [str(PATH), "a reason", "nothing was restored"]),
]
GROUPS = {
    "CorpusError",
    "NotFound",
    "InvalidInput",
    "DatabaseError",
    "SnapshotError",
    "BackupError",
}


def classes() -> dict[str, Any]:
    return {
        name: each
        for name, each in vars(errors).items()
        if inspect.isclass(each) and issubclass(each, Exception)
    }


def tree() -> Any:
    """The tree as the docstring draws it: name to parent, by indentation."""
    parents, path = {}, []
    for indent, name in re.findall(r"^( +)([A-Z]\w+)", errors.__doc__, re.MULTILINE):
        depth = (len(indent) - 4) // 2
        path = [*path[:depth], name]
        parents[name] = path[-2] if depth else "Exception"
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert tree() == {name: each.__base__.__name__ for name, each in classes().items()}


def test_every_error_that_is_raised_is_explained_in_the_tree() -> None:
    described = re.findall(r"^ +([A-Z]\w+) +\S", errors.__doc__, re.MULTILINE)
    assert set(described) == classes().keys() - GROUPS


def test_every_error_that_is_raised_has_an_example() -> None:
    assert {type(err).__name__ for err, _ in EXAMPLES} == classes().keys() - GROUPS


@pytest.mark.parametrize(("err", "parts"), EXAMPLES, ids=lambda each: type(each).__name__)
def test_a_message_names_the_thing_and_what_to_do(err: CorpusError, parts: list[str]) -> None:
    for part in parts:
        assert part in str(err)


@pytest.mark.parametrize("err", [err for err, _ in EXAMPLES], ids=lambda each: type(each).__name__)
def test_a_message_is_one_plain_line(err: CorpusError) -> None:
    message = str(err)
    assert "\n" not in message
    assert len(message) <= 180
    assert not message.endswith((".", " ", ":"))
    assert "  " not in message
    assert not re.search(r"\b(told|nobody|somebody|whoever|None)\b", message)


@pytest.mark.parametrize("name", ["a\nb", "\r", "\x00", "\u2028"])
def test_a_name_with_strange_characters_stays_on_one_line(name: str) -> None:
    for err in (errors.UnknownCorpus(name), errors.CorpusExists(name), errors.UnknownLookup(name)):
        assert len(str(err).splitlines()) == 1


@pytest.mark.parametrize("err", [err for err, _ in EXAMPLES], ids=lambda each: type(each).__name__)
def test_an_error_carries_its_facts(err: CorpusError) -> None:
    """What a program needs is an attribute, so that no program parses a message."""
    names = list(inspect.signature(type(err).__init__).parameters)[1:]
    assert names
    assert all(hasattr(err, name) for name in names)


@pytest.mark.parametrize(
    ("err", "group"),
    [
        (errors.UnknownJob(1), errors.NotFound),
        (errors.InvalidCorpusName("A"), errors.InvalidInput),
        (errors.NoData("here"), errors.DatabaseError),
        (errors.BackupTooNew(PATH, "format 9"), errors.BackupError),
        (errors.IndexDirectoryUnwritable(PATH, "full"), errors.SnapshotError),
    ],
)
def test_an_error_can_be_caught_by_its_group(err: CorpusError, group: type[Exception]) -> None:
    with pytest.raises(group):
        raise err
