"""The weight layout of kernels/: int8 codes in panels, limited where sums are taken in 16 bits."""

import numpy as np

# The largest sum of codes whose products with bytes of up to 255 fit in a signed 16-bit integer.
MAX_SUM = 32767 // 255


def panels(codes: np.ndarray, panel: int) -> np.ndarray:
    """int8 codes [N,K] of N outputs as [P,K/4,panel,4], with zeros for outputs beyond N."""
    outputs, inputs = codes.shape
    padded = np.pad(codes, ((0, -outputs % panel), (0, 0)))
    return np.ascontiguousarray(padded.reshape(-1, panel, inputs // 4, 4).transpose(0, 2, 1, 3))


def int8_rows_for_16_bits(rows: np.ndarray, fours: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes of `rows` [N,K] whose products can be summed in 16 bits, and scales [N] exact in float16.

    That holds for products with unsigned bytes where the codes of one sign in a sum add up to MAX_SUM at
    most. So a row's scale may be larger than its largest weight requires, and where rounding to nearest would
    still exceed the limit, codes are rounded toward zero.
    """
    largest = np.maximum(
        np.abs(rows).max(axis=1) / 127, sums_in_16_bits(rows, fours).max(axis=(1, 2)) / MAX_SUM
    )
    half = largest.astype(np.float16)
    half = np.where(half < largest, np.nextafter(half, np.float16(np.inf)), half)
    scale = np.maximum(half, np.finfo(np.float16).smallest_subnormal).astype(np.float32)
    exact = rows / scale[:, None]
    codes = np.rint(exact).astype(np.int8)
    beyond = sums_in_16_bits(codes, fours)[:, :, None, :, None] > MAX_SUM
    beyond = np.broadcast_to(beyond, (*beyond.shape[:2], fours, 2, 2)).reshape(len(rows), -1)
    return np.where(beyond[:, : rows.shape[1]], np.trunc(exact), codes).astype(np.int8), scale


def sums_in_16_bits(rows: np.ndarray, fours: int) -> np.ndarray:
    """For each sum in 16 bits, the larger magnitude of its positive and its negative part: [N,K/(4*fours),2].

    One step sums, over its columns of `rows` [N,K], the first two of every four, and the last two.
    """
    wide = rows.astype(np.float32 if rows.dtype.kind == "f" else np.int32)
    padded = np.pad(wide, ((0, 0), (0, -rows.shape[1] % (4 * fours))))
    steps = padded.reshape(len(rows), -1, fours, 2, 2)
    return np.maximum(*(np.maximum(sign * steps, 0).sum(axis=(2, 4)) for sign in (1, -1)))
