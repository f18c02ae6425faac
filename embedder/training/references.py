"""Computing the reference vectors of a model: photographs after each kind of delivery.

`python -m embedder.training.references --photographs FOLDER --model builtin --out FILE` embeds
every image of the folder, in float32 on the CPU, and writes a file that
`embedder.network.references` reads. A folder below it is a collection; `collections.json` says in
one line where each comes from. It holds vectors, logits and perceptual hashes, and no images. For
the built-in model `embedder.training.reference_photographs` collects the folder.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from embedder.errors import ImageError
from embedder.network.embed import Embedder
from embedder.network.references import FORMAT
from embedder.network.weight_files import compute_sha256
from embedder.pictures.decode import decode
from embedder.pictures.delivery import Condition, deliver
from embedder.pictures.perceptual import compute_perceptual_hash
from embedder.training.files import write_whole
from embedder.training.reference_photographs import COLLECTIONS_FILE


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedPhotograph:
    """A photograph after each delivery: vectors (k, d), logits (k,), and its perceptual hash."""

    collection: int
    vectors: NDArray[np.float32]
    logits: NDArray[np.float32]
    bits: NDArray[np.uint8]
    quality: int


def embed_photographs(embedder: Embedder, folder: Path) -> Iterator[EmbeddedPhotograph]:
    """Yield the photographs of all collections, in the order of their names.

    One that cannot be read, or is too small after a delivery, is left out.
    """
    for number, name in enumerate(read_collections(folder)):
        for path in sorted((folder / name).iterdir()):
            try:
                yield embed_photograph(embedder, number, path.read_bytes())
            except ImageError as err:
                print(f"{name}/{path.name}: {err}")


def embed_photograph(embedder: Embedder, collection: int, data: bytes) -> EmbeddedPhotograph:
    """Raises ImageError."""
    decoded = decode(data, embedder.limits)
    hashed = compute_perceptual_hash(decoded.image)
    copies = (deliver(decoded.image, each) for each in Condition)
    embedded = embedder.embed(
        [replace(decoded, image=copy, width=copy.width, height=copy.height) for copy in copies]
    )
    return EmbeddedPhotograph(
        collection,
        embedded.vectors,
        embedded.logits,
        np.frombuffer(hashed.bits, np.uint8),
        hashed.quality,
    )


def read_collections(folder: Path) -> dict[str, str]:
    """Return the descriptions of the collections by name, in the order of the file."""
    described: dict[str, str] = json.loads((folder / COLLECTIONS_FILE).read_text(encoding="utf-8"))
    return described


def write_references(embedder: Embedder, folder: Path, target: Path) -> int:
    """Embed the photographs of a folder and write the file; return how many it holds."""
    found = list(embed_photographs(embedder, folder))
    about = {
        "format": FORMAT,
        "space": embedder.info.space_fingerprint,
        "deliveries": json.dumps([each.value for each in Condition]),
        "collections": json.dumps(
            [
                {"name": name, "description": description}
                for name, description in read_collections(folder).items()
            ]
        ),
    }
    tensors: dict[str, NDArray[Any]] = {
        "vectors": np.stack([each.vectors for each in found]),
        "logits": np.stack([each.logits for each in found]),
        "hashes": np.stack([each.bits for each in found]),
        "hash_qualities": np.array([each.quality for each in found], np.uint8),
        "collections": np.array([each.collection for each in found], np.int32),
    }
    write_whole(target, lambda path: save_file(tensors, path, metadata=about))
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    embedder = Embedder.load(arguments.model, device="cpu", precision="float32")
    count = write_references(embedder, arguments.photographs, arguments.out)
    size = arguments.out.stat().st_size
    print(f"{count} photographs, {size} bytes, sha256 {compute_sha256(arguments.out)}")


if __name__ == "__main__":
    main()
