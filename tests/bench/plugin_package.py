"""Packages that bring variants, as pip leaves them in a folder: a module, and its metadata beside it."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import antipasto
from antipasto_bench.spec.methods import external

Install = Callable[..., str]


def install_into(
    site: Path, name: str, code: str, version: str = "0.1.0", entries: dict[str, str] | None = None
) -> Path:
    """Write a package of one module; its entry points are one of its own name unless given. Gives its metadata."""
    metadata = site / f"{name}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{name}.py").write_text(code)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
    lines = [f"{key} = {value}" for key, value in (entries or {name: name}).items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[antipasto.variants]", *lines, ""]))
    return metadata


@contextmanager
def in_this_process(site: Path) -> Iterator[None]:
    """Have this process see the packages of a folder, as a new one would; none of them later."""
    modules, configs, registry = set(sys.modules), dict(antipasto.CONFIGS), dict(antipasto.REGISTRY)
    sys.path.insert(0, str(site))
    try:
        forget()
        yield
    finally:
        sys.path.remove(str(site))
        for module in set(sys.modules) - modules:
            if str(getattr(sys.modules[module], "__file__", "")).startswith(str(site)):
                del sys.modules[module]
        for table, before in ((antipasto.CONFIGS, configs), (antipasto.REGISTRY, registry)):
            for variant in [variant for variant in table if variant not in before]:
                del table[variant]
        forget()


def forget() -> None:
    """As a process begins: no package was looked at."""
    importlib.invalidate_caches()
    external._found.cache_clear()
    external._loaded.clear()
