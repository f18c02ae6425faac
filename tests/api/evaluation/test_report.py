"""The two files: what stands in the way is said before anything is measured, links lead to the
images.
"""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from api.errors import FileAlreadyExists, ReportUnwritable
from api.evaluation import plots
from api.evaluation.json import (
    EvaluationAnswer,
    FalseMatchRow,
    FalseMatchTable,
    Measure,
    TippettCurves,
)
from api.evaluation.report import (
    build_link,
    encode_svg_url,
    format_measure,
    format_share,
    format_value,
    render_page,
    require_free,
    write_report,
)
from tests.api.evaluation.evaluated import answer_of, embed_without_a_model

OUT = Path("/somewhere/out")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ReportUnwritable, match="is not a writable folder"):
        require_free(tmp_path / "out" / "deeper", replace=True)


@pytest.mark.parametrize("name", ["evaluation.json", "evaluation.html"])
def test_either_file_is_kept_unless_it_may_be_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(FileAlreadyExists):
        require_free(tmp_path, replace=False)
    require_free(tmp_path, replace=True)


def test_a_free_folder_is_not_made_yet(tmp_path: Path) -> None:
    require_free(tmp_path / "a" / "b", replace=False)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("location", "link"),
    [
        (None, None),
        ("s3://bucket/a.png", None),
        ("javascript:alert(1)", "../../javascript%3Aalert%281%29"),
        ("https://example.org/a.png?x=1", "https://example.org/a.png?x=1"),
        ("/somewhere/images/a b#1.png", "../images/a%20b%231.png"),
        ("/somewhere/images/50%.png", "../images/50%25.png"),
    ],
)
def test_a_link_leads_where_a_browser_can_go(
    location: str | None, link: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert build_link(location, OUT) == link


def test_figures_are_printed_with_their_interval_or_not_at_all() -> None:
    assert format_measure(Measure.missing("few")) == "—"
    assert format_measure(Measure(value=0.5)) == "0.500"
    assert format_measure(Measure(value=0.5, low=0.25, high=0.75)) == "0.500 (0.250 to 0.750)"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "—"),
        (0.0, "0 %"),
        (1e-9, "under 0.001 %"),
        (0.005, "0.5 %"),
        (0.12345, "12.3 %"),
        (1.0, "100 %"),
    ],
)
def test_a_share_is_printed_with_the_digits_that_it_needs(share: float | None, text: str) -> None:
    assert format_share(share) == text


def test_a_share_of_two_digits_has_no_exponent() -> None:
    assert [format_share(share, 2) for share in (0.996, 1.0, 0.12)] == ["100 %", "100 %", "12 %"]


def test_there_is_no_plot_of_nothing() -> None:
    assert plots.plot_tippett(None) is plots.plot_areas([], None) is None


def test_the_same_curves_are_the_same_picture() -> None:
    at = np.linspace(-1, 1, 5)
    curves = TippettCurves(
        log10=at.tolist(), same=(at < 0.5).tolist(), different=(at < -0.5).tolist()
    )
    first = plots.plot_tippett(curves)
    assert first is not None
    assert first.startswith("<?xml")
    assert first == plots.plot_tippett(curves)


def test_a_rate_that_was_not_found_at_all_has_its_place_in_the_plot() -> None:
    row = FalseMatchRow(
        asked=0.01,
        times=1,
        corpus_size=10,
        cosine_similarity=0.9,
        predicted=Measure(value=0.01, low=0.0, high=0.03),
        realised=Measure(value=0.0, low=0.0, high=0.01),
        matches=0,
        inside=True,
    )
    table = FalseMatchTable(
        split="images",
        calibrated_on=9,
        tested_on=9,
        calibrated_sources=9,
        tested_sources=9,
        rows=[row],
    )
    drawn = plots.plot_false_matches(table)
    assert drawn is not None
    assert "nan" not in drawn


@pytest.fixture(scope="module")
def answer() -> EvaluationAnswer:
    return answer_of(embed_without_a_model({"sdxl": 14, "flux": 12, "rare": 3}, 16, deliver=True))


def test_both_files_are_written_and_the_json_is_the_answer(
    answer: EvaluationAnswer, tmp_path: Path
) -> None:
    write_report(answer, [b"webp", b"webp"], tmp_path / "new" / "out")
    written = (tmp_path / "new" / "out" / "evaluation.json").read_text()
    assert EvaluationAnswer.model_validate_json(written) == answer
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {
        "evaluation.json",
        "evaluation.html",
    }


