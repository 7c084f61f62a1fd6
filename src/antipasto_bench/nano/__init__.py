"""The embedded world: a small language model of this project's own, and the problems it is measured on."""

from pathlib import Path

MODEL_DIR = Path(__file__).parent / "model"
