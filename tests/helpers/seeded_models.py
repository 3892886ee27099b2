"""Seeded weights in the shapes and with the vocabularies of two real OPUS-MT models.

What they write is no language, but it varies with the source and the step, ends at lengths that differ, and
its logits are far apart. The models themselves are no part of a checkout.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import MarianConfig, MarianMTModel

REAL = Path(__file__).resolve().parents[3] / "shared" / "real_tokenizers"
REAL_NAMES = ("opus-mt-en-mg", "opus-mt-tc-big-fr-en")
SEED = 0
# transformers computes the sines of each position of each dimension in Python, at each load.
MAX_POSITIONS = 512
# Of weights, as multiples of 1/sqrt(inputs). Weak layers keep what the last token was; the last feed-forward
# of the decoder turns it into something else, without which a model of tied embeddings repeats it.
QUERY_KEY, WEAK, LAST = 2.0, 0.5, 6.0
EMBEDDING = 2.0
# How much likelier than another token the end token is, as a logit.
END_BIAS = 6.0


def real_vocabulary(name: str) -> Path:
    """The folder of a real model without its weights; a test is skipped where it is not there."""
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


def write_seeded_model(source: Path, folder: Path, layers: int | None = None) -> Path:
    """Writes `source`, a model without weights, as the hub has one: with weights in the type it names.

    `layers` replaces its number of layers, and then it has at most MAX_POSITIONS; else its shape is its own.
    """
    config = MarianConfig.from_pretrained(source)
    if layers is not None:
        config.encoder_layers = config.decoder_layers = config.num_hidden_layers = layers
        config.max_position_embeddings = min(config.max_position_embeddings, MAX_POSITIONS)
    torch.manual_seed(SEED)
    model = MarianMTModel(config)
    seed_weights(model)
    model.to(config.dtype or torch.float32).save_pretrained(folder)
    # transformers moves what the configuration says of generation into a file that not every model has.
    (folder / "generation_config.json").unlink()
    for path in source.iterdir():
        shutil.copyfile(path, folder / path.name)
    written = json.loads((source / "config.json").read_text())
    changed = ("encoder_layers", "decoder_layers", "max_position_embeddings")
    written |= {name: getattr(config, name) for name in changed}
    (folder / "config.json").write_text(json.dumps(written))
    return folder


@torch.no_grad()
def seed_weights(model: MarianMTModel) -> None:
    config = model.config
    last = f"model.decoder.layers.{config.decoder_layers - 1}.fc"
    for name, values in model.named_parameters():
        if "embed_positions" in name:
            continue
        if values.dim() == 1:
            values.normal_(float(name.endswith("norm.weight")), 0.05)
            continue
        gain = WEAK
        if "shared" in name:
            gain = EMBEDDING
        elif "q_proj" in name or "k_proj" in name:
            gain = QUERY_KEY
        elif name.startswith(last):
            gain = LAST
        values.normal_(0, gain * values.shape[1] ** -0.5)
        if "fc2" in name:
            # Activations have a positive mean, which would make the same tokens the best ones at every step.
            values -= values.mean(1, keepdim=True)
    model.final_logits_bias[0, config.eos_token_id] = END_BIAS
