"""Tensors as binary data, in the layout of Triton's extension of the Open Inference Protocol.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import struct
from collections.abc import Sequence

LENGTH_BYTES = 4


def decode_bytes(data: bytes, count: int) -> list[bytes]:
    """The `count` elements of a BYTES tensor: each is its length, uint32 little-endian, and as many bytes.

    Raises ValueError where `data` does not hold exactly these.
    """
    elements, at = [], 0
    for index in range(count):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "little")
        if start > len(data) or at > len(data):
            raise ValueError(f"Binary data should hold {count} elements, and ends within number {index + 1}")
        elements.append(data[start:at])
    if at != len(data):
        raise ValueError(
            f"Binary data should end with element number {count}, {len(data) - at} bytes earlier"
        )
    return elements


def encode_bytes(elements: Sequence[bytes]) -> bytes:
    """A BYTES tensor of `elements`."""
    return b"".join(len(element).to_bytes(LENGTH_BYTES, "little") + element for element in elements)


def encode_fp32(values: Sequence[float]) -> bytes:
    """An FP32 tensor of `values`, little-endian."""
    return struct.pack(f"<{len(values)}f", *values)
