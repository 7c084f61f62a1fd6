"""Claims about PEFT's own comparison: its experiments are arms that train, are scored and recorded, on any machine."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
from peft_arms import EXPERIMENTS, FITTING, TINY
from small_runs import make, store_in
from transformers import AutoTokenizer, LlamaForCausalLM

from antipasto_bench.core.errors import UserError
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.run.shape_costs import cost_of_shapes
from antipasto_bench.spec.compose import compose, expand
from antipasto_bench.spec.methods.peft_folder import read_folder
from antipasto_bench.store.table import find

pytest.importorskip("peft")
pytestmark = [
    pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="the published experiments are not on this machine"),
    pytest.mark.filterwarnings("ignore:peft="),
]

FOLDERS = sorted(path.parent for path in EXPERIMENTS.glob("*/*/adapter_config.json"))
NAMES = [f"{folder.parent.name}/{folder.name}" for folder in FOLDERS]
SHORT = {
    "steps": 3, "batch_size": 2, "eval.limit": 2, "eval.valid": "none", "eval.general": "none", "eval.batch_size": 2,
    "costs": False, "data.max_length": 128,
}  # fmt: skip

# As in peft_arms, of single experiments: sizes that are those of a width of 3072.
SCALED = {
    "lora/llama-3.2-3B-rank32-kasa": {"r": 8},
    "miss/llama-3.2-3B-mini": {"mini_r": 8},
    "osf/llama-3.2-3B-rank128": {
        "rank_pattern": {"q_proj": 48, "o_proj": 48, "k_proj": 24, "v_proj": 24}
        | {"gate_proj": 48, "down_proj": 48, "up_proj": 48}
    },
}
# The published file holds other tensors than a run keeps: of adalora only the ranks that training has not pruned, of
# ptuning the virtual tokens without what makes them. Of the others it was not looked into.
OTHER_FILES = {"adalora", "boft", "lily", "oft", "osf", "psoft", "ptuning", "randlora", "unilora"}
LARGEST_HEADER = 60_000  # bytes that safetensors writes before the tensors: their names
NOT_FROM_SHAPES = {"adamss", "frod", "shira"}  # they look at the weights when they are made


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A random Llama with nano's tokenizer."""
    folder = tmp_path_factory.mktemp("llama") / "tiny-llama"
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    config = type(TINY)(**TINY.to_dict() | {"vocab_size": len(tokenizer)})
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def models():
    return ModelCache()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_published_experiment_trains_is_scored_and_gives_a_row(folder: Path, llama, models, tmp_path):
    arm = read_folder(folder, set(), 3)
    kind = arm.variant.removeprefix("peft:")
    fitting = FITTING.get(kind, {}) | SCALED.get(f"{folder.parent.name}/{folder.name}", {})
    run = compose(arm.variant, SHORT | {"model": str(llama)}, "nano", own=arm.settings | fitting)
    store = store_in(tmp_path)
    assert make(run, store, models=models).status == "ok"
    record = find(store.table, run.run_id)
    assert record is not None
    assert record.trained_parameters > 0
    assert record.added_macs_per_token is not None
    assert record.test_n == 2
    assert record.first_loss != record.last_loss
    assert record.adapter_bytes > 0


@pytest.mark.long
@pytest.mark.slow
def test_parameters_and_file_sizes_from_shapes_are_the_published_ones():
    path = Path(__file__).parents[3] / "benchmark" / "reference" / "peft_metamathqa_llama-3.2-3B.csv"
    with path.open(encoding="utf-8") as lines:
        published = {row["experiment"]: row for row in csv.DictReader(lines)}
    given = {"model": ["meta-llama/Llama-3.2-3B"], "steps": [5000], "dtype": ["bfloat16"]}
    counted, files = 0, 0
    for folder in FOLDERS:
        (run,) = expand([], {"peft": [str(folder)], **given}, "nano")
        name = f"{folder.parent.name}--{folder.name}"
        if folder.parent.name in NOT_FROM_SHAPES:
            with pytest.raises(UserError, match=f"^{run.variant}: "):
                cost_of_shapes(run)
        elif name in published:
            costs = cost_of_shapes(run)
            assert costs.trainable_params == int(published[name]["trainable_params"]), name
            header = int(published[name]["file_size_bytes"]) - costs.adapter_bytes
            if folder.parent.name not in OTHER_FILES:
                assert 0 < header < LARGEST_HEADER, name
                files += 1
            assert costs.added_macs_per_token is not None or run.variant == "peft:waveft", name
            counted += 1
    assert counted > 50
    assert files > 45
