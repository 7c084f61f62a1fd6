"""Claims about what a report takes from the last one: only what it would render alike, and never what was altered."""

import pytest
import vl_convert

from antipasto_bench.report.rendering import svg, vega_script

SPECIFICATION = {
    "data": {"values": [{"x": 1, "y": 2}, {"x": 2, "y": 1}]},
    "mark": "point",
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
}


@pytest.fixture
def rendered(monkeypatch):
    """How often the renderer was called."""
    calls = []
    for name in ("vegalite_to_svg", "javascript_bundle"):
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


def test_the_script_of_a_page_is_bundled_again_only_where_it_was_altered(tmp_path, rendered):
    page = tmp_path / "report.html"
    first = vega_script(page)
    page.write_text(f"<p>a page</p>\n{first}\n<p>and more</p>")
    assert vega_script(page) == first
    assert rendered == ["javascript_bundle"]
    page.write_text(page.read_text().replace("vegaEmbed", "vegaEmbex", 1))
    assert vega_script(page) == first
    page.write_text(f"<p>a page</p>\n{first}\n".replace('data-vega="', 'data-vega="0.'))
    assert vega_script(page) == first, "bundled by another version"
    assert len(rendered) == 3
