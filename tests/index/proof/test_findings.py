"""The kinds of findings: which are faults, and names that never change."""

import pytest

from index.proof.findings import Finding, FindingKind

UNTIDY = {
    "thumbnail_missing",
    "thumbnail_orphan",
    "original_missing",
    "original_orphan",
    "leftover_file",
    "upload_orphan",
    "features_missing",
    "features_orphan",
    "copy_vector_missing",
}


@pytest.mark.parametrize("kind", FindingKind)
def test_only_missing_and_superfluous_files_are_not_faults(kind: FindingKind) -> None:
    assert kind.is_fault is (kind.value not in UNTIDY)


@pytest.mark.parametrize("kind", FindingKind)
def test_a_kind_is_stored_under_its_own_name(kind: FindingKind) -> None:
    """Scripts read these words: they are the names in lower case, and stay."""
    assert kind.value == kind.name.lower()
    assert FindingKind(kind.value) is kind


def test_a_finding_is_not_repaired_unless_it_says_so() -> None:
    found = Finding(FindingKind.LEFTOVER_FILE, "a file", "an interrupted write left it")
    assert not found.repaired
    assert found == Finding(FindingKind.LEFTOVER_FILE, "a file", "an interrupted write left it")
