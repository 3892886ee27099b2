// Rows, quantized, times all panels of a weight; what becomes of the results is the caller's.
#pragma once

#include <algorithm>
#include <utility>

#include "row_linear.h"
#include "scratch.h"

namespace gap {

constexpr size_t kBlockBytes = 384 * 1024;  // input codes that stay in the second-level cache beside a panel

// Codes of one row: round(x * 127 / max|x|) + 128. Returns the scale, 0 for a row of zeros.
inline float quantize_row(const float* x, size_t inputs, uint8_t* codes) {
    // Of four vectors in turn, so that none waits for the one before.
    Floats largest[4] = {zeros(), zeros(), zeros(), zeros()};
    size_t at = 0;
    for (; at + 4 * kLanes <= inputs; at += 4 * kLanes)
#pragma GCC unroll 4
        for (size_t v = 0; v < 4; ++v) largest[v] = max(largest[v], abs(load(x + at + v * kLanes)));
    for (; at < inputs; at += kLanes) largest[0] = max(largest[0], abs(load(first_lanes(inputs - at), x + at)));
    const float magnitude = largest_lane(max(max(largest[0], largest[1]), max(largest[2], largest[3])));
    // Below this 127/magnitude would be infinite: to all ends such a row is zero.
    const bool zero = magnitude < 1e-36f;
    const Floats factor = all(zero ? 0.f : 127.f / magnitude);
    for (size_t k = 0; k < inputs; k += kLanes) {
        const Lanes lanes = first_lanes(inputs - k);
        store_codes(lanes, codes + k, mul(load(lanes, x + k), factor));
    }
    return zero ? 0.f : magnitude / 127.f;
}

// The `count` tiles over one panel share the next one between them. A single tile waits for memory anyway.
inline Ahead ahead_of(size_t tile, size_t count, const int8_t* next, size_t inputs) {
    if (!next || count < 2) return {nullptr, 0, 1};
    const size_t lines = inputs * kPanel / kLine;
    return {next + tile * lines / count * kLine, (lines + count - 1) / count, inputs / kStep};
}

// The codes of rows, and their scales.
struct Codes {
    const uint8_t* codes;
    const float* scale;
};

// The first `inputs` floats of rows that are `stride` apart.
inline Codes quantize(const float* x, size_t rows, size_t inputs, size_t stride) {
    static thread_local Scratch code_memory, scale_memory;
    uint8_t* codes = code_memory.get<uint8_t>(room_for_codes(rows, inputs));
    float* scale = scale_memory.get<float>(rows);
    for (size_t row = 0; row < rows; ++row)
        scale[row] = quantize_row(x + row * stride, inputs, codes + row * inputs);
    return {codes, scale};
}

inline Codes quantize(const float* x, size_t rows, size_t inputs) { return quantize(x, rows, inputs, inputs); }

// A tile of rows and one panel: its sums, of which the first `done` rows have become floats.
struct PanelTile {
    TileSums sums;
    size_t row, rows, column;
    size_t done;
};

// The next `count` rows of a tile, as floats to the sink.
template <typename Sink>
[[gnu::always_inline]] inline void finish(const LinearWeights& w, const float* row_scale, PanelTile& tile, size_t count,
                                          const Sink& sink) {
    Floats scale[kVectors], bias[kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
        const Lanes lanes = lanes_at(tile.column + kLanes * v, w.outputs);
        scale[v] = load(lanes, w.scale + tile.column + kLanes * v);
        bias[v] = w.bias ? load(lanes, w.bias + tile.column + kLanes * v) : zeros();
    }
    const size_t first = tile.done, last = std::min(tile.rows, first + count);
    const size_t row = tile.row, column = tile.column;
    tile.done = last;
    for (size_t r = first; r < last; ++r) {
        const Floats factor = all(row_scale[row + r]);
        Floats values[kVectors];
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v)
            values[v] = add_product(mul(to_floats(tile.sums[r][v]), scale[v]), factor, bias[v]);
        sink(row + r, column, values);
    }
}

// The 128 that every input code is shifted by leaves with the sum of the weight's codes.
inline void load_shift(const LinearWeights& w, size_t column, Ints (&shift)[kVectors]) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
        const Lanes lanes = lanes_at(column + kLanes * v, w.outputs);
        shift[v] = minus_128_times(load(lanes, w.code_sum + column + kLanes * v));
    }
}

// Each row of the input times each panel of the weights: `sink(row, column, values)` gets the results of a row and a
// panel as floats, scaled and with the bias. A row's panels come in order.
template <typename Sink>
void multiply(const LinearWeights& w, const Codes& input, size_t rows, const Sink& sink) {
    const size_t panels = (w.outputs + kPanel - 1) / kPanel;
    const size_t block = std::max(kMaxTileRows, kBlockBytes / w.inputs / kMaxTileRows * kMaxTileRows);
    // While a tile's sums are computed those of the one before become results, where the products leave the
    // vector registers free.
    PanelTile tiles[2];
    PanelTile *before = &tiles[0], *tile = &tiles[1];
    before->rows = before->done = before->column = 0;
    for (size_t first = 0; first < rows; first += block) {
        const size_t last = std::min(rows, first + block);
        // Tiles of like size: each reads all of the panel, and one of few rows would wait for it.
        const size_t count = (last - first + kMaxTileRows - 1) / kMaxTileRows;
        const TileRows set_up((last - first + count - 1) / count);
        for (size_t panel = 0; panel < panels; ++panel) {
            const int8_t* weight = w.codes + panel * kPanel * w.inputs;
            const int8_t* next = panel + 1 < panels ? weight + kPanel * w.inputs : nullptr;
            Ints shift[kVectors];
            load_shift(w, panel * kPanel, shift);
            for (size_t i = 0; i < count; ++i) {
                tile->row = first + i * (last - first) / count;
                tile->rows = first + (i + 1) * (last - first) / count - tile->row;
                tile->column = panel * kPanel;
                tile->done = 0;
                accumulate(set_up, tile->rows, input.codes + tile->row * w.inputs, weight, w.inputs,
                           ahead_of(i, count, next, w.inputs), shift, tile->sums,
                           [&](size_t share) { finish(w, input.scale, *before, share, sink); });
                finish(w, input.scale, *before, kMaxTileRows, sink);
                std::swap(before, tile);
            }
        }
    }
    finish(w, input.scale, *before, kMaxTileRows, sink);
}

}  // namespace gap
