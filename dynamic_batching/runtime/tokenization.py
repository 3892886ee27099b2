"""Text to tokens and back without transformers, equal to its tokenizers for these models."""

import json
import re
from pathlib import Path

import sentencepiece
import tokenizers

WORD_BOUNDARY = "▁"
LANGUAGE_CODE = re.compile(">>.*?<<", re.DOTALL)


class MarianTokenizer:
    """A Marian model's SentencePiece models and vocabulary."""

    def __init__(self, folder: Path) -> None:
        self._source = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
        self._target = sentencepiece.SentencePieceProcessor(model_file=str(folder / "target.spm"))
        self._ids: dict[str, int] = json.loads((folder / "vocab.json").read_text())
        self.unknown_id = self._ids["<unk>"]
        self.end_id = self._ids["</s>"]
        special = {self.unknown_id, self.end_id, self._ids["<pad>"]}
        self._pieces = {index: piece for piece, index in self._ids.items() if index not in special}
        codes = {index for piece, index in self._ids.items() if LANGUAGE_CODE.fullmatch(piece)}
        self.meaningless = {*special, self._ids.get(WORD_BOUNDARY, self.unknown_id), *codes}

    def encode(self, text: str) -> list[int]:
        """Token ids, the end token among them.

        At the start of a text, a language code that the vocabulary has is one of them.
        """
        pieces = []
        code = LANGUAGE_CODE.match(text)
        if code and code[0] in self._ids:
            pieces, text = [code[0]], text[code.end() :]
        pieces += self._source.encode(text, out_type=str)
        return [*(self._ids.get(piece, self.unknown_id) for piece in pieces), self.end_id]

    def decode(self, token_ids: list[int]) -> str:
        """The text that tokens spell; special ones, and those that the vocabulary lacks, spell nothing."""
        pieces = [self._pieces[index] for index in token_ids if index in self._pieces]
        return self._target.decode_pieces(pieces).replace(WORD_BOUNDARY, " ").strip()


class BertTokenizer:
    """A BERT model's WordPiece tokenizer."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        # A saved tokenizer may hold limits of its own; text is never cut silently.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # In a text [SEP] and the like are words.
        self._tokenizer.encode_special_tokens = True
        special = "[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"
        self.meaningless = {*map(self._tokenizer.token_to_id, special)}

    def encode(self, text: str) -> list[int]:
        """Token ids, [CLS] and [SEP] among them."""
        return self._tokenizer.encode(text).ids
