"""The demonstration: fakes made on the spot, reference corpora of known fakes and known reals, and
probes that Lineup has not seen.

The photographs are those that scikit-image and scikit-learn ship; the built-in model was not
trained on them. Whole photographs are held out: the probes come from `PROBE_PHOTOGRAPHS`, the
corpora from all others.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from api.calibrations.request import CalibrationRequest
from api.copies.choosing import AUTO, NONE
from api.fields import Answer
from api.ingest.request import IngestRequest
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.lookup import look_up_image
from api.lookups.request import LookupQuery
from api.settings import Settings
from api.worker.running import work_on
from api.worker.starting import start_calibration, start_ingest
from embedder.demonstration.photographs import (
    Photograph,
    load_bundled_photographs,
    load_grey_photographs,
)
from embedder.demonstration.resynthesis import DECODERS, Resynthesiser
from embedder.pictures.delivery import Condition
from index.calibration.others import SamePictures, find_nearest
from index.calibration.reading import SourceNumbers, get_named_corpora, read_population
from index.durable import write_bytes_durably
from index.truth.calibrations import list_calibration_heads
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind
from index.truth.jobs.job import JobCounts

PROBE_PHOTOGRAPHS = frozenset({"chelsea", "china"})
TILE_PIXELS = 192  # a little over the 160 that the built-in model sees
FAKES = "demo-fakes"
REALS = "demo-reals"
JPEG_QUALITY = 75
PHOTOGRAPH = "photograph"
COPY, RECOMPRESSED, MIRRORED = "copy", "JPEG copy", "mirrored copy"

Say = Callable[[str], None]


class DemoRow(Answer):
    """A probe of the demonstration, its true origin, and Lineup's answer."""

    probe: str = Field(description="File name of the probe.")
    truth: str = Field(
        description="What the probe really is: photograph, the generator that made it, or a copy "
        "of a known fake."
    )
    nearer_than: int = Field(
        ge=0,
        description="Known photographs whose nearest known fake, among other pictures, is less "
        "similar than the probe's.",
    )
    lookup: LookupAnswer = Field(description="The answer of `lineup search`.")

    @property
    def is_new_fake(self) -> bool:
        """Whether a generator of the corpora made it, and no corpus has it."""
        return self.truth in set(DECODERS)


class DemoAnswer(Answer):
    """The table of the demonstration."""

    data_dir: str = Field(description="Its data folder.")
    images_dir: str = Field(description="Folder of its images.")
    photographs: int = Field(ge=0, description="Known photographs that probes are compared with.")
    rows: list[DemoRow] = Field(description="One for each probe.")


@dataclass(frozen=True, slots=True)
class Probe:
    """A questioned image of the demonstration and its true origin."""

    name: str
    truth: str
    path: Path


def run_demo(settings: Settings, directory: Path, say: Say) -> DemoAnswer:
    """Make the images under `directory`, ingest them, look the probes up.

    Running it again changes nothing. Raises ModuleNotFoundError without the extra `demo`.
    """
    say(f"making fakes of photographs with {len(DECODERS)} small generators ...")
    images = directory / "images"
    probes = make_images(images)
    # A copy descriptor would take most of the time, and finds nothing here that hashes do not.
    descriptor = NONE if settings.copy_descriptor == AUTO else settings.copy_descriptor
    own = settings.model_copy(
        update={
            "data_dir": directory / "data",
            "database_url": None,
            "copy_descriptor": descriptor,
        }
    )
    with Lineup.open(own, migrate=True) as lineup:
        for corpus, kind, pattern in (
            (FAKES, CorpusKind.KNOWN_FAKE, "{generator}/{source_image}-*"),
            (REALS, CorpusKind.KNOWN_REAL, "{source_image}-*"),
        ):
            counts = _ingest(lineup, images / corpus, kind, pattern)
            say(
                f"  {corpus}: {counts.found} images, {counts.added} added, {counts.skipped} "
                f"there already"
            )
        say("measuring how often a photograph is as similar to a known fake as a new fake is ...")
        _calibrate(lineup)
        photographs = measure_photographs(lineup)
        rows = [look_up_probe(lineup, probe, photographs) for probe in probes]
    return DemoAnswer(
        data_dir=str(own.data_dir),
        images_dir=str(images),
        photographs=len(photographs),
        rows=rows,
    )


def measure_photographs(lineup: Lineup) -> NDArray[np.float64]:
    """Measure how similar each known photograph's nearest known fake is, (n,).

    As in a calibration, a photograph is not compared with fakes that were made of it.
    """
    sources = SourceNumbers()
    with lineup.database.read() as conn:
        fakes, reals = (
            read_population(conn, lineup.space, get_named_corpora(conn, None, kind), sources)
            for kind in (CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL)
        )
    return find_nearest(reals, fakes, SamePictures(fakes)).maxima


