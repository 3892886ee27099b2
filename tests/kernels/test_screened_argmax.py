"""The screened output projection chooses what the full product of the same formula does, bit for bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_ops import codes_that_fit, instructions, linear_inputs, quantized, run  # noqa: F401

from model_export.screening import Screening, choose_screening, directions, finished_share, norms

EXAMPLES = settings(max_examples=150, derandomize=True)
SEEDS, ROWS, OUTPUTS = st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 300)
FOURS = st.integers(1, 40).map(lambda n: 4 * n)
# Norms with which every column may reach any other, so that all are finished.
ANY = 1e30


class Projection:
    """A layer in two blocks; `draw` decides its weights."""

    def __init__(self, draw: np.random.Generator, first: int, rest: int, outputs: int, bias: bool) -> None:
        codes = draw.integers(-127, 128, (outputs, first + rest)).astype(np.int8)
        # Ties: some columns are copies of others.
        copies = draw.integers(outputs, size=outputs // 3)
        codes[: len(copies)] = codes[copies]
        self.first = codes_that_fit(codes[:, :first] // draw.choice([1, 4, 32], (outputs, 1))).astype(np.int8)
        self.rest = (codes[:, first:] // draw.choice([1, 8, 127])).astype(np.int8)
        self.first_scale, self.rest_scale = draw.uniform(1e-4, 1e-1, (2, outputs)).astype(np.float32)
        for values in (self.first, self.first_scale, self.rest_scale):
            values[: len(copies)] = values[copies]
        self.bias = draw.choice([0, 1, 5], outputs).astype(np.float32) if bias else None
        if self.bias is not None:
            self.bias[: len(copies)] = self.bias[copies]

    def choose(self, x: np.ndarray, forbidden: np.ndarray, norm: np.ndarray | None = None) -> np.ndarray:
        norm = norms(self.rest, self.rest_scale) if norm is None else norm
        inputs: list[Any] = [x, *linear_inputs(self.first, self.first_scale), self.rest]
        (got,) = run("ScreenedArgMax", [*inputs, self.rest_scale, norm, forbidden, self.bias], (np.int64,))
        assert got.shape == (len(x), 1)
        return got[:, 0]

    def values(self, x: np.ndarray) -> np.ndarray:
        """Of all columns, [rows, outputs] in float64."""
        first = self.first.shape[1]
        (a, s), (b, t) = quantized(x[:, :first]), quantized(x[:, first:])
        value = (a @ self.first.T.astype(np.float64)) * s * self.first_scale
        value += (b @ self.rest.T.astype(np.float64)) * t * self.rest_scale
        return value + (0 if self.bias is None else self.bias)


def rows_of(draw: np.random.Generator, rows: int, projection: Projection) -> np.ndarray:
    """Float rows: almost only of the first block, of the second, of both; tiny, huge and zero ones."""
    first, rest = projection.first.shape[1], projection.rest.shape[1]
    x = draw.standard_normal((rows, first + rest)).astype(np.float32)
    kind = draw.integers(4, size=rows)
    x[kind == 0, first:] *= 1e-3
    x[kind == 1, :first] *= 1e-3
    return x * draw.choice(np.float32([0, 1e-41, 1e-35, 1e-3, 1, 1e4, 1e15]), (rows, 1))


@EXAMPLES
@given(SEEDS, ROWS, FOURS, FOURS, OUTPUTS, st.booleans())
def test_it_chooses_what_the_full_product_chooses(
    seed: int, rows: int, first: int, rest: int, outputs: int, bias: bool
) -> None:
    draw = np.random.default_rng(seed)
    projection = Projection(draw, first, rest, outputs, bias)
    x = rows_of(draw, rows, projection)
    nothing = np.full((rows, 1), -1)
    best = projection.choose(x, nothing)
    forbidden = np.stack([np.where(draw.random(rows) < 0.5, best, -1), draw.integers(-1, outputs, rows)], 1)
    everything = np.full(outputs, ANY, np.float32)
    for columns in (nothing, forbidden):
        chosen = projection.choose(x, columns)
        assert np.array_equal(chosen, projection.choose(x, columns, everything))
        allowed = ~(columns[:, :, None] == np.arange(outputs)).any(axis=1)
        values = np.where(allowed, projection.values(x), -np.inf)
        some = allowed.any(axis=1)
        assert (chosen[~some] == 0).all()
        got, largest = values[np.arange(rows), chosen][some], values.max(axis=1)[some]
        # A code that lies between two may be rounded to another one than numpy's.
        unit = np.abs(projection.values(x)).max(axis=1)[some] + 1
        assert (got >= largest - 0.03 * unit).all()


@EXAMPLES
@given(SEEDS, ROWS, FOURS, FOURS, OUTPUTS)
def test_a_row_alone_gets_the_same_column(seed: int, rows: int, first: int, rest: int, outputs: int) -> None:
    draw = np.random.default_rng(seed)
    projection = Projection(draw, first, rest, outputs, bias=True)
    x, nothing = rows_of(draw, rows, projection), np.full((rows, 1), -1)
    together = projection.choose(x, nothing)
    for row in range(0, rows, 5):
        one = slice(row, row + 1)
        assert projection.choose(x[one], nothing[one]) == together[one]


def test_of_equal_columns_the_first_is_chosen() -> None:
    projection = Projection(np.random.default_rng(0), 8, 8, 200, bias=False)
    for values in (projection.first, projection.rest):
        values[:] = values[0]
    for scales in (projection.first_scale, projection.rest_scale):
        scales[:] = scales[0]
    x = np.random.default_rng(1).standard_normal((5, 16)).astype(np.float32)
    assert (projection.choose(x, np.full((5, 1), -1)) == 0).all()
    assert (projection.choose(x, np.full((5, 1), 0)) == 1).all()


def test_a_row_of_nan_gets_column_0_and_spoils_no_other() -> None:
    projection = Projection(np.random.default_rng(0), 64, 64, 200, bias=True)
    x = np.random.default_rng(1).standard_normal((7, 128)).astype(np.float32)
    nothing = np.full((7, 1), -1)
    before = projection.choose(x, nothing)
    x[3] = np.nan
    after = projection.choose(x, nothing)
    assert after[3] == 0 and np.array_equal(np.delete(after, 3), np.delete(before, 3))


def test_shapes_that_do_not_fit_are_refused() -> None:
    projection = Projection(np.random.default_rng(0), 8, 8, 20, bias=False)
    x, nothing = np.ones((2, 16), np.float32), np.full((2, 1), -1)
    with pytest.raises(Exception, match="norm of rest does not fit"):
        projection.choose(x, nothing, np.ones(19, np.float32))
    with pytest.raises(Exception, match="forbidden does not fit x"):
        projection.choose(x, nothing[:1])
    with pytest.raises(Exception, match="rest does not fit the first block and x"):
        projection.choose(np.ones((2, 20), np.float32), nothing)
    with pytest.raises(Exception, match="the first block has all of x"):
        projection.choose(np.ones((2, 8), np.float32), nothing)


def made_states(draw: np.random.Generator, width: int, decay: float) -> np.ndarray:
    """Hidden states whose directions are ever smaller by `decay`, in coordinates of no meaning."""
    turned = np.linalg.qr(draw.standard_normal((width, width)))[0]
    return ((draw.standard_normal((1_000, width)) * decay ** np.arange(width)) @ turned).astype(np.float32)


def test_screening_is_chosen_where_it_pays_and_left_off_where_not() -> None:
    draw = np.random.default_rng(0)
    table, bias = draw.standard_normal((8_000, 128)).astype(np.float32), np.zeros(8_000, np.float32)
    halves = np.split(made_states(draw, 128, 0.9), 2)
    screening, figures = choose_screening(*halves, table, bias)
    assert screening is not None and figures["first_dimensions"] == screening.first
    assert figures["finished_share"] < 0.02 and figures["cost"] <= 0.75
    identity = screening.directions.T @ screening.directions
    assert np.allclose(identity, np.eye(128), atol=1e-5)
    # Every direction is as large as any other: nothing can be left out.
    assert choose_screening(*np.split(made_states(draw, 128, 1.0), 2), table, bias) == (None, {})
    # Nor where the texts to come have other directions than those seen.
    other = made_states(draw, 128, 0.9)
    assert choose_screening(halves[0], other, table, bias) == (None, {})


def test_products_stay_the_same_whatever_the_directions() -> None:
    draw = np.random.default_rng(0)
    states, table = draw.standard_normal((2, 40, 24)).astype(np.float32)
    screening = Screening(draw.standard_normal((24, 24)).astype(np.float32), 8)
    products = sum(
        one @ other.T for one, other in zip(screening.states(states), screening.tokens(table), strict=True)
    )
    assert np.allclose(products, states @ table.T, atol=1e-3)


def test_more_dimensions_in_the_first_block_leave_fewer_tokens_to_finish() -> None:
    draw = np.random.default_rng(0)
    states = made_states(draw, 128, 0.95)
    table, bias = draw.standard_normal((500, 128)).astype(np.float32), np.zeros(500, np.float32)
    axes = directions(states)
    shares = [finished_share(Screening(axes, first), states[:64], table, bias) for first in (32, 64, 96, 124)]
    assert shares == sorted(shares, reverse=True) and shares[0] > 3 * shares[-1] >= 3 / 500
