"""Text to tokens and back without transformers, equal to its tokenizers for these models."""

import json
from pathlib import Path

import sentencepiece
import tokenizers

WORD_BOUNDARY = "▁"


class MarianTokenizer:
    """A Marian model's SentencePiece models and vocabulary."""

    def __init__(self, folder: Path) -> None:
        self._source = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
        self._target = sentencepiece.SentencePieceProcessor(model_file=str(folder / "target.spm"))
        self._ids: dict[str, int] = json.loads((folder / "vocab.json").read_text())
        self._pieces = {index: piece for piece, index in self._ids.items()}
        self.unknown_id = self._ids["<unk>"]
        self.end_id = self._ids["</s>"]
        self._special = {self.unknown_id, self.end_id, self._ids["<pad>"]}
        self.meaningless = {*self._special, self._ids.get(WORD_BOUNDARY, self.unknown_id)}

    def encode(self, text: str) -> list[int]:
        """Token ids, the end token among them."""
        pieces = self._source.encode(text, out_type=str)
        return [*(self._ids.get(piece, self.unknown_id) for piece in pieces), self.end_id]

    def decode(self, token_ids: list[int]) -> str:
        pieces = [self._pieces[index] for index in token_ids if index not in self._special]
        return self._target.decode_pieces(pieces).replace(WORD_BOUNDARY, " ").strip()


class BertTokenizer:
    """A BERT model's WordPiece tokenizer."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        # A saved tokenizer may hold limits of its own; text is never cut silently.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        special = "[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"
        self.meaningless = {*map(self._tokenizer.token_to_id, special)}

    def encode(self, text: str) -> list[int]:
        """Token ids, [CLS] and [SEP] among them."""
        return self._tokenizer.encode(text).ids
