"""The PyTorch artefact of a task, which `baseline/` loads: float32 safetensors and tokenizer."""

from typing import Any

from model_export.manifest import Manifest
from model_export.pretrained import Pretrained


def write_pytorch(manifest: Manifest, task: str, pretrained: Pretrained, source_sha256: str | None) -> None:
    """Publishes `<task>/pytorch`, with the generation settings that every server follows.

    `source_sha256` is the digest of the files that the model was read from, where those may change.
    """
    facts: dict[str, Any] = {
        "task": task,
        "format": "PyTorch float32",
        "architecture": pretrained.architecture,
        "origin": pretrained.origin,
        "trained": pretrained.trained,
        "parameters": pretrained.model.num_parameters(),
    }
    if source_sha256 is not None:
        facts["source_sha256"] = source_sha256
    if task == "translation":
        facts["generation"] = generation_settings(pretrained)
        facts["source_language"] = source_language(pretrained)
        if target := getattr(pretrained.tokenizer, "target_lang", None):
            facts["target_language"] = target
    with manifest.publish(f"{task}/pytorch", facts) as folder:
        pretrained.save(folder)


def source_language(pretrained: Pretrained) -> str:
    """The language whose rules split texts into sentences: the tokenizer's, or English."""
    return getattr(pretrained.tokenizer, "source_lang", None) or "en"


def generation_settings(pretrained: Pretrained) -> dict[str, Any]:
    """Greedy decoding's limits, the same in all servers.

    A trained model may generate `2 x source tokens + 16` tokens, its end token included: more than German
    needs, so the bound only ends repetition. Random weights end texts at random, so each request decodes
    exactly as many tokens as its source has, which keeps lengths natural.
    """
    longest = pretrained.model.config.max_position_embeddings
    if pretrained.trained:
        return {
            "tokens_per_source_token": 2,
            "extra_tokens": 16,
            "fixed_length": False,
            "max_tokens": longest,
        }
    return {"tokens_per_source_token": 1, "extra_tokens": 0, "fixed_length": True, "max_tokens": longest}
