"""Small random Marian models, their exported graphs, and what Hugging Face answers with the same weights."""

import random
from pathlib import Path

import torch
from transformers import MarianConfig, MarianMTModel

from model_export.greedy_quantize import quantize_for_kernels
from model_export.instruction_sets import INSTRUCTION_SETS
from model_export.marian_graphs import build_decoder_step, build_encoder
from model_export.row_quantize import quantize_rows, save_graphs

TIED_LOGITS = 1e-4


NATIVE = {instructions.title: instructions for instructions in INSTRUCTION_SETS}


SUBJECTS = [
    "A man",
    "Two women",
    "A young boy",
    "An old man",
    "Three children",
    "A brown dog",
    "A girl in a red coat",
]


ACTIONS = [
    "is riding",
    "is looking at",
    "is standing next to",
    "is jumping over",
    "is painting",
    "is carrying",
]


OBJECTS = [
    "a bicycle",
    "a large white horse",
    "the wooden fence",
    "a blue ball",
    "some flowers",
    "a small boat",
]


PLACES = [
    "in the park",
    "on a busy street",
    "near the river",
    "in front of a house",
    "on the beach",
    "at night",
]


def captions(count: int) -> list[str]:
    draw = random.Random(7)
    parts = (SUBJECTS, ACTIONS, OBJECTS, PLACES)
    sentences = [" ".join(draw.choice(part) for part in parts) for _ in range(count)]
    # Lengths must differ: some captions lose their place, some go on.
    for index in range(0, count, 3):
        sentences[index] = " ".join(draw.choice(part) for part in parts[:3])
        sentences[index - 1] += " while " + " ".join(draw.choice(part) for part in parts).lower()
    return [f"{sentence}." for sentence in sentences]


def tiny_model(activation: str, *, scale_embedding: bool, final_bias: bool) -> MarianMTModel:
    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=300,
        decoder_vocab_size=300,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_position_embeddings=64,
        activation_function=activation,
        scale_embedding=scale_embedding,
        init_std=0.2,
        pad_token_id=299,
        eos_token_id=0,
        decoder_start_token_id=299,
    )
    model = MarianMTModel(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    if final_bias:
        model.final_logits_bias.normal_()
    return model


def export(model: MarianMTModel, folder: Path) -> Path:
    graphs = {"encoder.onnx": build_encoder(model), "decoder.onnx": build_decoder_step(model)}
    save_graphs(graphs, folder / "float32")
    save_graphs(quantize_rows(graphs), folder / "int8")
    for title, instructions in NATIVE.items():
        save_graphs(quantize_for_kernels(graphs, instructions), folder / title)
    return folder


def greedy_of_hugging_face(
    model: MarianMTModel, batch: list[list[int]], max_new: int, min_new: int
) -> list[list[int]]:
    ids = torch.full((len(batch), max(map(len, batch))), model.config.pad_token_id)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    mask = torch.arange(ids.shape[1]) < torch.tensor([[len(tokens)] for tokens in batch])
    answers = model.generate(
        ids,
        attention_mask=mask.long(),
        num_beams=1,
        do_sample=False,
        forced_eos_token_id=None,
        suppress_tokens=[model.config.pad_token_id],
        max_new_tokens=max_new,
        min_new_tokens=min_new,
    )
    pad, eos = model.config.pad_token_id, model.config.eos_token_id
    rows = [[token for token in answer[1:] if token != pad] for answer in answers.tolist()]
    return [row[: row.index(eos) + 1] if eos in row else row for row in rows]


def assert_same_or_tied(
    model: MarianMTModel, batch: list[list[int]], got: list[list[int]], expected: list[list[int]]
) -> None:
    for source, mine, theirs in zip(batch, got, expected, strict=True):
        if mine == theirs:
            continue
        step = next(i for i in range(len(mine)) if mine[: i + 1] != theirs[: i + 1])
        prefix = torch.tensor([[model.config.decoder_start_token_id, *mine[:step]]])
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([source]), decoder_input_ids=prefix).logits[0, -1]
        assert abs(logits[mine[step]] - logits[theirs[step]]) < TIED_LOGITS, f"{mine} instead of {theirs}"
