"""Claims about training: only the adapter moves, the loss is the completion's, and nothing depends on chance."""

import math
import traceback
from dataclasses import replace

import pytest
import torch
from tiny_model import name_of, trained_configs
from torch import Generator
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM, get_scheduler

import antipasto
from antipasto_bench.core.errors import RunFailure
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run import completion_loss
from antipasto_bench.run.completion_loss import CompletionLoss
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.examples import IGNORED, bucketed_batches, collate, draw_examples, drawn_examples
from antipasto_bench.run.model_probes import last_mlp, packs, plain_head
from antipasto_bench.run.step import AdapterOptimizer
from antipasto_bench.run.train import Step, TrainingControl, learning_rate, train
from antipasto_bench.spec.compose import compose


@pytest.fixture
def model():
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)


def prepare(model, tokenizer, variant="lora", **given):
    run = compose(variant, {"steps": 6, "batch_size": 4} | given, "nano")
    antipasto.attach(model, run.adapter_config, generator=Generator().manual_seed(0))
    rows = load_splits(run.data, run.eval).train
    count = run.steps * run.batch_size * run.grad_accum
    return run, draw_examples(tokenizer, rows, count, run.data.max_length, Generator().manual_seed(0))


def batches(run, examples, tokenizer):
    width = run.data.max_length if run.pack else None
    return bucketed_batches(examples, run.batch_size, tokenizer.pad_token_id, Generator().manual_seed(0), width=width)


def trained(model, tokenizer, variant="lora", **given):
    run, examples = prepare(model, tokenizer, variant, **given)
    steps: list[Step] = []
    result = train(model, run, batches(run, examples, tokenizer), TrainingControl(on_step=steps.append))
    return result, steps


def test_loss_is_the_models_own_over_the_completion(model, tokenizer):
    _, examples = prepare(model, tokenizer)
    batch = collate(examples[:5], tokenizer.pad_token_id)
    scored = int((batch["labels"][:, 1:] != IGNORED).sum())
    reference = model(**batch).loss
    assert CompletionLoss(model)(batch).item() / scored == pytest.approx(reference.item(), rel=1e-5)


def test_padding_changes_no_loss(model, tokenizer):
    _, examples = prepare(model, tokenizer)
    together = CompletionLoss(model)(collate(examples[:4], tokenizer.pad_token_id)).item()
    alone = sum(CompletionLoss(model)(collate([e], tokenizer.pad_token_id)).item() for e in examples[:4])
    assert together == pytest.approx(alone, rel=1e-5)


def test_examples_packed_into_one_row_bear_the_loss_and_gradient_they_bear_alone(model, tokenizer):
    _, examples = prepare(model, tokenizer)
    torch.nn.init.normal_(antipasto.trainable_parameters(model)["model.layers.0.self_attn.v_proj.lora_B"], std=0.1)
    loss_of, found = CompletionLoss(model), []
    for width in (None, 200, 10**4):
        batch = collate(examples[:7], tokenizer.pad_token_id, width)
        model.zero_grad()
        loss = loss_of(batch)
        loss.backward()
        found.append(
            (len(batch["labels"]), loss.detach(), [p.grad.clone() for p in model.parameters() if p.requires_grad])
        )
    assert [rows for rows, _, _ in found][::2] == [7, 1]
    assert 1 < found[1][0] < 7
    for _, loss, grads in found[1:]:
        torch.testing.assert_close(loss, found[0][1])
        torch.testing.assert_close(grads, found[0][2], rtol=1e-4, atol=1e-4)


def test_a_packed_run_takes_the_steps_of_an_unpacked_one(tokenizer):
    steps = []
    for pack in (False, True):
        model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
        steps.append(trained(model, tokenizer, "antipasto", pack=pack)[1])
    for alone, packed in zip(*steps, strict=True):
        assert packed.tokens == alone.tokens
        assert packed.loss == pytest.approx(alone.loss, rel=1e-4)


def tiny(kind, **more):
    torch.manual_seed(0)
    small = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "head_dim": 8}
    config = AutoConfig.for_model(kind, num_attention_heads=4, num_key_value_heads=2, **small | more)
    return AutoModelForCausalLM.from_config(config).float()


