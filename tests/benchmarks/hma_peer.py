"""The way of Meta's hasher-matcher-actioner (HMA) for one look-up, made of its own building blocks.

HMA is no package. So this is what its `blueprints/matching.py` does, with the parts that it uses:
Flask, Flask-SQLAlchemy, and the PDQ hasher and index of `threatexchange`. `POST /m/lookup` hashes
an uploaded file, `GET /m/lookup` takes a hash; both read the signal types and the contents of the
matches from SQL, and answer the banks. Left out: its scheduler, authentication, MD5 of videos, and
the reload of the index every 30 seconds. SQLite stands in for PostgreSQL, as it does for Lineup.

Served by gunicorn: `HMA_FOLDER` is a folder with the `hashes.npy` (n, 32) uint8 that it knows.
"""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import flask
import numpy as np
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship
from threatexchange.signal_type.pdq.pdq_index import PDQIndex
from threatexchange.signal_type.pdq.signal import PdqSignal

HASHES, DATABASE, BANK = "hashes.npy", "hma.db", "FAKES"


class Base(DeclarativeBase):
    """The tables of the peer."""


class SignalTypeOverride(Base):
    """Which signal types are enabled, and for what share of requests."""

    __tablename__ = "signal_type_override"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    enabled_ratio: Mapped[float]


class Bank(Base):
    """A named set of contents."""

    __tablename__ = "bank"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    matching_enabled_ratio: Mapped[float]


class BankContent(Base):
    """One known picture."""

    __tablename__ = "bank_content"
    id: Mapped[int] = mapped_column(primary_key=True)
    bank_id: Mapped[int] = mapped_column(ForeignKey("bank.id"))
    disable_until_ts: Mapped[int]
    bank: Mapped[Bank] = relationship()


db = SQLAlchemy(model_class=Base)


def create_app() -> flask.Flask:
    """Return the application; its index is built from the hashes of the folder."""
    folder = Path(os.environ["HMA_FOLDER"])
    app = flask.Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / DATABASE}"
    db.init_app(app)
    hashes = np.load(folder / HASHES)  # (n, 32)
    index = PDQIndex([(row.tobytes().hex(), number) for number, row in enumerate(hashes, start=1)])

    def match(signal: str) -> list[str]:
        """Return the banks that know a hash."""
        overrides = db.session.execute(select(SignalTypeOverride)).scalars()
        ratios = {each.name: each.enabled_ratio for each in overrides}
        if not ratios.get("pdq", 1.0):
            flask.abort(400)
        ids = [each.metadata for each in index.query(PdqSignal.validate_signal_str(signal))]
        contents = db.session.execute(
            select(BankContent).where(BankContent.id.in_(ids)).options(joinedload(BankContent.bank))
        ).scalars()
        banks = {each.bank.name: each.bank for each in contents if each.disable_until_ts == 0}
        coinflip = random.Random(flask.request.args.get("seed")).random()
        return [each.name for each in banks.values() if each.matching_enabled_ratio >= coinflip]

    @app.post("/m/lookup")
    def look_up_file() -> dict[str, list[str]]:
        (upload,) = flask.request.files.values()
        with tempfile.NamedTemporaryFile("wb") as file:
            upload.save(file)
            file.flush()
            signal = PdqSignal.hash_from_file(Path(file.name))
        return {"pdq": match(signal)} if signal else {}

    @app.get("/m/lookup")
    def look_up_hash() -> list[str]:
        return match(flask.request.args["signal"])

    @app.get("/m/raw_lookup")
    def find_distances() -> dict[str, list[dict[str, object]]]:
        found = index.query(PdqSignal.validate_signal_str(flask.request.args["signal"]))
        return {
            "matches": [
                {"content_id": each.metadata, "distance": each.similarity_info.pretty_str()}
                for each in found
            ]
        }

    return app


def write_database(folder: Path, hashes: np.ndarray) -> None:
    """Write the hashes (n, 32) and the rows that a look-up reads."""
    np.save(folder / HASHES, hashes)
    app = flask.Flask("filling")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / DATABASE}"
    db.init_app(app)
    with app.app_context():
        db.create_all()
        db.session.add(SignalTypeOverride(name="pdq", enabled_ratio=1.0))
        db.session.add(Bank(id=1, name=BANK, matching_enabled_ratio=1.0))
        db.session.flush()
        rows = [
            {"id": number, "bank_id": 1, "disable_until_ts": 0}
            for number in range(1, len(hashes) + 1)
        ]
        db.session.execute(insert(BankContent), rows)
        db.session.commit()
