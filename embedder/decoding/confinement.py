"""What the process that decodes bytes from outside is kept from, as words for people.

`worker` takes the layers and tries what must fail; what it could not do is what counts here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Layer(StrEnum):
    """A means of giving up rights; the next one does not rest on the one before."""

    NAMESPACES = "namespaces"  # user, network and IPC namespaces of its own (Linux)
    LANDLOCK = "landlock"  # no right over any file (Linux)
    LIMITS = "limits"  # limits of resources: memory, and no file opened any more (Unix)
    SECCOMP = "seccomp"  # no system call but those of decoding (Linux on x86-64 and ARM)


# In the order in which they are taken: each still needs what the next one takes away.
LAYERS: tuple[Layer, ...] = tuple(Layer)


class Closed(StrEnum):
    """What a worker tried and could not do."""

    FILES = "files"  # open one
    FOLDERS = "folders"  # make one
    NETWORK = "network"  # make a socket
    PROGRAMS = "programs"  # start one
    PROCESSES = "processes"  # signal another
    MEMORY = "memory"  # take more than its limit


_WORDS = {
    Closed.FILES: "open files",
    Closed.FOLDERS: "change folders",
    Closed.NETWORK: "use the network",
    Closed.PROGRAMS: "start programs",
    Closed.PROCESSES: "signal processes",
    Closed.MEMORY: "exceed its memory",
}


class ConfinementLevel(StrEnum):
    """From the strongest to the weakest."""

    FULL = "full"  # no files, no network, no programs, no other process; bounded memory and time
    PARTIAL = "partial"  # some of these hold; the detail says which do not
    LIMITS = "limits"  # a process of its own with bounded memory and time, and nothing more
    PROCESS = "process"  # a process of its own with bounded time: a crash or hang stays in it
    NONE = "none"  # threads of this process decode


@dataclass(frozen=True, slots=True)
class Confinement:
    """`detail` is one sentence: what a decoder that is taken over can and cannot do here."""

    level: ConfinementLevel
    detail: str


UNKNOWN = Confinement(ConfinementLevel.NONE, "no decoding process has started yet")
UNCONFINED = Confinement(
    ConfinementLevel.NONE,
    "threads of this process decode: an image that takes over its decoder takes over the process",
)

UNSUPPORTED = Confinement(
    ConfinementLevel.NONE,
    f"this system cannot run decoding processes, so {UNCONFINED.detail}",
)


def judge_confinement(closed: Collection[Closed], layers: Sequence[Layer]) -> Confinement:
    """Say how far a worker is confined, from what it tried and could not do."""
    open_still = [each for each in Closed if each not in closed]
    by = f" ({', '.join(layers)})" if layers else ""
    if not open_still:
        return Confinement(
            ConfinementLevel.FULL,
            f"a decoding process cannot {_join([*_WORDS.values()])}{by}",
        )
    can = f"but can {_join([_WORDS[each] for each in open_still])}"
    if set(closed) - {Closed.MEMORY}:
        cannot = _join([_WORDS[each] for each in Closed if each in closed])
        return Confinement(
            ConfinementLevel.PARTIAL, f"a decoding process cannot {cannot}, {can}{by}"
        )
    if Closed.MEMORY in closed:
        return Confinement(
            ConfinementLevel.LIMITS,
            f"a decoding process has bounded memory and time, {can}{by}",
        )
    return Confinement(
        ConfinementLevel.PROCESS,
        f"a decoding process has bounded time and a crash ends only itself, {can}",
    )


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