@pytest.mark.parametrize(
    ("kind", "kept_apart"), [("llama", True), ("qwen3", True), ("gemma2", True), ("qwen3_5_text", False)]
)
def test_what_a_model_does_with_packed_rows_is_found_by_trying(kind, kept_apart):
    assert packs(tiny(kind)) == kept_apart


@pytest.mark.parametrize(
    ("kind", "more", "plain"),
    [
        ("llama", {}, True),
        ("qwen3_5_text", {}, True),
        ("gemma2", {"final_logit_softcapping": 5.0}, False),
        ("granite", {"logits_scaling": 3.0}, False),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at_once", [4 * 64 * 4, completion_loss.LOGITS_BYTES])  # logits of four tokens, of all
def test_the_loss_by_chunks_is_that_of_the_models_own_logits(kind, more, plain, dtype, at_once, monkeypatch):
    """Also where there are few logits, or they are scaled or bent, which keeps the chunks from being used."""
    monkeypatch.setattr(completion_loss, "LOGITS_BYTES", at_once)
    model = tiny(kind, **more).to(dtype)
    assert (plain_head(model) is not None) == plain
    ids = torch.randint(64, (3, 12), generator=Generator().manual_seed(1))
    batch = {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)}
    batch["labels"][:, :5] = IGNORED
    inputs = model.get_input_embeddings().weight
    loss = CompletionLoss(model)(batch)
    (grad,) = torch.autograd.grad(loss, inputs)
    logits = model(input_ids=ids).logits[:, 4:-1]
    reference = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 5:].flatten(), reduction="sum")
    (expected,) = torch.autograd.grad(reference, inputs)
    exact = dtype == torch.float32
    assert loss.item() == pytest.approx(reference.item(), rel=1e-5 if exact else 3e-3)
    assert (grad - expected).float().norm() <= (1e-4 if exact else 3e-2) * expected.float().norm()


@pytest.mark.parametrize(
    ("kind", "more"),
    [("llama", {}), ("qwen3", {}), ("gemma2", {"final_logit_softcapping": None}), ("qwen3_5_text", {})],
)
@pytest.mark.parametrize("variant", ["lora", "antipasto", "hra"])
def test_the_last_mlp_works_where_there_are_labels_alone(kind, more, variant, monkeypatch):
    """And the loss and every gradient are what they are with the whole of it."""
    model = tiny(kind, **more)
    cfg = antipasto.CONFIGS[variant](r=4, target_names=(".*_proj",))
    antipasto.attach(model, cfg, generator=Generator().manual_seed(0))
    for tensor in antipasto.trainable_parameters(model).values():
        torch.nn.init.normal_(tensor, std=0.1)
    ids = torch.randint(64, (3, 12), generator=Generator().manual_seed(1))
    batch = {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)}
    batch["labels"][:, :9] = IGNORED
    seen = []
    model.base_model.layers[-1].mlp.act_fn.register_forward_hook(lambda module, args, out: seen.append(out.shape[:-1]))
    found = []
    for last in (last_mlp, lambda model: None):
        monkeypatch.setattr(completion_loss, "last_mlp", last)
        loss_of = CompletionLoss(model)
        seen.clear()
        loss = loss_of(batch)
        assert seen == [(1, 9) if found == [] else (3, 12)]
        found.append([loss, *torch.autograd.grad(loss, list(antipasto.trainable_parameters(model).values()))])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    assert model.base_model.layers[-1].mlp._forward_pre_hooks == {}


class Waits(TorchDispatchMode):
    """Notes where something is done that on a GPU would make the host wait: values are read, or copied from it."""

    KINDS = ("_local_scalar_dense", "nonzero", "equal", "lift_fresh", "_linalg_check_errors")

    def __init__(self) -> None:
        self.seen: list[str] = []
        super().__init__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in self.KINDS:
            places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()[:-1]]
            self.seen.append(next(place for place in reversed(places) if "/torch/" not in place))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("cfg", [*trained_configs(), antipasto.AntiPaSTOConfig(r=8, block_size=8)], ids=name_of)
