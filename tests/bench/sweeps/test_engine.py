"""Claims about the words that say how a sweep is made."""

import re

import pytest

from antipasto_bench.core.errors import UserError
from antipasto_bench.sweeps.engine import parse_engine


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["engine=rya"], "engine=rya: expected one of local, ray"),
        (["engine=ray,local"], "takes one value"),
        (["workers=0"], "workers=0: expected a whole number of at least 1, or null"),
        (["engine=ray", "gpus=1.5"], "gpus=1.5: a run takes a part of one GPU, or whole ones"),
        (["engine=ray", "workers_per_gpu=4"], "workers_per_gpu is for this machine; on a Ray cluster write gpus=0.25"),
        (["address=head:6379"], "address is for a Ray cluster; write engine=ray beside it"),
    ],
)
def test_words_about_the_engine_are_checked(words, message):
    with pytest.raises(UserError, match=re.escape(message)):
        parse_engine(words)


def test_words_about_the_engine_are_no_part_of_a_run():
    engine, words = parse_engine(["lora", "engine=ray", "address=head:6379", "seed=0,1", "gpus=0.5", "workers=3"])
    assert words == ["lora", "seed=0,1"]
    assert (engine.engine, engine.address, engine.gpus, engine.workers) == ("ray", "head:6379", 0.5, 3)
    assert parse_engine(["lora"])[0].engine == "local"
