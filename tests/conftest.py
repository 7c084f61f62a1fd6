"""What every test process starts from, whichever process makes it."""

import os

import hypothesis
import pytest
from temporary import temporary_folder

# Singular value decompositions of tests are kept apart from a user's.
os.environ["ANTIPASTO_CACHE"] = temporary_folder("svd-of-tests-")

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")

# So are the answers of PEFT about settings, which every process of these tests shares.
os.environ.setdefault("ANTIPASTO_PEFT_CACHE", temporary_folder("peft-of-tests-"))

# No test waits for a hub; those that start processes say so to each.
os.environ["HF_HUB_OFFLINE"] = "1"

# Test files run side by side, one a core; two torch processes that each take all cores would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_xdist_auto_num_workers() -> int:
    """A worker a core, but no more than memory is sure to hold."""
    return min(len(os.sched_getaffinity(0)), 8)


# Files of minutes, which start before all others.
LONGEST = ("test_ray.py", "test_in_own_process.py", "test_smollm2.py", "test_attacks.py", "test_page_commands.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow or long tests come first, so that no worker is left alone with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")}
    items.sort(key=lambda item: (item.path.name not in LONGEST, item.path not in slow))
