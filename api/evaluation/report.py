"""An evaluation as two files: `evaluation.json`, and `evaluation.html`, which needs no other file.

Both are written whole, under a temporary name first.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.errors import FileAlreadyExists, ReportUnwritable
from api.evaluation import plots
from api.evaluation.json import EvaluationAnswer, Measure, WrongImage
from api.sources.locations import is_url
from api.visible import show_value
from index.durable import write_bytes_durably

JSON_FILE, HTML_FILE = "evaluation.json", "evaluation.html"
TEMPLATES = Path(__file__).parent
LEAST_SHARE = 1e-5  # smaller shares are printed as "under"
MOST_FAILURES = 200  # listed on the page; the JSON lists all


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image on the page, with its link and its thumbnail as a data URL, if it has them."""

    image: WrongImage
    link: str | None
    picture: str | None


def require_free(folder: Path, *, replace: bool) -> None:
    """Check the folder, before anything is measured.

    Raises `FileAlreadyExists`, `ReportUnwritable`.
    """
    for name in (JSON_FILE, HTML_FILE):
        if (folder / name).exists() and not replace:
            raise FileAlreadyExists(folder / name)
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ReportUnwritable(folder, f"{there} is not a writable folder")


def write_report(
    answer: EvaluationAnswer, thumbnails: Sequence[bytes], folder: Path, *, shareable: bool = False
) -> None:
    """Write both files. `thumbnails` are WebP, one for each image of `answer.wrong`.

    A `shareable` page has figures and names, but no images, links or paths. Raises
    `ReportUnwritable`.
    """
    page = render_page(answer, thumbnails, folder, shareable=shareable)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes_durably(folder / HTML_FILE, page.encode())
        write_bytes_durably(folder / JSON_FILE, answer.model_dump_json(indent=2).encode())
    except OSError as err:
        raise ReportUnwritable(folder, err.strerror or str(err)) from err


def render_page(
    answer: EvaluationAnswer, thumbnails: Sequence[bytes], folder: Path, *, shareable: bool = False
) -> str:
    """Return the page. Its links are relative to the folder that it will be in."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=show_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "measure": format_measure,
        "value": format_value,
        "share": format_share,
        "data_url": encode_svg_url,
    }
    if shareable:
        shown = [ShownImage(image, None, None) for image in answer.wrong]
    else:
        shown = [
            ShownImage(
                image, build_link(image.location, folder), _encode_data_url("image/webp", picture)
            )
            for image, picture in zip(answer.wrong, thumbnails, strict=True)
        ]
    return environment.get_template(HTML_FILE).render(
        answer=answer,
        shareable=shareable,
        source=PurePath(answer.request.source).name if shareable else answer.request.source,
        plots=_draw_plots(answer),
        wrong={
            label: [each for each in shown if each.image.label == label]
            for label in ("real", "synthetic")
        },
        unmeasured={
            "classifier": [
                (group.name, group.figures.n.synthetic)
                for group in answer.classifier.by_generator
                if group.figures.roc_auc.value is None
            ],
            "retrieval": [
                (row.name, row.n)
                for row in answer.retrieval.by_generator
                if row.precision_at_1.value is None
            ],
        },
        reasons=Counter(failure.reason for failure in answer.failures).most_common(),
        failures=answer.failures[:MOST_FAILURES],
    )


def build_link(location: str | None, folder: Path) -> str | None:
    """Return a link from a page in `folder`: relative for a path, unchanged for a web address, else
    None.
    """
    if location is None:
        return None
    if is_url(location):
        return location if location.lower().startswith(("http://", "https://")) else None
    try:
        relative = os.path.relpath(location, folder.absolute())
    except ValueError:  # another drive
        return Path(location).as_uri()
    return quote(os.fsencode(PurePath(relative).as_posix()))


def format_measure(measure: Measure) -> str:
    """Format a figure with its interval, for the page and the terminal; an em dash without one."""
    if measure.value is None:
        return "—"
    if measure.low is None or measure.high is None:
        return format_value(measure.value)
    low, high = format_value(measure.low), format_value(measure.high)
    return f"{format_value(measure.value)} ({low} to {high})"


def format_value(value: float | None) -> str:
    """Format a figure with three decimals."""
    return "—" if value is None else f"{value:.3f}"


def format_share(value: float | None, digits: int = 3) -> str:
    """Format a share in per cent, with `digits` significant digits but no exponent."""
    if value is None:
        return "—"
    if 0 < value < LEAST_SHARE:
        return f"under {100 * LEAST_SHARE:g} %"
    text = f"{100 * value:.{digits}g}"
    return f"{100 * value:.0f} %" if "e+" in text else f"{text} %"


def format_percent(measure: Measure) -> str:
    """Format a share with its interval in per cent; an em dash without one."""
    if measure.low is None or measure.high is None:
        return format_share(measure.value)
    low, high = format_share(measure.low, 2), format_share(measure.high, 2)
    return f"{format_share(measure.value)} ({low} to {high})"


def encode_svg_url(svg: str) -> str:
    """Return an SVG as a data URL, in which it cannot run scripts or share ids with the page."""
    return _encode_data_url("image/svg+xml", svg.encode())


def _draw_plots(answer: EvaluationAnswer) -> Mapping[str, Any]:
    made, classifier, similarity = answer.made, answer.classifier, answer.similarity
    limits = None
    if made.synthetic_logit is not None and made.no_traces_logit is not None:
        limits = made.no_traces_logit, made.synthetic_logit
    pooled = classifier.pooled.roc_auc.value
    return {
        "histogram": plots.plot_logits(classifier, limits),
        "roc": plots.plot_roc(classifier),
        "by_generator": plots.plot_areas(classifier.by_generator, pooled),
        "by_condition": plots.plot_areas(classifier.by_condition, None),
        "reliability": plots.plot_reliability(classifier.uncalibrated, classifier.calibrated),
        "tippett": [plots.plot_tippett(ratio.tippett) for ratio in similarity.likelihood],
        "false_matches": [plots.plot_false_matches(table) for table in similarity.false_matches],
    }


def _encode_data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