def test_a_step_asks_nothing_of_the_device(cfg):
    model = tiny("qwen3")
    cfg = replace(cfg, target_names=(".*_proj",))
    data = [{"input_ids": torch.arange(48).view(4, 12)}]
    antipasto.attach(model, cfg, data if cfg.needs_data() else None)
    steps = AdapterOptimizer(model.train(), compose("lora", {}, "nano"))
    ids = torch.randint(64, (3, 12), generator=Generator().manual_seed(1))
    batch = {"input_ids": ids, "labels": ids.clone()}
    batch["labels"][:, :5] = IGNORED
    steps.step([batch], 1e-3)  # the optimizer makes its state
    with Waits() as waits:
        steps.step([batch], 1e-3)
    assert waits.seen, "the labels, which stay on the CPU, are read"
    of_labels = ("/antipasto_bench/run/step.py:", "/antipasto_bench/run/completion_loss.py:")
    assert [place for place in waits.seen if not any(file in place for file in of_labels)] == []


def test_a_checkpointed_model_keeps_its_last_mlp_whole(model):
    assert last_mlp(model) is model.model.layers[-1].mlp
    model.activation_checkpointing_enable()
    assert last_mlp(model) is None


def test_an_mlp_whose_every_row_is_looked_at_stays_whole(model):
    model.model.norm.register_forward_hook(lambda module, args, out: out.cumsum(1))
    assert last_mlp(model) is None


def test_an_adapted_output_layer_is_not_passed_by(model):
    plain = plain_head(model)
    cfg = antipasto.LoRAConfig(r=2, target_names=("lm_head",), exclude_names=())
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())  # tied weights are no target
    antipasto.attach(model, cfg)
    assert plain is not None
    assert plain_head(model) is None


@pytest.mark.parametrize(
    ("variant", "given"),
    [("lora", {"lr": 3e-3}), ("antipasto", {"lr": 5e-2}), ("antipasto", {"lr": 5e-2, "rotate_basis": "none"})],
)
def test_training_lowers_the_loss_and_touches_only_the_adapter(model, tokenizer, variant, given):
    before = [p.detach().clone() for p in model.parameters()]
    result, steps = trained(model, tokenizer, variant, steps=40, batch_size=8, **given)
    first, last = (sum(s.loss for s in part) / 10 for part in (steps[:10], steps[-10:]))
    assert last < 0.8 * first
    assert result.first_loss == steps[0].loss
    assert result.last_loss == pytest.approx(sum(s.loss for s in steps[-4:]) / 4)
    assert [s.step for s in steps] == list(range(1, 41))
    assert result.tokens == sum(s.tokens for s in steps) > 40 * 8 * 40
    antipasto.detach(model)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_the_same_run_twice_gives_identical_numbers(tokenizer):
    results = []
    for _ in range(2):
        model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
        _, steps = trained(model, tokenizer, "antipasto")
        results.append([(s.loss, s.grad_norm) for s in steps])
    assert results[0] == results[1]


def test_accumulated_micro_batches_are_the_large_batch(tokenizer):
    """Every completion token weighs the same, so 2 x 4 examples take the very step of 8."""
    norms = []
    for given in ({"batch_size": 8}, {"batch_size": 4, "grad_accum": 2}):
        model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
        _, steps = trained(model, tokenizer, steps=1, **given)
        norms.append((steps[0].loss, steps[0].grad_norm))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_the_mean_of_micro_batches_is_of_their_own_means(model, tokenizer):
    """Padding and the lengths of answers differ, so that both means differ; each is that of the model's own losses."""
    run, examples = prepare(model, tokenizer, "lora", steps=1, batch_size=2, grad_accum=3, loss_mean="micro-batches")
    micro_batches = list(batches(run, examples, tokenizer))
    own = [model(**batch).loss for batch in micro_batches]
    parameters = antipasto.trainable_parameters(model).values()
    norm = torch.nn.utils.get_total_norm(torch.autograd.grad(sum(own) / 3, parameters))
    losses, counts = [loss.item() for loss in own], [labelled(batch) for batch in micro_batches]
    by_tokens = compose("lora", {"loss_mean": "tokens"}, "nano")
    loss, grad_norm = AdapterOptimizer(model, run).step(micro_batches, 0.0).read()
    assert (loss, grad_norm) == pytest.approx((sum(losses) / 3, norm.item()), rel=1e-4)
    mean = sum(loss * n for loss, n in zip(losses, counts, strict=True)) / sum(counts)
    assert AdapterOptimizer(model, by_tokens).step(micro_batches, 0.0).read()[0] == pytest.approx(mean, rel=1e-5)
    assert abs(mean - loss) > 1e-3, "the two differ here"


def labelled(batch) -> int:
    return int((batch["labels"][:, 1:] != IGNORED).sum())


