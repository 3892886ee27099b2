"""How long a translation may be: the same for every engine, from the manifest of the models."""

from typing import Any


class Lengths:
    """`facts` are those of translation/onnx. Lengths are in tokens, the end token among them."""

    def __init__(self, facts: dict[str, Any]) -> None:
        limits = facts["generation"]
        self.fixed: bool = limits["fixed_length"]
        self._per_token, self._extra = limits["tokens_per_source_token"], limits["extra_tokens"]
        self._most = limits["max_tokens"]

    def max_new_tokens(self, source_tokens: int) -> int:
        return min(self._per_token * source_tokens + self._extra, self._most)
