"""Trains translation-en-de, a small English-German Marian, from parallel text; about 75 minutes on 2 cores.

Data: pairs of files, plain or .gz, one sentence a line, line n of one the translation of line n of the
other. The defaults are Multi30k (29,000 image captions) and Tatoeba (49,474 everyday sentences). Out
comes a folder in the hub's Marian layout, fp16. Methods: Transformer (Vaswani et al. 2017), SentencePiece
unigram pieces (Kudo 2018), label smoothing (Szegedy et al. 2016), AdamW (Loshchilov and Hutter 2019).
"""

import json
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast

import sentencepiece
import torch
import torch.nn.functional as F
import transformers
import typer
from rich.console import Console
from rich.progress import Progress, TextColumn
from transformers import GenerationConfig, MarianConfig, MarianMTModel, MarianTokenizer

from embedded_models.training_data import InputError, new_folder, read_parallel
from embedded_models.translation_batches import (
    EOS_ID,
    MAX_POSITIONS,
    Row,
    encode_pairs,
    learn_pieces,
    make_batches,
    pad,
)

ENGLISH = [Path("data/multi30k/train.en.gz"), Path("data/tatoeba/train.en.gz")]
GERMAN = [Path("data/multi30k/train.de.gz"), Path("data/tatoeba/train.de.gz")]
DROPOUT = 0.15
PEAK_LEARNING_RATE, LOWEST_LEARNING_RATE, WARMUP_STEPS = 1.1e-3, 1e-5, 500
LABEL_SMOOTHING = 0.1
MASK_ELEMENTS = 1 << 24

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)


