"""The tuner types of PEFT, by name: what can be said of them where PEFT is not installed."""

from __future__ import annotations

PREFIX = "peft:"

# By the lower-case name that PEFT registers a type under. A type that is not here is looked for in PEFT itself.
TYPES = {
    "adalora": "LoRA as an SVD whose singular values are pruned while it trains",
    "adamss": "adapters in subspaces that an SVD of the weight and clustering give",
    "adaption_prompt": "LLaMA-Adapter: gated attention to trained prompts in the top layers",
    "beft": "a trained bias of the projections",
    "boft": "orthogonal butterfly factors that multiply the weight",
    "c3a": "a change of the weight by circular convolution with trained kernels",
    "cartridge": "a trained key-value cache in place of a long prompt",
    "cpt": "trained embeddings of a given context, kept near where they began",
    "deft": "a projection of the weight out of a subspace, and a change in it",
    "delora": "LoRA of normalised components and a trained strength",
    "fourierft": "a change of the weight with a few trained Fourier coefficients",
    "frod": "sparse coefficients in a basis that all layers of a kind share",
    "glora": "trained scales and shifts of weight, bias and input",
    "gralora": "LoRA by blocks of the weight",
    "hira": "a low-rank change multiplied entry by entry with the weight",
    "hra": "a product of trained Householder reflections",
    "ia3": "trained scales of keys, values and MLP activations",
    "lily": "low-rank factors shared between layers by a router",
    "ln_tuning": "the scales of the norms",
    "loha": "the entry-by-entry product of two low-rank changes",
    "lokr": "a Kronecker product as the change",
    "lora": "a low-rank change B A of the weight; DoRA, PiSSA, OLoRA, ... by its settings",
    "miss": "blocks of the weight's change share one small matrix",
    "multitask_prompt_tuning": "prompt tuning with a part shared between tasks",
    "oft": "orthogonal blocks that multiply the weight",
    "osf": "the low singular directions of the weight itself, the high ones frozen",
    "p_tuning": "trained prompt embeddings that a small network makes",
    "peanut": "a change of the weight by a small network of the weight itself",
    "poly": "a mixture of LoRA skills, chosen by task",
    "prefix_tuning": "trained keys and values before the prompt, in every layer",
    "prompt_tuning": "trained embeddings before the prompt",
    "psoft": "an orthogonal turn within the weight's principal subspace",
    "pvera": "VeRA with trained means and variances",
    "randlora": "a full-rank sum of scaled random factors",
    "road": "two-dimensional rotations of the outputs",
    "shadow": "a small network beside the model, which reads its states",
    "shira": "a sparse change of the weight at random places",
    "supertuning": "a sparse change at the places of largest or least weights",
    "tinylora": "a handful of trained numbers, projected into the weight's singular space",
    "trainable_tokens": "the embeddings of given tokens",
    "unilora": "one small vector that all low-rank factors are drawn from",
    "vblora": "low-rank factors composed of vectors of a shared bank",
    "vera": "scales of random low-rank factors that all layers share",
    "waveft": "a change of the weight with a few trained wavelet coefficients",
}
REFUSED = {
    "xlora": "it mixes LoRA adapters that are trained before; there is none to begin with",
    "cartridge": "its cache is distilled from a text, by a training of its own",
    "cpt": "its context and the loss over it are a training of its own",
    "multitask_prompt_tuning": "it needs several tasks, and a run has one",
    "poly": "it needs several tasks, and a run has one",
    "shadow": "its auxiliary loss and its cache are a training and a generation of their own",
}
PROMPTS = frozenset({"prompt_tuning", "prefix_tuning", "p_tuning"})  # stand before the model, and change no layer
# Made for embeddings, attention, norms, or keys, values and MLP activations: PEFT knows which layers these are.
OWN_LAYERS = frozenset({"adaption_prompt", "ia3", "ln_tuning", "trainable_tokens"})
NO_CHANGE_OF_WEIGHTS = PROMPTS | {"adaption_prompt"}  # cannot be merged


def is_peft(variant: str) -> bool:
    """Whether a variant's name is that of a tuner type of PEFT."""
    return variant.startswith(PREFIX)


def type_of(variant: str) -> str:
    """A type's name, from that of a variant."""
    return variant.removeprefix(PREFIX).lower()
