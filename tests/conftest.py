"""Tests keep their singular value decompositions in a folder of their own, whichever process makes them."""

import os
import tempfile

os.environ["ANTIPASTO_CACHE"] = tempfile.mkdtemp(prefix="svd-of-tests-")
