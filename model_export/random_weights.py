"""The hub models' exact architectures with seeded random weights: for speed only, the answers mean nothing.

Texts are tokenized by the embedded models' tokenizers, so that lengths are those of natural text; the
vocabulary is padded to the hub model's size.
"""

import json
import tempfile
from pathlib import Path

import torch
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertTokenizerFast,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
)

from model_export.embedded import WEIGHTS, encoder_folder
from model_export.pretrained import Pretrained

SEED = 0
MARIAN_VOCABULARY = 58_101


def make_random(task: str) -> Pretrained:
    """A model of the hub model's size; the same weights every time."""
    torch.manual_seed(SEED)
    return make_marian() if task == "translation" else make_distilbert()


def make_marian() -> Pretrained:
    pad = MARIAN_VOCABULARY - 1
    config = MarianConfig(
        vocab_size=MARIAN_VOCABULARY,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        activation_function="swish",
        scale_embedding=True,
        max_position_embeddings=512,
        pad_token_id=pad,
        eos_token_id=0,
        decoder_start_token_id=pad,
        forced_eos_token_id=None,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
    )
    model = MarianMTModel(config).eval()
    source = WEIGHTS / "translation-en-de"
    pieces = json.loads((source / "vocab.json").read_text())
    vocabulary = {piece: index for piece, index in pieces.items() if piece != "<pad>"}
    vocabulary |= {f"▁w{index}": index for index in range(len(vocabulary), pad)}
    vocabulary["<pad>"] = pad
    with tempfile.TemporaryDirectory() as folder:
        vocabulary_path = Path(folder) / "vocab.json"
        vocabulary_path.write_text(json.dumps(vocabulary))
        tokenizer = MarianTokenizer(
            str(source / "source.spm"),
            str(source / "target.spm"),
            str(vocabulary_path),
            source_lang="en",
            target_lang="de",
            model_max_length=512,
        )
        return Pretrained(model, tokenizer, origin("opus-mt-en-de"), trained=False)


def make_distilbert() -> Pretrained:
    config = DistilBertConfig(
        id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1}
    )
    tokenizer = DistilBertTokenizerFast(str(encoder_folder() / "vocab.txt"), model_max_length=512)
    model = DistilBertForSequenceClassification(config).eval()
    return Pretrained(model, tokenizer, origin("distilbert-base-uncased"), trained=False)


def origin(name: str) -> str:
    return f"random weights (seed {SEED}) in the architecture of {name}"
