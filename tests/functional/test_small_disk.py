"""A disk that is really full, or really read-only: each error named, nothing lost, healed when
there is room.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.functional.small_disk import SCENES

ROOT = Path(__file__).parents[2]
# The scenes, and the megabytes of the disk that each has.
SHORT = {
    "index_on_a_full_disk": 1,
    "truth_on_a_full_disk": 4,
    "backup_on_a_full_disk": 2,
    "read_only_disk": 4,
    "read_only_log": 8,
    "read_only_folder": 8,
    "server_on_a_full_disk": 8,
}
LONG = {"commands_on_a_full_disk": 8, "job_on_a_full_disk": 8}
MOUNT = 'mount -t tmpfs lineup "$1" && shift && exec "$@"'


@pytest.fixture(scope="module")
def own_mounts() -> list[str]:
    """The command that runs another with mounts of its own, where this system lets us."""
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        done = subprocess.run(
            [*command, "mount", "-t", "tmpfs", "lineup", "/mnt"], capture_output=True, check=False
        )
    except FileNotFoundError:
        unavailable("no program `unshare`, to mount a small disk with")
    if done.returncode:
        unavailable(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    return command


def test_every_scene_is_played() -> None:
    assert {*SHORT, *LONG} == SCENES.keys()


@pytest.mark.parametrize(
    "scenes",
    [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.prove)],
)
def test_on_a_small_disk(own_mounts: list[str], tmp_path: Path, scenes: dict[str, int]) -> None:
    """One process plays the scenes: to load all there is takes longer than most of them."""
    disk, home = tmp_path / "disk", tmp_path / "home"
    disk.mkdir()
    home.mkdir()
    names = ",".join(f"{name}:{megabytes}" for name, megabytes in scenes.items())
    child = [sys.executable, "-m", "tests.functional.small_disk", names, str(disk), str(home)]
    command = [*own_mounts, "sh", "-c", MOUNT, "sh", str(disk), *child]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
