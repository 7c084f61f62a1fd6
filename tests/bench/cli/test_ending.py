"""Claims about how a command ends that met a link to itself."""

import pytest

from antipasto_bench.cli.ending import ended


def test_a_link_that_leads_to_itself_costs_one_line(tmp_path, capsys):
    loop = tmp_path / "results"
    loop.symlink_to(loop)

    def command() -> int:
        loop.resolve(strict=True)
        return 0

    assert ended(command) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_another_error_of_that_type_is_not_hidden():
    def command() -> int:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        ended(command)
