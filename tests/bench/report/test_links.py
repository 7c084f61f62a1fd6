"""Claims about links in results/ and files beside them: a report follows none out of the folder, and waits for none."""

import os

import pytest
from recorded import record

from antipasto_bench.core.errors import UserError
from antipasto_bench.report.markdown import published
from antipasto_bench.report.write import write_report
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append


@pytest.mark.parametrize("name", ["report.html", "figures"])
def test_a_link_that_leads_out_of_results_is_named_and_nothing_is_written(tmp_path, name):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    append(store.table, record(store, "lora", [0, 1]))
    append(store.table, record(store, "hra", [2]))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "page").write_text("not yours")
    (store.results / name).symlink_to(outside / "page" if name == "report.html" else outside)
    readme = tmp_path / "README.md"
    with pytest.raises(UserError, match=f"{name} is a link that leads out"):
        write_report(store, readme, store.results / "results.md")
    assert [path.name for path in outside.iterdir()] == ["page"]
    assert (outside / "page").read_text() == "not yours"
    assert not readme.exists()


def test_a_reference_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(UserError, match="is no regular file"):
        published(tmp_path / "x.csv")