def buffered_dropout(rng: random.Random) -> Callable[..., torch.Tensor]:
    """A stand-in for torch's dropout that cuts its masks from one buffer.

    Drawing a fresh mask for every call costs a CPU more than the layer that it masks.
    """
    mask = (torch.rand(MASK_ELEMENTS) >= DROPOUT).float() / (1 - DROPOUT)

    def dropout(
        x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or p == 0:
            return x
        start = rng.randrange(0, mask.numel() - x.numel())
        return x * mask[start : start + x.numel()].view(x.shape).to(x.dtype)

    return dropout


@contextmanager
def replaced_dropout(dropout: Callable[..., torch.Tensor]) -> Iterator[None]:
    """Marian calls torch's dropout by its module's name, so that this is the one place to replace it."""
    original = F.dropout
    F.dropout = dropout
    try:
        yield
    finally:
        F.dropout = original


def make_model(vocab_size: int) -> MarianMTModel:
    """An untrained 4 + 4 layer Marian; the padding mark follows the pieces, and decoding starts from it."""
    model = MarianMTModel(
        MarianConfig(
            vocab_size=vocab_size + 1,
            pad_token_id=vocab_size,
            decoder_start_token_id=vocab_size,
            eos_token_id=EOS_ID,
            forced_eos_token_id=EOS_ID,
            max_position_embeddings=MAX_POSITIONS,
            d_model=256,
            encoder_layers=4,
            decoder_layers=4,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=1024,
            decoder_ffn_dim=1024,
            activation_function="swish",
            scale_embedding=True,
            share_encoder_decoder_embeddings=True,
            tie_word_embeddings=True,
            init_std=0.02,
            dropout=DROPOUT,
            attention_dropout=0.0,
            activation_dropout=0.0,
            # The fused attention's bfloat16 backward pass is slow on short rows.
            attn_implementation="eager",
        )
    )
    model.generation_config = GenerationConfig(
        decoder_start_token_id=vocab_size,
        pad_token_id=vocab_size,
        eos_token_id=EOS_ID,
        forced_eos_token_id=EOS_ID,
        max_length=MAX_POSITIONS,
    )
    return model


def learning_rate(step: int, total_steps: int) -> float:
    """Linear warm-up, then a half cosine down to the lowest rate."""
    progress = max(0, step - WARMUP_STEPS) / max(1, total_steps - WARMUP_STEPS)
    factor = min(step / WARMUP_STEPS, 0.5 * (1 + math.cos(math.pi * progress)))
    return max(LOWEST_LEARNING_RATE, PEAK_LEARNING_RATE * factor)


def batch_loss(model: MarianMTModel, batch: list[Row], pad_id: int) -> torch.Tensor:
    """Label-smoothed cross entropy of each target piece given the ones before it."""
    source, target = pad([row[0] for row in batch], pad_id), pad([row[1] for row in batch], pad_id)
    shifted = torch.cat([torch.full((len(batch), 1), pad_id), target[:, :-1]], dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mask = (source != pad_id).long()
        logits = model(input_ids=source, attention_mask=mask, decoder_input_ids=shifted).logits
    return F.cross_entropy(
        logits.float().flatten(0, 1), target.flatten(), ignore_index=pad_id, label_smoothing=LABEL_SMOOTHING
    )


def fit(
    model: MarianMTModel, rows: list[Row], pad_id: int, epochs: int, max_steps: int | None, rng: random.Random
) -> None:
    """Trains the model in place; `max_steps` ends a run early and leaves its schedule as it was."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1, betas=(0.9, 0.98), eps=1e-9, weight_decay=1e-4, fused=True
    )
    total_steps = epochs * len(make_batches(rows, rng))
    last_step = min(total_steps, max_steps or total_steps)
    step = 0
    model.train()
    with Progress(
        *Progress.get_default_columns(), TextColumn("{task.fields[loss]}"), console=console
    ) as progress:
        task = progress.add_task("training", total=last_step, loss="")
        for epoch in range(1, epochs + 1):
            losses = []
            for batch in make_batches(rows, rng)[: last_step - step]:
                step += 1
                optimizer.param_groups[0]["lr"] = learning_rate(step, total_steps)
                loss = batch_loss(model, batch, pad_id)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())
                progress.update(task, advance=1, loss=f"loss {losses[-1]:.3f}")
            mean = sum(losses) / len(losses)
            progress.console.print(
                f"epoch {epoch}/{epochs}: loss {losses[0]:.3f} to {losses[-1]:.3f}, mean {mean:.3f}"
            )
            if step == last_step:
                return


def save(
    folder: Path, model: MarianMTModel, spm: bytes, pieces: sentencepiece.SentencePieceProcessor
) -> None:
    """Writes the hub's Marian layout: fp16 weights and a tokenizer with one set of pieces for both sides."""
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(spm)
    vocab = {pieces.id_to_piece(index): index for index in range(pieces.get_piece_size())}
    vocab["<pad>"] = pieces.get_piece_size()
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    tokenizer = MarianTokenizer(
        source_spm=str(folder / "source.spm"),
        target_spm=str(folder / "target.spm"),
        vocab=str(folder / "vocab.json"),
        source_lang="en",
        target_lang="de",
        model_max_length=MAX_POSITIONS,
    )
    tokenizer.save_pretrained(folder)
    cast(MarianMTModel, model.half()).save_pretrained(folder)


def train(
    files: list[tuple[Path, Path]],
    output: Path,
    epochs: int,
    seed: int,
    vocab_size: int,
    max_steps: int | None,
) -> None:
    """Reads the data, trains, and writes the folder."""
    pairs = [pair for source, target in files for pair in read_parallel(source, target)]
    with new_folder(output) as folder:
        with console.status(f"learning {vocab_size} pieces from {len(pairs)} pairs"):
            spm = learn_pieces(pairs, vocab_size)
        pieces = sentencepiece.SentencePieceProcessor(model_proto=spm)
        rows = encode_pairs(pairs, pieces)
        torch.manual_seed(seed)
        rng = random.Random(seed)
        # The mask is drawn before the weights: the weights in translation-en-de came from this order.
        dropout = buffered_dropout(rng)
        model = make_model(pieces.get_piece_size())
        with replaced_dropout(dropout):
            fit(model, rows, pieces.get_piece_size(), epochs, max_steps, rng)
        save(folder, model, spm, pieces)


@app.command(help=__doc__)
def main(
    english: Annotated[list[Path], typer.Option(help="English text; repeat for more files.")] = ENGLISH,
    german: Annotated[
        list[Path], typer.Option(help="German text; as many files, in the same order.")
    ] = GERMAN,
    output: Annotated[Path, typer.Option(help="The folder to make.")] = Path(
        "models-trained/translation-en-de"
    ),
    epochs: Annotated[int, typer.Option(min=1)] = 14,
    seed: Annotated[int, typer.Option()] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Torch's threads.")] = 2,
    vocab_size: Annotated[
        int, typer.Option(min=1, help="Pieces in the vocabulary of both languages.")
    ] = 8000,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop early, for a trial.")] = None,
) -> None:
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    try:
        if len(english) != len(german):
            raise InputError(
                f"{len(english)} --english files but {len(german)} --german files: they go in pairs"
            )
        train(list(zip(english, german, strict=True)), output, epochs, seed, vocab_size, max_steps)
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    console.print(f"wrote {output}")


if __name__ == "__main__":
    app()