def test_a_folder_that_became_a_file_is_a_typed_error(
    answer: EvaluationAnswer, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(ReportUnwritable, match="out"):
        write_report(answer, [b"", b""], tmp_path / "out")


def test_the_page_holds_everything_and_runs_nothing(answer: EvaluationAnswer) -> None:
    page = render_page(answer, [b"webp", b"webp"], OUT)
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "&lt;b&gt;real&lt;/b&gt;.png" in page
    assert "<b>real</b>" not in page
    assert base64.b64encode(b"webp").decode() in page


def test_the_page_shows_each_figure_as_the_terminal_prints_it(answer: EvaluationAnswer) -> None:
    page = render_page(answer, [b"", b""], OUT)
    pooled = answer.classifier.pooled
    for measure in (pooled.roc_auc, pooled.balanced_accuracy):
        assert format_value(measure.value) in page
        assert format_value(measure.low) in page
    assert pooled.tpr_at_fpr.value is None
    assert pooled.tpr_at_fpr.reason is not None
    assert pooled.tpr_at_fpr.reason in page
    assert "Too few images for figures: rare (3)" in page
    assert "2026-01-02" in page
    assert "x.png" in page
    assert "ends early in /images" in page


def test_the_page_says_what_the_figures_do_not_mean(answer: EvaluationAnswer) -> None:
    page = " ".join(render_page(answer, [b"", b""], OUT).split())
    assert "No figure is a probability that a particular image is fake." in page
    assert "No image declares its source" in page
    declared = answer.measured.model_copy(update={"sources_told": True})
    page = render_page(answer.model_copy(update={"measured": declared}), [b"", b""], OUT)
    assert "No image declares its source" not in page


def test_a_page_to_pass_on_has_no_picture_no_link_and_no_path(answer: EvaluationAnswer) -> None:
    page = render_page(answer, [b"webp", b"webp"], OUT, shareable=True)
    assert "data:image/webp" not in page
    assert "/images" not in page
    assert "ends early" not in page
    assert "lineup evaluate" not in page
    assert "<a " not in page
    assert "&lt;b&gt;real&lt;/b&gt;.png" in page


def test_a_picture_for_each_wrong_image_is_required(answer: EvaluationAnswer) -> None:
    with pytest.raises(ValueError, match="shorter"):
        render_page(answer, [b"webp"], OUT)


def test_a_model_without_limits_says_so() -> None:
    answer = answer_of(embed_without_a_model({"sdxl": 2, "flux": 2}, 3), None)
    page = render_page(answer, [b"", b""], OUT)
    assert "No limits of the verdicts were measured for this model." in page
    assert page.count("Not measured") >= 5


@pytest.mark.parametrize(
    ("count", "shown", "hidden"), [(200, "199.png", "200.png"), (201, "199.png", "200.png")]
)
def test_a_page_lists_two_hundred_failures_and_the_json_all(
    answer: EvaluationAnswer, tmp_path: Path, count: int, shown: str, hidden: str
) -> None:
    (failure,) = answer.failures
    failures = [failure.model_copy(update={"name": f"item {n}.png"}) for n in range(count)]
    many = answer.model_copy(update={"failures": failures})
    write_report(many, [b"", b""], tmp_path)
    page = (tmp_path / "evaluation.html").read_text()
    assert f"item {shown}" in page
    assert f"item {hidden}" not in page
    written = (tmp_path / "evaluation.json").read_text()
    assert EvaluationAnswer.model_validate_json(written).failures == failures


def test_a_shareable_report_needs_no_thumbnails(answer: EvaluationAnswer, tmp_path: Path) -> None:
    write_report(answer, [], tmp_path, shareable=True)
    page = (tmp_path / "evaluation.html").read_text()
    assert "/images" not in page
    assert "data:image/svg+xml;base64," in page


def test_a_report_replaces_the_one_before_and_leaves_no_other_file(
    answer: EvaluationAnswer, tmp_path: Path
) -> None:
    for name in ("evaluation.json", "evaluation.html"):
        (tmp_path / name).write_text("old")
    write_report(answer, [b"", b""], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "evaluation.html",
        "evaluation.json",
    ]
    assert "old" not in {path.read_text() for path in tmp_path.iterdir()}


def test_a_svg_in_a_page_is_data_and_not_markup() -> None:
    url = encode_svg_url("<svg>ü</svg>")
    assert (
        base64.b64decode(url.removeprefix("data:image/svg+xml;base64,")) == "<svg>ü</svg>".encode()
    )
    assert "<" not in url


@pytest.mark.parametrize(
    ("value", "text"), [(None, "—"), (0.0, "0.000"), (1.0, "1.000"), (0.12345, "0.123")]
)
def test_a_figure_has_three_decimals(value: float | None, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(("low", "high"), [(0.25, None), (None, 0.75)])
def test_half_an_interval_is_not_printed(low: float | None, high: float | None) -> None:
    assert format_measure(Measure(value=0.5, low=low, high=high)) == "0.500"


@pytest.mark.parametrize("share", [1e-5, 0.9999e-5])
def test_only_a_share_below_the_smallest_is_under_it(share: float) -> None:
    assert format_share(share).startswith("under") is (share < 1e-5)
