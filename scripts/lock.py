"""Print the versions of all that this environment has installed, as pip constraints.

just lock
"""

from importlib.metadata import distributions

HEADER = """\
# Every version, transitive ones too, that this project is developed and tested with. Install with
#     pip install -c requirements.lock -e ./src -e '.[dev]'
# torch's own CUDA packages, on machines that get them, are pinned by torch's metadata."""

# Of the environment, not of the project; and what only made this file.
LEFT_OUT = {"pip", "setuptools", "wheel", "antipasto-adapters", "antipasto-bench", "rust-just"}

print(HEADER)
for name, version in sorted({(d.name.lower().replace("_", "-"), d.version) for d in distributions()}):
    if name not in LEFT_OUT:
        print(f"{name}=={version.partition('+')[0]}")
