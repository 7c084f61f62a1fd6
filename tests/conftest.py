"""What every test process starts from, whichever process makes it."""

import os
import tempfile

import pytest

# Singular value decompositions of tests are kept apart from a user's.
os.environ["ANTIPASTO_CACHE"] = tempfile.mkdtemp(prefix="svd-of-tests-")

# Test files run side by side, one a core; two torch processes that each take all cores would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_xdist_auto_num_workers() -> int:
    """A worker a core, but no more than memory is sure to hold."""
    return min(len(os.sched_getaffinity(0)), 8)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a fixture of their module go to one worker; all others to whichever is free."""
    for item in items:
        definitions = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009
        if any(found[-1].scope == "module" for found in definitions.values() if found):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
