"""A cache of the hub as `datasets` leaves it, made by hand: tests reach no hub."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from datasets import Dataset, DatasetInfo, config
from datasets.arrow_writer import ArrowWriter
from datasets.splits import SplitDict, SplitInfo
from huggingface_hub import constants

MAIN, OLDER = "0" * 39 + "1", "0" * 39 + "2"


class HubCache:
    """Prepared data sets and known revisions below a folder, which the libraries are told is their cache."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.datasets, self.hub = folder / "datasets", folder / "hub"
        patch.setattr(config, "HF_DATASETS_CACHE", str(self.datasets))
        patch.setattr(constants, "HF_HUB_CACHE", str(self.hub))

    def add(self, commit: str, splits: Mapping[str, list[dict[str, str]]], revision: str | None = None) -> None:
        """The set org/Sums at a commit, which a branch or tag stands for."""
        folder = self.datasets / "org___sums" / "default" / "0.0.0" / commit
        folder.mkdir(parents=True)
        infos = SplitDict()
        for name, rows in splits.items():
            table = Dataset.from_list(rows)
            with ArrowWriter(path=str(folder / f"sums-{name}.arrow"), features=table.features) as writer:
                writer.write_table(table.data.table)
                examples, size = writer.finalize()
            infos[name] = SplitInfo(name, size, examples, dataset_name="sums")
        DatasetInfo(
            features=table.features, splits=infos, config_name="default", dataset_name="sums", version="0.0.0"
        ).write_to_directory(str(folder))
        prepared = len(list(folder.parent.iterdir()))
        os.utime(folder, (prepared, prepared))  # in the order in which they were added
        if revision is not None:
            repository = self.hub / "datasets--org--Sums"
            (repository / "snapshots" / commit).mkdir(parents=True)
            (repository / "snapshots" / commit / "README.md").write_text("sums")
            (repository / "refs").mkdir(exist_ok=True)
            (repository / "refs" / revision).write_text(commit)
