"""Small models with random weights in the layout of a hub snapshot, read in an instant."""

import shutil
from pathlib import Path

import torch
from conftest import EMBEDDED
from safetensors.torch import load_file
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MarianConfig,
    MarianMTModel,
)

TOKENIZER_FILES = {
    "translation": ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json"),
    "sentiment": ("vocab.txt", "tokenizer.json", "tokenizer_config.json"),
}


def write_tiny(task: str, folder: Path, **settings: object) -> Path:
    """Writes a model of `task` into `folder`, its configuration changed by `settings`."""
    torch.manual_seed(0)
    model = (tiny_marian if task == "translation" else tiny_distilbert)(settings)
    model.save_pretrained(folder)
    for name in TOKENIZER_FILES[task]:
        shutil.copyfile(EMBEDDED / task / "pytorch" / name, folder / name)
    return folder


def tiny_marian(settings: dict[str, object]) -> MarianMTModel:
    known = MarianConfig.from_pretrained(EMBEDDED / "translation/pytorch")
    sizes = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_layers": 1}
    sizes |= {"decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    return MarianMTModel(MarianConfig(**{**known.to_dict(), **sizes, **settings}))


def tiny_distilbert(settings: dict[str, object]) -> DistilBertForSequenceClassification:
    labels = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    sizes = {"dim": 16, "hidden_dim": 16, "n_heads": 2, "n_layers": 1}
    return DistilBertForSequenceClassification(DistilBertConfig(**{**labels, **sizes, **settings}))


def save_as_pickle(folder: Path, *, as_zip: bool) -> None:
    """Puts the weights of `folder` into the hub's older format; before 2020 that was no zip file."""
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=as_zip)
    (folder / "model.safetensors").unlink()


def hub_cache(folder: Path, model: Path, repository: str, *revisions: str, main: str = "") -> Path:
    """A hub cache below `folder` that holds `model` under each of `revisions`, refs/main naming `main`."""
    place = folder / f"models--{repository.replace('/', '--')}"
    for revision in revisions:
        shutil.copytree(model, place / "snapshots" / revision)
    if main:
        (place / "refs").mkdir(parents=True)
        (place / "refs/main").write_text(f"{main}\n")
    return place
