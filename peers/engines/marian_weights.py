"""A Marian model of Hugging Face's layout as Marian's own file: the reverse of transformers' converter.

Marian starts decoding from zeros, as published models do. The embedded model has a learned start, which is
lost: its answers may differ.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file

from dynamic_batching.web.model_files import find_model_files

NEVER_CHOSEN = -1e9
Weights = dict[str, np.ndarray]


def write_npz(models: Path, output: Path, vocabulary: Path) -> None:
    """Writes the weights as `output`, and the pieces' ids as `vocabulary`."""
    folder = models / "translation" / "pytorch"
    config = json.loads((folder / "config.json").read_text())
    ids: dict[str, int] = json.loads((folder / "vocab.json").read_text())
    entries = config["vocab_size"] - 1
    assert config["pad_token_id"] == entries, "the padding token, which Marian has not, must be the last one"
    vocabulary.write_text(json.dumps({piece: index for piece, index in ids.items() if index < entries}))
    weights = renamed(load_file(folder / "model.safetensors"), config, entries)
    if find_model_files(models, "translation/onnx").facts["generation"]["fixed_length"]:
        weights["decoder_ff_logit_out_b"][:, config["eos_token_id"]] = NEVER_CHOSEN
    options = yaml.safe_dump(marian_options(config, entries)) + "\0"
    weights["special:model.yml"] = np.frombuffer(options.encode(), np.int8)
    arrays: dict[str, Any] = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    np.savez(output, **arrays)


def renamed(weights: Weights, config: dict[str, Any], entries: int) -> Weights:
    """The weights by Marian's names, matrices as [input, output] and vectors as [1, size]."""
    bias = weights.get("final_logits_bias", np.zeros((1, entries), np.float32))
    found = {
        "Wemb": weights["model.shared.weight"][:entries],
        "decoder_ff_logit_out_b": bias.reshape(1, -1)[:, :entries].copy(),
    }

    def add(name: str, source: str, matrix: str, vector: str) -> None:
        weight = weights[f"{source}.weight"]
        found[f"{name}_{matrix}"] = weight.T if weight.ndim == 2 else weight[np.newaxis]
        found[f"{name}_{vector}"] = weights[f"{source}.bias"][np.newaxis]

    for side in ("encoder", "decoder"):
        for layer in range(config[f"{side}_layers"]):
            source, name = f"model.{side}.layers.{layer}", f"{side}_l{layer + 1}"
            attentions = {"self": "self_attn"} | ({"context": "encoder_attn"} if side == "decoder" else {})
            for attention, module in attentions.items():
                for letter, projection in zip(
                    "qkvo", ("q_proj", "k_proj", "v_proj", "out_proj"), strict=True
                ):
                    place = f"{source}.{module}.{projection}"
                    add(f"{name}_{attention}", place, f"W{letter}", f"b{letter}")
                add(f"{name}_{attention}_Wo", f"{source}.{module}_layer_norm", "ln_scale", "ln_bias")
            for number in ("1", "2"):
                add(f"{name}_ffn", f"{source}.fc{number}", f"W{number}", f"b{number}")
            add(f"{name}_ffn_ffn", f"{source}.final_layer_norm", "ln_scale", "ln_bias")
    return found


def marian_options(config: dict[str, Any], entries: int) -> dict[str, Any]:
    """What Marian reads about a model's architecture; what it has a default for is left out."""
    activation = config["activation_function"]
    return {
        "type": "transformer",
        "version": "v1.9.0",
        "dim-emb": config["d_model"],
        "dim-vocabs": [entries, entries],
        "tied-embeddings-all": True,
        "enc-depth": config["encoder_layers"],
        "dec-depth": config["decoder_layers"],
        "transformer-heads": config["encoder_attention_heads"],
        "transformer-dim-ffn": config["encoder_ffn_dim"],
        "transformer-ffn-depth": 2,
        "transformer-ffn-activation": "swish" if activation == "silu" else activation,
        "transformer-preprocess": "",
        "transformer-postprocess": "dan",
        "transformer-postprocess-emb": "d",
        "transformer-decoder-autoreg": "self-attention",
    }