def make_images(directory: Path) -> list[Probe]:
    """Write the two corpora and the probes as files; they are the same bytes every time."""
    for photograph in (*load_bundled_photographs(), *load_grey_photographs()):
        if photograph.name not in PROBE_PHOTOGRAPHS:
            _write_corpora(photograph, directory)
    return list(_write_probes(directory))


def cut_tiles(image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Cut square tiles that do not overlap, each with its place in the photograph."""
    for top in range(0, image.height - TILE_PIXELS + 1, TILE_PIXELS):
        for left in range(0, image.width - TILE_PIXELS + 1, TILE_PIXELS):
            yield f"{left}-{top}", image.crop((left, top, left + TILE_PIXELS, top + TILE_PIXELS))


def _write_corpora(photograph: Photograph, directory: Path) -> None:
    for place, tile in cut_tiles(photograph.image):
        write_once(directory / REALS / f"{photograph.name}-{place}.png", _encode_png(tile))
    for generator in DECODERS:
        for place, tile in cut_tiles(Resynthesiser.load(generator)(photograph.image)):
            path = directory / FAKES / generator / f"{photograph.name}-{place}.png"
            write_once(path, _encode_png(tile))


def _write_probes(directory: Path) -> Iterator[Probe]:
    """Two photographs, a fake of each generator, a known fake, the same one re-compressed, and the
    same one mirrored.

    The file names do not tell which generator made a fake.
    """
    held_out = [
        photograph
        for photograph in load_bundled_photographs()
        if photograph.name in PROBE_PHOTOGRAPHS
    ]
    folder = directory / "probes"
    for photograph in held_out:
        data = _encode_png(_cut_middle(photograph.image))
        yield _write_probe(folder / f"{photograph.name}.png", PHOTOGRAPH, data)
    for number, generator in enumerate(DECODERS):
        photograph = held_out[number % len(held_out)]
        fake = _cut_middle(Resynthesiser.load(generator)(photograph.image))
        path = folder / f"{photograph.name}-fake-{number + 1}.png"
        yield _write_probe(path, generator, _encode_png(fake))
    known = min((directory / FAKES / DECODERS[0]).iterdir())
    yield _write_probe(folder / "known-copy.png", COPY, known.read_bytes())
    with Image.open(known) as image:
        path = folder / f"known-jpeg{JPEG_QUALITY}.jpg"
        yield _write_probe(path, RECOMPRESSED, _encode_jpeg(image))
        mirrored = _encode_jpeg(ImageOps.mirror(image))
        yield _write_probe(folder / "known-mirrored.jpg", MIRRORED, mirrored)


def look_up_probe(lineup: Lineup, probe: Probe, photographs: NDArray[np.float64]) -> DemoRow:
    """Look a probe up, and count the photographs that it is nearer than."""
    answer = look_up_image(lineup, probe.path.read_bytes(), LookupQuery(k=1))
    similarity = answer.similarity.nearest_similarity
    nearer_than = 0 if similarity is None else int(np.count_nonzero(photographs < similarity))
    return DemoRow(probe=probe.name, truth=probe.truth, nearer_than=nearer_than, lookup=answer)


def _ingest(lineup: Lineup, folder: Path, kind: CorpusKind, pattern: str) -> JobCounts:
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
    """Calibrate once for the same entries.

    Halved, or scaled as for a screen, the tiles would be too small for the model.
    """
    with lineup.database.read() as conn:
        heads = list_calibration_heads(conn, lineup.space, 1)
        if heads and heads[0].generation == last_number(conn):
            return
    request = CalibrationRequest(
        conditions=[Condition.AS_IS, Condition.JPEG90, Condition.JPEG75, Condition.JPEG50]
    )
    work_on(lineup, start_calibration(lineup.database, lineup.space, request))


def write_once(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a file that has these bytes already is left alone."""
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_durably(path, data)


def _cut_middle(image: Image.Image) -> Image.Image:
    left, top = (image.width - TILE_PIXELS) // 2, (image.height - TILE_PIXELS) // 2
    return image.crop((left, top, left + TILE_PIXELS, top + TILE_PIXELS))


def _write_probe(path: Path, truth: str, data: bytes) -> Probe:
    write_once(path, data)
    return Probe(path.name, truth, path)


def _encode_png(image: Image.Image) -> bytes:
    return _encode(image, "PNG")


def _encode_jpeg(image: Image.Image) -> bytes:
    return _encode(image, "JPEG", quality=JPEG_QUALITY)


def _encode(image: Image.Image, format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
