"""The two wheels, and an environment that holds them and what they require, of all that is installed here.

Nothing is fetched: distributions are linked from the environment that runs the tests, each with what it requires in
turn. What no requirement names cannot be imported there.
"""

import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LIBRARY, BENCH = "antipasto-adapters", "antipasto-bench"
SOURCES = {LIBRARY: ROOT / "src", BENCH: ROOT}


def build(name: str, folder: Path) -> Path:
    """Build the wheel of a distribution, with the hatchling that is installed here, and return its path."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(SOURCES[name])], check=True)
    (wheel,) = folder.glob(f"{name.replace('-', '_')}-*.whl")
    return wheel


def files_of(wheel: Path) -> set[str]:
    return set(ZipFile(wheel).namelist())


def requirements(wheel: Path) -> list[Requirement]:
    """What a wheel requires without its extras."""
    (place,) = (name for name in files_of(wheel) if name.endswith(".dist-info/METADATA"))
    lines = ZipFile(wheel).read(place).decode().partition("\n\n")[0].splitlines()
    return _needed([line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")], frozenset())


def environment(folder: Path, *wheels: Path) -> Path:
    """A virtual environment with these wheels and what they require, linked; returns its interpreter."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    linked: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [needed for wheel in wheels for needed in requirements(wheel)]
    while queue:
        needed = queue.pop()
        name, extras = canonicalize_name(needed.name), frozenset(needed.extras)
        if name in SOURCES or (name, extras) in seen:
            continue
        seen.add((name, extras))
        linked[name] = distribution(name)
        queue += _needed(linked[name].requires or [], extras)
    for found in linked.values():
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():  # a namespace that several share is linked whole
                (site / top).symlink_to(Path(str(found.locate_file(top))).resolve())
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, *map(str, wheels)]
    subprocess.run(command, check=True)
    return python


def _needed(lines: list[str], extras: frozenset[str]) -> list[Requirement]:
    """Those of a distribution's requirements that hold on this machine, with these of its extras."""
    found = [Requirement(line) for line in lines]
    tried = [{"extra": extra} for extra in ("", *extras)]
    return [r for r in found if r.marker is None or any(r.marker.evaluate(each) for each in tried)]
