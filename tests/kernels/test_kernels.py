"""The native kernels, operator by operator: exact integers, floats near float64, the same bits alone."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_ops import (
    Chosen,
    activated,
    attention,
    codes_that_fit,
    heads_of,
    instructions,  # noqa: F401, used by every test
    linear_inputs,
    row_linear,
    run,
    session,
)

from model_export.kernel_weights import MAX_SUM, int8_rows_for_16_bits, sums_in_16_bits

EXAMPLES = settings(max_examples=100, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
ROWS, WIDTHS, OUTPUTS = st.integers(1, 70), st.integers(1, 90).map(lambda n: 4 * n), st.integers(1, 200)
HEADS, HEAD_DIMS = st.integers(1, 4), st.sampled_from([8, 16, 24, 32, 64, 80])
LENGTHS = st.lists(st.integers(1, 70), min_size=1, max_size=6)
MAGNITUDES = st.sampled_from([1e-42, 1e-35, 1e-20, 1e-3, 1.0, 1e4, 1e30])
FLOAT = (np.float32,)


def weights(draw: np.random.Generator, outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes [N,K], the extremes among them, and scales [N]."""
    codes = draw.integers(-127, 128, (outputs, inputs))
    # Outputs of large codes, of which few are left where sums must fit in 16 bits, and of ever smaller ones.
    codes = codes_that_fit((codes // draw.choice([1, 2, 8, 16], (outputs, 1))).astype(np.int8))
    return codes, draw.uniform(1e-4, 1e-1, outputs).astype(np.float32)


def floats(draw: np.random.Generator, *shape: int) -> np.ndarray:
    return draw.standard_normal(shape).astype(np.float32)


def close(got: np.ndarray, expected: np.ndarray, scale: Any) -> None:
    """Within 1e-5 of `scale`, what was added up to give `expected`."""
    error = np.abs(got - expected) - (1e-5 * scale + 1e-40)
    assert (error < 0).all(), error.max()


@EXAMPLES
@given(SEEDS, ROWS, WIDTHS, OUTPUTS)
def test_integer_products_are_exact(seed: int, rows: int, width: int, outputs: int) -> None:
    draw = np.random.default_rng(seed)
    codes, _ = weights(draw, outputs, width)
    x = draw.integers(-127, 128, (rows, width)).astype(np.float32)
    # A largest magnitude of 127 makes every row's scale 1.
    x[:, draw.integers(width)] = 127 * draw.choice([-1, 1], rows)
    ones = np.ones(outputs, np.float32)
    (got,) = run("RowLinear", [x, *linear_inputs(codes, ones)], FLOAT, activation=0)
    assert np.array_equal(got, x.astype(np.int64) @ codes.T.astype(np.int64))


def test_the_largest_sums_that_fit_are_exact() -> None:
    codes = codes_that_fit(np.full((4, 64), MAX_SUM // 8 if Chosen.instructions.fours else 127, np.int8))
    assert codes.all()
    codes *= np.array([[1], [-1], [1], [-1]], np.int8)
    x = np.full((2, 64), 127, np.float32) * np.float32([[1], [-1]])
    (got,) = run("RowLinear", [x, *linear_inputs(codes, np.ones(4, np.float32))], FLOAT, activation=0)
    assert np.array_equal(got, x.astype(np.int64) @ codes.T.astype(np.int64))


@EXAMPLES
@given(SEEDS, ROWS, WIDTHS, OUTPUTS, MAGNITUDES, st.integers(0, 3), st.booleans(), st.booleans())
def test_a_layer_is_near_its_definition(
    seed: int,
    rows: int,
    width: int,
    outputs: int,
    magnitude: float,
    activation: int,
    with_bias: bool,
    with_residual: bool,
) -> None:
    draw = np.random.default_rng(seed)
    codes, scale = weights(draw, outputs, width)
    x = floats(draw, rows, width) * np.float32(magnitude)
    x[draw.random(rows) < 0.2] = 0
    bias = floats(draw, outputs) if with_bias else None
    residual = floats(draw, rows, outputs) if with_residual else None
    (got,) = run("RowLinear", [x, *linear_inputs(codes, scale), bias, residual], FLOAT, activation=activation)
    before = row_linear(x, codes, scale, bias)
    expected = activated(before, activation) + (0 if residual is None else residual)
    added = np.abs(before - (0 if bias is None else bias)) + (0 if bias is None else np.abs(bias))
    close(got, expected, added + np.abs(expected))
    zeros = ~x.any(axis=1)
    alone = activated(np.zeros(outputs) if bias is None else bias.astype(np.float64), activation)
    close(got[zeros] - (0 if residual is None else residual[zeros]), alone, np.abs(alone) + 1)


@EXAMPLES
@given(SEEDS, ROWS, WIDTHS, st.integers(2, 200), MAGNITUDES, st.sampled_from([1e-12, 1e-5, 1e-1]))
def test_a_layers_norm_is_near_its_definition(
    seed: int, rows: int, width: int, outputs: int, magnitude: float, epsilon: float
) -> None:
    draw = np.random.default_rng(seed)
    codes, scale = weights(draw, outputs, width)
    magnitude = min(magnitude, 1e15)
    x, residual = (floats(draw, rows, size) * np.float32(magnitude) for size in (width, outputs))
    x[draw.random(rows) < 0.2] = 0
    layer = [x, *linear_inputs(codes, scale), None, residual]
    norm = [floats(draw, outputs), floats(draw, outputs), np.array([epsilon], np.float32)]
    (before,) = run("RowLinear", layer, FLOAT, activation=0)
    (got,) = run("RowLinear", [*layer, *norm], FLOAT, activation=0)
    wide = before.astype(np.float64)
    normal = wide - wide.mean(axis=1, keepdims=True)
    normal /= np.sqrt((normal**2).mean(axis=1, keepdims=True) + np.float32(epsilon))
    close(got, normal * norm[0] + norm[1], 10 * (np.abs(normal * norm[0]) + np.abs(norm[1]) + 1))
    (alone,) = run("RowLinear", [x[:1], *layer[1:-1], residual[:1], *norm], FLOAT, activation=0)
    assert np.array_equal(alone, got[:1])


@EXAMPLES
@given(SEEDS, ROWS, WIDTHS, OUTPUTS, st.integers(0, 3))
def test_a_layers_row_is_the_same_bits_alone_and_in_any_batch(
    seed: int, rows: int, width: int, outputs: int, activation: int
) -> None:
    draw = np.random.default_rng(seed)
    codes, scale = weights(draw, outputs, width)
    fixed = linear_inputs(codes, scale)
    x = floats(draw, rows, width) * draw.choice(np.float32([1e-3, 1, 1e3]), (rows, 1))
    bias, residual = floats(draw, outputs), floats(draw, rows, outputs)
    (together,) = run("RowLinear", [x, *fixed, bias, residual], FLOAT, activation=activation)
    for row in range(0, rows, 7):
        one = slice(row, row + 1)
        (alone,) = run("RowLinear", [x[one], *fixed, bias, residual[one]], FLOAT, activation=activation)
        assert np.array_equal(alone, together[one])


def test_a_layer_keeps_the_leading_shape_of_its_input() -> None:
    draw = np.random.default_rng(0)
    codes, scale = weights(draw, 70, 8)
    x = floats(draw, 3, 2, 8)
    (got,) = run("RowLinear", [x, *linear_inputs(codes, scale)], FLOAT, activation=0)
    (flat,) = run("RowLinear", [x.reshape(6, 8), *linear_inputs(codes, scale)], FLOAT, activation=0)
    assert got.shape == (3, 2, 70) and np.array_equal(got.reshape(6, 70), flat)


@EXAMPLES
@given(SEEDS, ROWS, WIDTHS, st.integers(3, 400), st.booleans())
def test_the_best_column_is_that_of_the_layer_without_what_is_forbidden(
    seed: int, rows: int, width: int, outputs: int, with_bias: bool
) -> None:
    draw = np.random.default_rng(seed)
    codes, scale = weights(draw, outputs, width)
    # Ties: some columns are copies of others.
    copies = draw.integers(outputs, size=outputs // 2)
    codes[: len(copies)], scale[: len(copies)] = codes[copies], scale[copies]
    x = floats(draw, rows, width)
    bias = np.repeat(floats(draw, 1), outputs) if with_bias else None
    (scores,) = run("RowLinear", [x, *linear_inputs(codes, scale), bias], FLOAT, activation=0)
    # The best one, none, and any.
    best = scores.argmax(axis=1)
    forbidden = np.stack([np.where(draw.random(rows) < 0.5, best, -1), draw.integers(-1, outputs, rows)], 1)
    (got,) = run("RowArgMax", [x, *linear_inputs(codes, scale), forbidden, bias], (np.int64,))
    for row, columns in enumerate(forbidden):
        scores[row, columns[columns >= 0]] = -np.inf
    assert got.shape == (rows, 1) and np.array_equal(got[:, 0], scores.argmax(axis=1))


@EXAMPLES
@given(SEEDS, WIDTHS, OUTPUTS)
def test_embedded_rows_are_codes_times_scale(seed: int, width: int, outputs: int) -> None:
    draw = np.random.default_rng(seed)
    codes, scale = weights(draw, outputs, width)
    table = linear_inputs(codes, scale)[:2]
    ids = draw.integers(outputs, size=(3, 5))
    (got,) = run("EmbedRows", [*table, ids], FLOAT)
    assert np.array_equal(got, codes[ids] * scale[ids][..., None])
    for bad in (-1, outputs):
        with pytest.raises(Exception, match="an id is beyond the table"):
            run("EmbedRows", [*table, np.array([bad])], FLOAT)


@EXAMPLES
@given(SEEDS, LENGTHS, HEADS, HEAD_DIMS)
def test_packed_texts_attend_each_to_itself(seed: int, lengths: list[int], heads: int, head_dim: int) -> None:
    draw = np.random.default_rng(seed)
    width = heads * head_dim
    qkv = floats(draw, sum(lengths), 3 * width)
    (got,) = run("PackedAttention", [qkv, np.array(lengths, np.int32)], FLOAT, heads=heads)
    start = 0
    for length in lengths:
        text = qkv[start : start + length]
        parts = zip(*(heads_of(part, heads) for part in np.split(text, 3, axis=1)), strict=True)
        close(got[start : start + length], np.hstack([attention(*part) for part in parts]), 4)
        (alone,) = run("PackedAttention", [text, np.array([length], np.int32)], FLOAT, heads=heads)
        assert np.array_equal(alone, got[start : start + length])
        start += length


def caches(draw: np.random.Generator, *shape: int) -> np.ndarray:
    return draw.standard_normal(shape).astype(np.float16)


@EXAMPLES
@given(SEEDS, LENGTHS, st.integers(1, 90))
def test_packed_texts_are_kept_as_rows(seed: int, lengths: list[int], width: int) -> None:
    x = floats(np.random.default_rng(seed), sum(lengths), width)
    (got,) = run("KeepRows", [x, np.array(lengths, np.int32)], (np.float16,))
    assert got.shape == (len(lengths), 1, max(lengths), width)
    starts = np.cumsum([0, *lengths])
    for row, length in enumerate(lengths):
        kept = x[starts[row] : starts[row + 1]].astype(np.float16)
        assert np.array_equal(got[row, 0, :length], kept) and not got[row, 0, length:].any()


@EXAMPLES
@given(SEEDS, LENGTHS, HEADS, HEAD_DIMS)
def test_a_query_attends_to_its_rows_valid_keys(
    seed: int, lengths: list[int], heads: int, head_dim: int
) -> None:
    draw = np.random.default_rng(seed)
    rows, longest, width = len(lengths), max(lengths) + int(draw.integers(3)), heads * head_dim
    keys, values = (caches(draw, rows, 1, longest, width) for _ in range(2))
    query, valid = floats(draw, rows, 1, width), np.array(lengths, np.int32)
    for row, length in enumerate(lengths):
        # What is beyond a row's length must not be read.
        keys[row, :, length:] = values[row, :, length:] = np.nan
    (got,) = run("CrossAttention", [query, keys, values, valid], FLOAT, heads=heads)
    for row, length in enumerate(lengths):
        close(got[row], attended(query[row], keys[row, 0, :length], values[row, 0, :length], heads), 4)
        one = slice(row, row + 1)
        parts = [query[one], keys[one, :, :length].copy(), values[one, :, :length].copy(), valid[one]]
        (alone,) = run("CrossAttention", parts, FLOAT, heads=heads)
        assert np.array_equal(alone, got[one])


def attended(query: np.ndarray, keys: np.ndarray, values: np.ndarray, heads: int) -> np.ndarray:
    """One query [1,W] over keys and values [L,W], head by head."""
    of_heads = zip(*(heads_of(part, heads) for part in (query, keys, values)), strict=True)
    return np.hstack([attention(*parts) for parts in of_heads])


STEP = (np.float32, np.float16, np.float16)


@EXAMPLES
@given(SEEDS, LENGTHS, HEADS, HEAD_DIMS)
def test_a_step_appends_its_key_and_value_and_attends_to_all(
    seed: int, lengths: list[int], heads: int, head_dim: int
) -> None:
    draw = np.random.default_rng(seed)
    rows, width = len(lengths), heads * head_dim
    past_len = np.array(lengths, np.int32) - 1
    past = [caches(draw, rows, 1, max(lengths) + 2, width) for _ in range(2)]
    given_past = [values.copy() for values in past]
    qkv = floats(draw, rows, 1, 3 * width)
    query, *new = np.split(qkv[:, 0], 3, axis=1)
    got, *present = run("StepAttention", [qkv, *past, past_len], STEP, heads=heads)
    for before, kept in zip(given_past, past, strict=True):
        assert np.array_equal(before, kept), "an input that is not bound as output too is not written"
    expected = [values.copy() for values in past]
    for row, at in enumerate(past_len):
        for values, token in zip(expected, new, strict=True):
            values[row, 0, at] = token[row].astype(np.float16)
    for values, wanted in zip(present, expected, strict=True):
        assert np.array_equal(values, wanted)
    for row, length in enumerate(lengths):
        keys, values = (cache[row, 0, :length] for cache in expected)
        close(got[row], attended(query[row : row + 1], keys, values, heads), 4)
        one = slice(row, row + 1)
        alone, *_ = run(
            "StepAttention",
            [qkv[one], *(values[one] for values in given_past), past_len[one]],
            STEP,
            heads=heads,
        )
        assert np.array_equal(alone, got[one])
    in_place = bound_step(qkv, past, past_len, heads)
    assert np.array_equal(in_place, got)
    for values, wanted in zip(past, expected, strict=True):
        assert np.array_equal(values, wanted)


def bound_step(qkv: np.ndarray, past: list[np.ndarray], past_len: np.ndarray, heads: int) -> np.ndarray:
    """A step whose present is bound to the memory of its past."""
    inputs = [qkv, *past, past_len]
    made = session(
        "StepAttention", tuple(v.dtype for v in inputs), tuple(map(np.dtype, STEP)), (("heads", heads),)
    )
    attended = np.empty((len(past_len), 1, qkv.shape[2] // 3), np.float32)
    binding: onnxruntime.IOBinding = made.io_binding()
    for at, value in enumerate(inputs):
        binding.bind_input(f"i{at}", "cpu", 0, value.dtype, value.shape, value.ctypes.data)
    for at, value in enumerate([attended, *past]):
        binding.bind_output(f"o{at}", "cpu", 0, value.dtype, value.shape, value.ctypes.data)
    made.run_with_iobinding(binding)
    return attended


@EXAMPLES
@given(SEEDS, OUTPUTS, WIDTHS, st.sampled_from([1e-30, 1e-6, 1.0, 1e3]), st.booleans())
def test_quantized_weights_leave_room_in_16_bits(
    seed: int, outputs: int, width: int, magnitude: float, alike: bool
) -> None:
    draw = np.random.default_rng(seed)
    rows = floats(draw, outputs, width) ** (1 if alike else 5) * np.float32(magnitude)
    rows[draw.random(outputs) < 0.1] = 0
    codes, scale = int8_rows_for_16_bits(rows, 4)
    assert sums_in_16_bits(codes, 4).max() <= MAX_SUM and np.abs(codes.astype(int)).max() <= 127
    # Of which step and lane a code is, said in another way.
    for row in codes[:5].astype(int):
        for start in range(0, width, 16):
            for first in (0, 2):
                lane = [*row[start + first : start + 16 : 4], *row[start + first + 1 : start + 16 : 4]]
                assert 255 * sum(code for code in lane if code > 0) < 2**15
                assert 255 * sum(code for code in lane if code < 0) >= -(2**15)
    largest = np.abs(rows).max(axis=1) / 127
    sums = sums_in_16_bits(rows, 4).max(axis=(1, 2)) / MAX_SUM
    assert (scale >= np.maximum(largest, sums) * (1 - 1e-6)).all()
    if magnitude >= 1e-6:
        assert (np.abs(codes * scale[:, None] - rows) <= scale[:, None] * 1.001).all()


def test_what_does_not_fit_is_an_error_of_the_run() -> None:
    draw = np.random.default_rng(0)
    codes, scale = weights(draw, 5, 8)
    with pytest.raises(Exception, match="x does not fit weight"):
        run("RowLinear", [floats(draw, 2, 12), *linear_inputs(codes, scale)], FLOAT, activation=0)
    residual = floats(draw, 1, 5)
    with pytest.raises(Exception, match="residual does not fit"):
        run(
            "RowLinear",
            [floats(draw, 2, 8), *linear_inputs(codes, scale), None, residual],
            FLOAT,
            activation=0,
        )
    qkv = floats(draw, 4, 3 * 16)
    for lengths in ([3], [5], [4, 0]):
        with pytest.raises(Exception, match=r"a text has no tokens|do not add up"):
            run("PackedAttention", [qkv, np.array(lengths, np.int32)], FLOAT, heads=2)
        with pytest.raises(Exception, match=r"a text has no tokens|do not add up"):
            run("KeepRows", [qkv, np.array(lengths, np.int32)], (np.float16,))
    norm = floats(draw, 4), floats(draw, 4), np.ones(1, np.float32)
    with pytest.raises(Exception, match="norm does not fit"):
        layer = [floats(draw, 2, 8), *linear_inputs(codes, scale), None, None]
        run("RowLinear", [*layer, *norm], FLOAT, activation=0)
    cache = caches(draw, 1, 1, 3, 16)
    for past_len in (-1, 3):
        inputs = [qkv[:1, None], cache, cache, np.array([past_len], np.int32)]
        with pytest.raises(Exception, match="a length is beyond the buffer"):
            run("StepAttention", inputs, STEP, heads=2)
