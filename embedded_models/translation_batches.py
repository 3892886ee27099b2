"""The translator's training data: sentence pairs as SentencePiece ids, in padded batches of like length."""

import io
import random

import sentencepiece
import torch

from embedded_models.training_data import InputError

MAX_POSITIONS = 256
EOS_ID, UNKNOWN_ID = 0, 1
BATCH_TOKENS = 4096

Row = tuple[list[int], list[int]]


def learn_pieces(pairs: list[tuple[str, str]], vocab_size: int) -> bytes:
    """A SentencePiece unigram model of both languages together, as the bytes of its .spm file."""
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(sentence for pair in pairs for sentence in pair),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="unigram",
            character_coverage=1.0,
            eos_id=EOS_ID,
            unk_id=UNKNOWN_ID,
            bos_id=-1,
            pad_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(
            f"--vocab-size {vocab_size} does not fit this text: {str(error).splitlines()[-1]}"
        ) from error
    return model.getvalue()


def encode_pairs(pairs: list[tuple[str, str]], pieces: sentencepiece.SentencePieceProcessor) -> list[Row]:
    """Piece ids of each pair, each sentence closed with the end mark."""
    rows = [([*pieces.encode(source), EOS_ID], [*pieces.encode(target), EOS_ID]) for source, target in pairs]
    for (source, target), row in zip(pairs, rows, strict=True):
        if max(map(len, row)) > MAX_POSITIONS:
            raise InputError(
                f"a pair is longer than the model's {MAX_POSITIONS} positions: {(source + target)[:60]!r}"
            )
    return rows


def make_batches(rows: list[Row], rng: random.Random) -> list[list[Row]]:
    """Rows of like length together, at most BATCH_TOKENS padded tokens a batch, batches in random order."""
    batches: list[list[Row]] = []
    batch: list[Row] = []
    longest = 0
    for row in sorted(rows, key=lambda row: (len(row[0]), len(row[1]), rng.random())):
        longest = max(longest, len(row[0]), len(row[1]))
        if batch and longest * (len(batch) + 1) > BATCH_TOKENS:
            batches.append(batch)
            batch, longest = [], max(len(row[0]), len(row[1]))
        batch.append(row)
    batches.append(batch)
    rng.shuffle(batches)
    return batches


def pad(sequences: list[list[int]], pad_id: int) -> torch.Tensor:
    """One tensor of the sequences, each filled up to the longest."""
    padded = torch.full((len(sequences), max(map(len, sequences))), pad_id)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    return padded
