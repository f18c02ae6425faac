"""An inspection and a quarantine as tables for a person.

The JSON of the same answers is in `api.inspection.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.text import Text

from api.inspection.json import HubsAnswer, InspectedEntry, InspectionAnswer, QuarantinePage
from api.terminal.tables import out, table_of

HUB_COLUMNS = ("count>", "entry>", "generator", "path or source")
SHOWN_MEMBERS = 4  # of a cluster, on its line; the JSON has more


def print_quarantine(page: QuarantinePage) -> None:
    """One row an entry in quarantine."""
    table = table_of("entry>", "since", "generator", "sha256", "path or source", "reason")
    for each in page.entries:
        entry, since = each.entry, f"{each.quarantined_at:%Y-%m-%d %H:%M}"
        where = str(entry.provenance.get("path") or entry.source or "")
        table.add_row(
            str(entry.id), since, entry.generator or "", entry.sha256[:12], where, each.reason
        )
    out.print(table)
    if page.next_cursor:
        out.print(f"more: --cursor {page.next_cursor}")


def print_inspection(answer: InspectionAnswer) -> None:
    """What was compared, then each kind of finding: how many there are, and a row for each that is
    listed.
    """
    left = answer.entry_count - answer.compared
    out.print(
        f"{answer.corpus}: {answer.compared:,} of {answer.entry_count:,} entries, "
        f"{answer.hashed:,} by hash too, "
        f"beside {answer.known_real:,} known reals and {answer.known_fake:,} known fakes of "
        f"other corpora",
        soft_wrap=True,
    )
    if left:
        out.print(f"  {left:,} are not embedded by the active model: not looked at", soft_wrap=True)
    _print_contradictions(answer)
    _print_suspects(answer)
    _print_hubs(answer)
    _print_clusters(answer)
    out.print(
        "A reason to look, not a finding. `lineup quarantine ENTRY --reason ...` takes one out of "
        "all answers."
    )


def _print_contradictions(answer: InspectionAnswer) -> None:
    found = answer.contradictions
    kind = "known_real" if answer.kind == "known_fake" else "known_fake"
    rows = (
        (
            each.relation,
            *_words(each.entry),
            str(each.other.id),
            each.other.corpus,
            each.other.location,
        )
        for each in found.items
    )
    columns = (
        "relation",
        "entry>",
        "generator",
        "path or source",
        "entry there>",
        "corpus",
        "path or source there",
    )
    _section(
        f"contradictions: their picture is also {kind}",
        found.total,
        len(found.items),
        columns,
        rows,
    )


def _print_suspects(answer: InspectionAnswer) -> None:
    found = answer.looks_real
    if found is None:
        if answer.kind == "known_fake":
            out.print(
                "look real: not judged, no limit of authentic was measured for this model's logit"
            )
        return
    rows = (
        (
            f"{each.logit:+.2f}",
            f"{each.nearest_real.cosine_similarity:.3f}",
            f"{each.nearest_fake.cosine_similarity:.3f}",
            *_words(each.entry),
        )
        for each in found.items
    )
    columns = (
        "logit>",
        "to nearest real>",
        "to nearest fake>",
        "entry>",
        "generator",
        "path or source",
    )
    title = (
        f"look real from both sides: logit up to {found.authentic_logit:+.2f}, and nearer to "
        f"a known real"
    )
    _section(title, found.total, len(found.items), columns, rows)


def _print_hubs(answer: InspectionAnswer) -> None:
    for found, of in (
        (answer.hubs_for_photographs, "known reals"),
        (answer.hubs_within, "others of the corpus"),
    ):
        if found is not None:
            title = f"hubs: nearest of at least {found.limit_count:,} of {found.pictures:,} {of}"
            title += f" ({found.expected:.2f} expected, skewness {found.skewness:.1f})"
            _section(title, found.total, len(found.items), HUB_COLUMNS, _hubs(found))


def _print_clusters(answer: InspectionAnswer) -> None:
    found = answer.clusters
    rows = []
    for each in found.items:
        shown = each.entries[:SHOWN_MEMBERS]
        more = f" and {each.size - len(shown):,} more" if each.size > len(shown) else ""
        rows.append(
            (
                f"{each.size:,}",
                ", ".join(f"{one.id} {one.location}".strip() for one in shown) + more,
            )
        )
    title = f"near-duplicate clusters, {found.entry_count:,} entries in them"
    _section(title, found.total, len(found.items), ("size>", "entries"), rows)


def _hubs(found: HubsAnswer) -> Iterator[tuple[str, ...]]:
    return ((f"{each.count:,}", *_words(each.entry)) for each in found.items)


def _words(entry: InspectedEntry) -> tuple[str, str, str]:
    return str(entry.id), entry.generator or "", entry.location


def _section(
    title: str,
    total: int,
    shown: int,
    columns: tuple[str, ...],
    rows: Iterable[tuple[str, ...]],
) -> None:
    """A title with how many there are, a row for each that is shown, and how to see the rest."""
    out.print(Text(f"{total:,} {title}", style="bold"), soft_wrap=True)
    if not shown:
        return
    table = table_of(*columns)
    for row in rows:
        table.add_row(*row)
    out.print(table)
    if total > shown:
        out.print(f"  {shown:,} of {total:,} are listed; --limit {total} lists all", style="dim")
