"""Claims about gradient checkpointing: the same steps to the last bit, and less is kept for the backward pass."""

import pytest
import torch
from small_runs import make, small, store_in
from torch import Generator
from transformers import AutoModelForCausalLM

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.checkpointing import check_checkpointing, checkpointed
from antipasto_bench.run.completion_loss import CompletionLoss
from antipasto_bench.run.costs import measure_here, saved_bytes
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.examples import bucketed_batches, collate, drawn_examples
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.run.model_probes import last_mlp
from antipasto_bench.run.train import TrainingControl, train
from antipasto_bench.spec.compose import compose


def attached(tokenizer, variant, **given):
    run = compose(variant, {"steps": 5, "batch_size": 4} | given, "nano")
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    examples = drawn_examples(run, tokenizer, load_splits(run.data, run.eval))
    antipasto.attach(model, run.adapter_config, generator=Generator().manual_seed(0))
    return run, model, examples


@pytest.mark.parametrize("variant", ["lora", "antipasto", "hra"])
def test_a_checkpointed_run_takes_the_steps_of_a_plain_one_to_the_last_bit(variant, tokenizer):
    taken = []
    for checkpointing in (False, True):
        run, model, examples = attached(tokenizer, variant, checkpointing=checkpointing)
        batches = bucketed_batches(examples, run.batch_size, tokenizer.pad_token_id, Generator().manual_seed(0))
        steps = []
        train(model, run, batches, TrainingControl(on_step=steps.append))
        bits = {name: p.detach().numpy().tobytes() for name, p in antipasto.trainable_parameters(model).items()}
        taken.append(([(step.loss, step.grad_norm) for step in steps], bits))
        assert not model.is_activation_checkpointing, "the next run on this model is a plain one"
    assert taken[0] == taken[1]


class Watched:
    """The shape of what each block's MLP is given in a step, and whether the embeddings are to have a gradient."""

    def __init__(self, model, batch) -> None:
        self.tokens: list[int] = []
        self.embeddings: list[bool] = []
        loss_of = CompletionLoss(model)
        for layer in model.model.layers:
            layer.mlp.act_fn.register_forward_hook(lambda module, args, out: self.tokens.append(out[..., 0].numel()))
        embeddings = model.get_input_embeddings()
        embeddings.register_forward_hook(lambda module, args, out: self.embeddings.append(out.requires_grad))
        self.kept = saved_bytes(model, lambda: loss_of(batch))


@pytest.mark.parametrize("variant", ["lora", "antipasto"])
def test_less_is_kept_for_the_backward_pass_and_the_last_mlp_still_takes_labelled_tokens_alone(variant, tokenizer):
    kept = []
    for checkpointing in (False, True):
        run, model, examples = attached(tokenizer, variant, checkpointing=checkpointing)
        batch = collate(examples[:8], tokenizer.pad_token_id)
        model.train()
        with checkpointed(run, model):
            assert last_mlp(model) is model.model.layers[-1].mlp
            watched = Watched(model, batch)
        assert watched.embeddings == [False], "no gradient goes down to the embeddings"
        *whole, last = watched.tokens
        assert last < batch["input_ids"].numel() == min(whole)
        kept.append(watched.kept)
    # Of the four blocks the last keeps what it kept, the others their inputs alone.
    assert kept[1] < 0.35 * kept[0]


def test_what_is_measured_as_costs_is_the_checkpointed_adapter(tokenizer):
    kept = []
    for checkpointing in (False, True):
        run, _, examples = attached(tokenizer, "lora", checkpointing=checkpointing)
        costs = measure_here(run, examples[:4])
        kept.append((costs.saved_bytes, costs.base_saved_bytes))
    assert kept[1][0] < 0.6 * kept[0][0]
    assert kept[1][1] < kept[0][1]


def test_a_model_without_support_is_refused_in_one_line_before_the_run_leaves_a_trace(tmp_path):
    run, store = small("lora", checkpointing=True), store_in(tmp_path)

    class Unsupported(ModelCache):
        def model(self, run):
            model, tokenizer = super().model(run)
            model.supports_gradient_checkpointing = False
            return model, tokenizer

    with pytest.raises(UserError, match=r"^checkpointing=true: nano has no support for it \(.*\); leave it out$"):
        make(run, store, models=Unsupported())
    assert not store.table.exists()
    assert not store.workspace(run.run_id).path.exists()


def test_the_switch_of_old_models_which_gives_adapters_no_gradient_is_refused(model):
    def switch(module, value=False):
        pass

    model._set_gradient_checkpointing = switch
    with pytest.raises(UserError, match="the switch of old versions"):
        check_checkpointing(compose("lora", {"checkpointing": True}, "nano"), model)
    check_checkpointing(compose("lora", {}, "nano"), model)
    with pytest.raises(UserError, match=r"^checkpointing=true compile=true: "):
        check_checkpointing(compose("lora", {"checkpointing": True, "compile": True}, "nano"), model)