@pytest.mark.parametrize("width", [None, 512])
def test_a_loss_on_all_tokens_is_the_models_own_loss_of_whole_texts(model, tokenizer, width):
    run = compose("lora", {"steps": 1, "batch_size": 6, "loss_on": "all"}, "nano")
    examples = drawn_examples(run, tokenizer, load_splits(run.data, run.eval))
    batch = collate(examples, tokenizer.pad_token_id, width)
    texts = [torch.tensor([e.ids]) for e in examples]
    alone = sum(model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1) for ids in texts)
    assert labelled(batch) == sum(ids.shape[1] - 1 for ids in texts)
    assert CompletionLoss(model)(batch).item() == pytest.approx(alone, rel=1e-4)


def test_b_learns_at_its_own_rate_and_all_else_at_the_runs(model, tokenizer):
    """The first step of Adam is the learning rate, whatever the gradient is."""
    run, examples = prepare(model, tokenizer, "dora", steps=1, lr_ratio=16.0)
    torch.nn.init.normal_(antipasto.trainable_parameters(model)["model.layers.0.self_attn.v_proj.lora_B"])
    before = {name: p.detach().clone() for name, p in antipasto.trainable_parameters(model).items()}
    optimizer = AdapterOptimizer(model, run)
    optimizer.step(list(batches(run, examples, tokenizer)), 1e-3)
    for part, rate in (("lora_A", 1e-3), ("lora_m", 1e-3), ("lora_B", 1.6e-2)):
        name = f"model.layers.0.self_attn.v_proj.{part}"
        moved = antipasto.trainable_parameters(model)[name].detach() - before[name]
        assert moved.abs().max().item() == pytest.approx(rate, rel=1e-2)
    assert len(optimizer.parameters) == sum(len(group["params"]) for group in optimizer.optimizer.param_groups)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"warmup": 0}, "cosine"),
        ({"schedule": "linear", "warmup": 0}, "linear"),
        ({"schedule": "linear"}, "linear"),
        ({"schedule": "constant"}, "constant_with_warmup"),
        ({}, "cosine"),
    ],
)
def test_a_schedule_is_that_of_transformers(given, name):
    """But for the warm-up, whose first step is of rate 0 there, and whose last one is of the full rate here."""
    run = compose("lora", {"steps": 40, "lr": 2.0} | given, "nano")
    rising = round(run.warmup * run.steps)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    theirs = get_scheduler(name, optimizer, rising, run.steps)
    rates = []
    for _ in range(run.steps):
        rates += theirs.get_last_lr()
        optimizer.step()
        theirs.step()
    ours = [learning_rate(step, run) for step in range(run.steps)]
    assert ours[rising:] == pytest.approx(rates[rising:])
    assert ours[:rising] == pytest.approx(rates[1 : rising + 1])


def test_learning_rate_rises_then_falls_to_nothing():
    run = compose("lora", {"steps": 100, "lr": 2.0, "warmup": 0.1}, "nano")
    rates = [learning_rate(step, run) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(2.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(1.0)
    assert rates[99] < 1e-3


def test_divergence_stops_the_run_with_its_reason(model, tokenizer):
    with pytest.raises(RunFailure, match=r"(loss|gradient norm) is (nan|inf) at step \d of 6 \(lr 1e\+30\)"):
        trained(model, tokenizer, lr=1e30)


def test_a_base_that_changes_or_takes_a_gradient_is_caught(model, tokenizer):
    run, examples = prepare(model, tokenizer)
    weight = model.model.layers[0].mlp.down_proj.weight

    def tamper(step: Step) -> None:
        weight.data[3, 5] += 1e-3

    with pytest.raises(RunFailure, match="weights changed"):
        train(model, run, batches(run, examples, tokenizer), TrainingControl(on_step=tamper))
    weight.requires_grad_(True)
    with pytest.raises(RunFailure, match="received a gradient"):
        train(model, run, batches(run, examples, tokenizer))


def test_a_bfloat16_base_trains_float32_adapters(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.bfloat16)
    result, _ = trained(model, tokenizer, "antipasto", steps=20, batch_size=4, dtype="bfloat16", lr=2e-2)
    assert result.last_loss < 0.95 * result.first_loss
    assert all(p.dtype == torch.float32 for p in antipasto.trainable_parameters(model).values())
    assert math.isfinite(result.mean_grad_norm)
