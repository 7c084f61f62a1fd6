"""Claims about names and versions: one version, and no package of a stranger's is ever installed in their place."""

import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LIBRARY = tomllib.loads((ROOT / "src/pyproject.toml").read_text())["project"]
BENCH = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def needed_library() -> Requirement:
    (found,) = [r for r in map(Requirement, BENCH["dependencies"]) if r.name == LIBRARY["name"]]
    return found


def test_the_bench_requires_the_library_at_its_own_version_and_not_the_other_way_round():
    assert LIBRARY["version"] == BENCH["version"]
    assert str(needed_library().specifier) == f"=={LIBRARY['version']}"
    assert [Requirement(line).name for line in LIBRARY["dependencies"]] == ["torch", "safetensors", "jaxtyping"]


def test_both_distributions_have_the_same_licence_python_and_builder():
    assert (ROOT / "src/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    for field in ("requires-python", "license"):
        assert LIBRARY[field] == BENCH[field]
    places = (ROOT / "src/pyproject.toml", ROOT / "pyproject.toml")
    assert len({str(tomllib.loads(place.read_text())["build-system"]) for place in places}) == 1


def test_the_changelog_and_the_citation_name_the_version():
    public = Version(BENCH["version"]).public
    assert f"## [{public}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {public}\n" in (ROOT / "CITATION.cff").read_text()


def stranger(folder: Path, version: str) -> None:
    """A wheel under the library's name, as anyone could upload it."""
    name = LIBRARY["name"].replace("-", "_")
    about = f"{name}-{version}.dist-info"
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {LIBRARY['name']}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["public", "post", "newer"])
def test_no_version_that_a_public_index_takes_satisfies_the_requirement(tmp_path, version):
    """A public index refuses versions with a local part (+...), so whoever takes the name there is never installed."""
    ours = Version(LIBRARY["version"])
    assert ours.local is not None
    theirs = {"public": ours.public, "post": f"{ours.public}.post1", "newer": "99.0"}[version]
    stranger(tmp_path, theirs)

    def downloaded(requirement: str) -> bool:
        options = ["--quiet", "--no-deps", "--no-index", "--find-links", str(tmp_path), "--dest", str(tmp_path / "got")]
        command = [sys.executable, "-m", "pip", "download", *options, requirement]
        return subprocess.run(command, capture_output=True).returncode == 0

    assert downloaded(f"{LIBRARY['name']}=={theirs}")
    assert not downloaded(str(needed_library()))
