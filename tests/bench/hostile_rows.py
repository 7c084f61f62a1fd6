"""Rows that hold a text wherever a row can hold any, for tests of what shows them."""

from pathlib import Path

from hypothesis import strategies as st
from recorded import PROVENANCE, failed, record
from temporary import temporary_folder

from antipasto_bench.core.files import write_json
from antipasto_bench.store.excerpts import Answer, Excerpts
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

ATTACKS = [
    "<script>window.owned = 1</script>", "a | b || c", "`code` ``", "two\nlines\r\n\n# heading",
    "[x](javascript:alert(1))", "![](https://host/x.png)", "<!-- results:end -->", "--> <b>",
    "\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "\ud83d", "\x00\x0b\x0c\x1f\x7f\x85\u2028\u2029\ufffe\uffff",
    "]]>&amp;&#60;", "</textarea></pre></script>", "{{ 7*7 }} ${7*7}", "\"' onload='x", "../../x",
    "**bold** ~~gone~~ $x$ \\| _em_", "- item", "1. item", "# heading", "> quote", "---", "===",
]  # fmt: skip
ANY = st.one_of(st.sampled_from(ATTACKS), st.text(st.characters(codec=None, exclude_categories=()), max_size=40))


def hostile(text: str, store: Store) -> None:
    """A table whose rows hold the text wherever a row can hold any."""
    origin = PROVENANCE.model_copy(update={"hardware": f"cpu {text}"})
    runs = []
    for seed, adapter in enumerate(({}, {text: 1}, {text: 2})):
        made = record(store, "lora", range(4 + seed), n=12, fields={"provenance": origin}, seed=0, lr=0.1)
        config = made.config.model_copy(update={"adapter": made.config.adapter | adapter})
        run_id = f"{made.run_id}{seed}"
        store.items(run_id).write_bytes(store.items(made.run_id).read_bytes())
        model = "m " + "".join(filter(str.isprintable, text))  # a name is one line, or its row is none
        values = {"run_id": run_id, "arm": f"{seed:08x}", "config": config, "model": model}
        runs.append(made.model_copy(update=values | {"items_sha256": made.items_sha256}))
        answers = [Answer(right=True, prompt=text, target=text, response=text)] if text.isascii() else []
        write_json(store.excerpts(run_id), Excerpts(curve=[], answers=answers).model_dump())
        store.items(made.run_id).unlink()  # its row has another id
    for made in (*runs, failed(store, "lora", text, lr=0.5)):
        append(store.table, made)


def store_of(text: str) -> Store:
    text = text.encode("utf-8", "replace").decode()  # a row with a lone surrogate is no JSON that can be read
    home = Path(temporary_folder("foreign-text-"))
    store = Store(home / "results", home / "outputs")
    hostile(text, store)
    return store
