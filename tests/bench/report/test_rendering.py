"""Claims about what a report takes from the last one: only what it would render alike, and never what was altered."""

import pytest
import vl_convert

from antipasto_bench.report.rendering import svg

SPECIFICATION = {
    "data": {"values": [{"x": 1, "y": 2}, {"x": 2, "y": 1}]},
    "mark": "point",
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
}


@pytest.fixture
def rendered(monkeypatch):
    """How often the renderer was called."""
    calls = []
    for name in ("vegalite_to_svg",):
        real = getattr(vl_convert, name)

        def counted(*args, _real=real, _name=name, **options):
            calls.append(_name)
            return _real(*args, **options)

        monkeypatch.setattr(vl_convert, name, counted)
    return calls


def test_a_drawing_is_rendered_again_only_where_it_or_its_file_changed(tmp_path, rendered):
    path = tmp_path / "a.svg"
    first = svg(SPECIFICATION, path)
    path.write_text(first)
    assert svg(SPECIFICATION, path) == first
    assert rendered == ["vegalite_to_svg"]
    changed = svg(SPECIFICATION | {"mark": "bar"}, path)
    assert (rendered, changed == first) == (["vegalite_to_svg"] * 2, False)
    for place in (10, len(first) // 2, len(first) - 20):
        path.write_text(first[:place] + chr(ord(first[place]) ^ 1) + first[place + 1 :])
        assert svg(SPECIFICATION, path) == first
    path.write_bytes(b"\xff")
    assert svg(SPECIFICATION, path) == first
    assert len(rendered) == 6, "an altered file is drawn anew"


def test_a_drawing_is_the_same_text_whatever_was_drawn_before_it(tmp_path):
    """Vega counts gradients through all that one process draws."""
    field = {"field": "x", "type": "quantitative"}
    drawing = {"data": {"values": [{"x": 1}, {"x": 2}]}, "mark": "point", "encoding": {"x": field, "color": field}}
    first, second = (svg(drawing, tmp_path / name) for name in ("first.svg", "second.svg"))
    assert 'id="gradient_0"' in first
    assert first == second
