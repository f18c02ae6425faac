"""A copy descriptor of a few lines: the colours of a picture's quarters. Nothing is installed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from api.copies.choosing import DescriptorChoice, DescriptorInUse
from api.copies.stages import StageOutcome
from api.settings import Settings
from embedder.copies.descriptors import DescriptorInfo
from embedder.copies.inputs import DescriptorInput
from embedder.errors import CorruptWeights

SIDE = 16
INPUT = DescriptorInput(SIDE, SIDE)


@dataclass
class Colours:
    """Implements `embedder.copies.descriptors.CopyDescriptor`."""

    name: str = "colours"
    described: int = 0
    fails: bool = False
    refused: bytes = b""  # the pixels of a picture that it makes no vector of
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def info(self) -> DescriptorInfo:
        sha256 = f"{sum(self.name.encode()):064x}"
        return DescriptorInfo(self.name, "MIT", "tests", sha256, 1, 12, INPUT)

    @property
    def fingerprint(self) -> str:
        return self.info.fingerprint

    @property
    def dimension(self) -> int:
        return 12

    @property
    def input(self) -> DescriptorInput:
        return INPUT

    def describe(self, pixels: np.ndarray) -> np.ndarray:
        if self.fails:
            raise CorruptWeights("colours", "it is told to fail")
        if any(picture.tobytes() == self.refused for picture in pixels):
            raise CorruptWeights("colours", "it gives no vector with a norm")
        with self.lock:
            self.described += len(pixels)
        half = SIDE // 2
        quarters = pixels.reshape(-1, 2, half, 2, half, 3).mean(axis=(2, 4)).reshape(-1, 12)
        centred = quarters / 255 - 0.5 + 1e-3
        unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        return unit.astype(np.float32)


@dataclass
class Shop:
    """What is installed: takes the place of `choose_descriptor`."""

    installed: list[Colours] = field(default_factory=lambda: [Colours()])
    asked: int = 0

    def choose(self, settings: Settings, in_use: DescriptorInUse | None) -> DescriptorChoice:
        self.asked += 1
        wanted = settings.copy_descriptor
        if wanted == "auto":
            wanted = in_use.name if in_use else (self.installed[0].name if self.installed else "")
        found = next((each for each in self.installed if each.name == wanted), None)
        if found is None:
            return DescriptorChoice(StageOutcome.NOT_INSTALLED, detail=f"no {wanted!r} here")
        return DescriptorChoice(StageOutcome.RAN, wanted, found)
