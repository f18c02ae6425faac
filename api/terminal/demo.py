"""The demonstration: fakes made on the spot, a line-up of known fakes and known reals, probes that
it has never seen.

The photographs are those that scikit-image and scikit-learn ship; the built-in model was not
trained on them. Whole photographs are kept apart: the probes come from `PROBE_PHOTOGRAPHS`, the
corpora from all others.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from api.calibrations.request import CalibrationRequest
from api.ingest.request import IngestRequest
from api.lineup import Lineup
from api.lookups.json import DemoAnswer, DemoRow
from api.lookups.lookup import look_up_image
from api.lookups.request import LookupQuery
from api.settings import Settings
from api.worker.running import work_on
from api.worker.starting import start_calibration, start_ingest
from embedder.demonstration.photographs import Photograph, bundled_photographs
from embedder.demonstration.resynthesis import DECODERS, Resynthesiser
from embedder.pictures.delivery import Condition
from index.truth.calibrations import calibration_heads
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind
from index.truth.jobs import JobCounts

PROBE_PHOTOGRAPHS = frozenset({"chelsea", "china"})
TILE_PIXELS = 192  # a little over the 160 that the built-in model sees
FAKES = "demo-fakes"
REALS = "demo-reals"
JPEG_QUALITY = 75

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Probe:
    """A questioned image of the demonstration and what is true of it."""

    name: str
    truth: str
    path: Path


def run_demo(settings: Settings, directory: Path, say: Say) -> DemoAnswer:
    """Make the images under `directory`, ingest them, look the probes up. Running it again changes
    nothing.

    Raises ModuleNotFoundError without the extra `demo`.
    """
    say(f"making demonstration fakes with {len(DECODERS)} small decoders ...")
    images = directory / "images"
    probes = make_images(images)
    own = settings.model_copy(update={"data_dir": directory / "data", "database_url": None})
    with Lineup.open(own, migrate=True) as lineup:
        for corpus, kind, pattern in (
            (FAKES, CorpusKind.KNOWN_FAKE, "{generator}/{source_image}-*"),
            (REALS, CorpusKind.KNOWN_REAL, "{source_image}-*"),
        ):
            counts = _ingested(lineup, images / corpus, kind, pattern)
            say(
                f"  {corpus}: {counts.found} found, {counts.added} added, {counts.skipped} "
                f"already there"
            )
        say("measuring how often a photograph comes as near as a fake ...")
        _calibrate(lineup)
        rows = [_row(lineup, probe) for probe in probes]
    return DemoAnswer(data_dir=str(own.data_dir), rows=rows)


def make_images(directory: Path) -> list[Probe]:
    """Write the two corpora and the probes as files; the same bytes every time."""
    for photograph in bundled_photographs():
        if photograph.name not in PROBE_PHOTOGRAPHS:
            _write_corpora(photograph, directory)
    return list(_write_probes(directory))


def tiles(image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Square tiles that do not overlap, with their place in the photograph."""
    for top in range(0, image.height - TILE_PIXELS + 1, TILE_PIXELS):
        for left in range(0, image.width - TILE_PIXELS + 1, TILE_PIXELS):
            yield f"{left}-{top}", image.crop((left, top, left + TILE_PIXELS, top + TILE_PIXELS))


def _write_corpora(photograph: Photograph, directory: Path) -> None:
    for place, tile in tiles(photograph.image):
        _write(directory / REALS / f"{photograph.name}-{place}.png", _png(tile))
    for generator in DECODERS:
        for place, tile in tiles(Resynthesiser.load(generator)(photograph.image)):
            _write(directory / FAKES / generator / f"{photograph.name}-{place}.png", _png(tile))


def _write_probes(directory: Path) -> Iterator[Probe]:
    """A photograph, a fake of each generator, an ingested fake as it is, and one re-compressed."""
    held_out = [
        photograph for photograph in bundled_photographs() if photograph.name in PROBE_PHOTOGRAPHS
    ]
    folder = directory / "probes"
    for photograph in held_out:
        yield _probe(
            folder / f"{photograph.name}.png", "photograph", _png(_middle(photograph.image))
        )
    for number, generator in enumerate(DECODERS):
        photograph = held_out[number % len(held_out)]
        fake = _middle(Resynthesiser.load(generator)(photograph.image))
        yield _probe(folder / f"{photograph.name}-{generator}.png", generator, _png(fake))
    known = min((directory / FAKES / DECODERS[0]).iterdir())
    yield _probe(folder / "known-copy.png", "known fake", known.read_bytes())
    with Image.open(known) as image:
        yield _probe(folder / f"known-jpeg{JPEG_QUALITY}.jpg", "known fake", _jpeg(image))


def _row(lineup: Lineup, probe: Probe) -> DemoRow:
    answer = look_up_image(lineup, probe.path.read_bytes(), LookupQuery(k=1))
    assert answer.classifier is not None
    return DemoRow(probe=probe.name, truth=probe.truth, lookup=answer)


def _ingested(lineup: Lineup, folder: Path, kind: CorpusKind, pattern: str | None) -> JobCounts:
    request = IngestRequest(
        sources=[str(folder.absolute())],
        corpus=folder.name,
        kind=kind,
        pattern=pattern,
        origin="photographs of scikit-image and scikit-learn",
        licence="see their wheels",
    )
    return work_on(lineup, start_ingest(lineup.database, lineup.space, request)).counts


def _calibrate(lineup: Lineup) -> None:
    """Once for the same entries.

    Halved, or scaled as for a screen, the tiles would be too small for the model.
    """
    with lineup.database.read() as conn:
        heads = calibration_heads(conn, lineup.space, 1)
        if heads and heads[0].generation == last_number(conn):
            return
    request = CalibrationRequest(
        conditions=[Condition.AS_IS, Condition.JPEG90, Condition.JPEG75, Condition.JPEG50]
    )
    work_on(lineup, start_calibration(lineup.database, lineup.space, request))


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, so that an interrupted demonstration leaves no half image behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_bytes(data)
    partial.replace(path)


def _middle(image: Image.Image) -> Image.Image:
    left, top = (image.width - TILE_PIXELS) // 2, (image.height - TILE_PIXELS) // 2
    return image.crop((left, top, left + TILE_PIXELS, top + TILE_PIXELS))


def _probe(path: Path, truth: str, data: bytes) -> Probe:
    _write(path, data)
    return Probe(path.name, truth, path)


def _png(image: Image.Image) -> bytes:
    return _encoded(image, "PNG")


def _jpeg(image: Image.Image) -> bytes:
    return _encoded(image, "JPEG", quality=JPEG_QUALITY)


def _encoded(image: Image.Image, format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
