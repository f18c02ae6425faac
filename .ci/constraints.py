"""Writes `constraints.txt` and `.ci/constraints.txt`: every package that an installation takes,
with the hashes of its files. Run by `make constraints`.

One resolution holds for every platform and every Python from 3.11 on (markers choose between
versions). The first file is what Lineup itself needs, with the extras of a server; the second adds
what CI needs to test and lint it, at versions that agree with the first.

On x86-64 Linux the package index offers PyTorch only with CUDA, several gigabytes that Lineup does
not require. There the lock names PyTorch's CPU build, for the one Python whose build is known here;
with another Python it names no PyTorch, and the user installs a CPU build first. Both versions must
be `TORCH`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ("copies", "demo", "evaluate", "heic", "postgres")
TOOLS = (*RUNTIME, "lint", "test")
BUILD = (
    "editables\n"  # hatchling needs it to install the repository itself, without build isolation
)

TORCH = "2.13.0"
# torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl; PyTorch has an index of its own for these
CPU_BUILD = "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
X86_LINUX = "sys_platform == 'linux' and platform_machine == 'x86_64'"
ELSEWHERE = "sys_platform != 'linux' or platform_machine != 'x86_64'"
CUDA = re.compile(r"nvidia-|cuda-|triton==")

HEADING = """\
# {purpose}
# Made by `make constraints`; do not edit. One resolution for all platforms and for Python 3.11 on.
"""
PURPOSES = {
    "constraints.txt": "What Lineup needs, with the extras copies, demo, evaluate, heic and "
    "postgres: pip install --require-hashes -r constraints.txt",
    ".ci/constraints.txt": "What CI adds, to test and lint: "
    "pip install --require-hashes -r constraints.txt -r .ci/constraints.txt",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")
        pins.write_text(f"torch=={TORCH}\n")
        everything = resolve(TOOLS, BUILD, pins)
        pins.write_text("".join(pin + "\n" for pin in list_pins(everything) if "+cpu" not in pin))
        runtime = resolve(RUNTIME, "", pins)
    pinned = set(
        list_pins(runtime)
    )  # with its marker: tools can need a package where Lineup does not
    tools = [block for block in everything if list_pins([block])[0] not in pinned]
    for name, blocks in {"constraints.txt": runtime, ".ci/constraints.txt": tools}.items():
        (ROOT / name).write_text(HEADING.format(purpose=PURPOSES[name]) + "".join(blocks))
        sys.stdout.write(f"{name}: {len(blocks)} packages\n")


def resolve(extras: Sequence[str], further: str, pins: Path) -> list[str]:
    """Return the resolution as blocks: a pinned requirement with its hashes."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "-"]
    command += [word for extra in extras for word in ("--extra", extra)]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-config"]
    command += ["--constraints", str(pins)]
    done = subprocess.run(  # noqa: S603 - a fixed command
        command, cwd=ROOT, input=further, text=True, check=True, stdout=subprocess.PIPE
    )
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", done.stdout)
    return [choose_cpu_build(block) for block in blocks if block.strip() and not CUDA.match(block)]


def choose_cpu_build(block: str) -> str:
    """Name the CPU build of PyTorch on x86-64 Linux, and the index's files elsewhere."""
    first, _, hashes = block.partition("\n")
    if not first.startswith("torch=="):
        return block
    return (
        f"torch=={TORCH}+cpu ; python_full_version < '3.12' and {X86_LINUX} \\\n"
        f"    --hash=sha256:{CPU_BUILD}\n"
        f"torch=={TORCH} ; {ELSEWHERE} \\\n{hashes}"
    )


def list_pins(blocks: Iterable[str]) -> list[str]:
    """Return `name==version ; marker` of each block."""
    return [block.partition("\n")[0].rstrip("\\ ") for block in blocks]


if __name__ == "__main__":
    main()
