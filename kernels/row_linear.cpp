#include "row_linear.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "scratch.h"
#include "vector_math.h"

namespace gap {
namespace {

constexpr size_t kBlockBytes = 384 * 1024;  // input codes that stay in the second-level cache beside a panel

// Codes of one row: round(x * 127 / max|x|) + 128. Returns the scale, 0 for a row of zeros.
float quantize_row(const float* x, size_t inputs, uint8_t* codes) {
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

template <Activation activation>
Floats activated(Floats x) {
    switch (activation) {
        case Activation::kRelu: return max(x, zeros());
        case Activation::kGelu: return gelu(x);
        case Activation::kSilu: return silu(x);
        default: return x;
    }
}

// Stores a row's results of one panel.
template <Activation activation>
struct Store {
    const float* residual;
    float* y;
    size_t outputs;

    [[gnu::always_inline]] void operator()(size_t row, size_t column, Floats (&values)[kVectors]) const {
        const size_t place = row * outputs + column;
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) {
            const Lanes lanes = lanes_at(column + kLanes * v, outputs);
            Floats value = activated<activation>(values[v]);
            if (residual) value = add(value, load(lanes, residual + place + kLanes * v));
            store(lanes, y + place + kLanes * v, value);
        }
    }
};

// Keeps, in each lane, a row's largest result so far and its column: the first of equals.
struct Best {
    Floats* value;
    Ints* column;
    const int64_t* forbidden;  // [rows, forbidden_count], negative for none
    size_t forbidden_count;
    const bool* whole;  // for each panel: every column is an output, and no row's forbidden one
    size_t outputs;

    [[gnu::always_inline]] void operator()(size_t row, size_t first, Floats (&values)[kVectors]) const {
        if (!whole[first / kPanel]) {
            uint64_t allowed = outputs - first >= kPanel ? ~0ull : (1ull << (outputs - first)) - 1;
            for (size_t i = 0; i < forbidden_count; ++i) {
                const uint64_t offset = uint64_t(forbidden[row * forbidden_count + i]) - first;
                if (offset < kPanel) allowed &= ~(1ull << offset);
            }
            for (size_t v = 0; v < kVectors; ++v)
                values[v] = choose(mask_of(allowed >> (kLanes * v)), values[v], all(-INFINITY));
        }
        Floats best = value[row];
        Ints best_column = column[row];
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) {
            const Mask larger = greater(values[v], best);
            best = choose(larger, values[v], best);
            best_column = choose(larger, all(int32_t(first + kLanes * v)), best_column);
        }
        value[row] = best;
        column[row] = best_column;
    }

    int64_t of(size_t row) const {
        float values[kLanes];
        int32_t columns[kLanes];
        store(values, value[row]);
        store(columns, column[row]);
        float best = -INFINITY;
        int64_t chosen = 0;
        for (size_t lane = 0; lane < kLanes; ++lane) {
            const int64_t at = columns[lane] + int64_t(lane);
            if (values[lane] > best || (values[lane] == best && at < chosen)) {
                best = values[lane];
                chosen = at;
            }
        }
        return chosen;
    }
};

// The `count` tiles over one panel, or the first of them, share the next panel between them. A single tile waits
// for memory anyway.
Ahead ahead_of(size_t tile, size_t count, const int8_t* next, size_t inputs) {
    constexpr size_t kLines = kStep * kPanel / kLine;
    const size_t lines = (kLines + count - 1) / count;
    if (!next || count < 2 || tile * lines >= kLines) return {nullptr, 0};
    return {next + tile * lines * kLine * (inputs / kStep), lines};
}

// The codes of `rows` rows, quantized, and their scales.
struct Codes {
    const uint8_t* codes;
    const float* scale;
};

Codes quantize(const float* x, size_t rows, size_t inputs) {
    static thread_local Scratch code_memory, scale_memory;
    uint8_t* codes = code_memory.get<uint8_t>(room_for_codes(rows, inputs));
    float* scale = scale_memory.get<float>(rows);
    for (size_t row = 0; row < rows; ++row)
        scale[row] = quantize_row(x + row * inputs, inputs, codes + row * inputs);
    return {codes, scale};
}

// A tile of rows and one panel: its sums, of which the first `done` rows have become floats.
struct Tile {
    TileSums sums;
    size_t row, rows, column;
    size_t done;
};

// The next `count` rows of a tile, as floats to the sink.
template <typename Sink>
[[gnu::always_inline]] inline void finish(const LinearWeights& w, const float* row_scale, Tile& tile, size_t count,
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
void load_shift(const LinearWeights& w, size_t column, Ints (&shift)[kVectors]) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
        const Lanes lanes = lanes_at(column + kLanes * v, w.outputs);
        shift[v] = minus_128_times(load(lanes, w.code_sum + column + kLanes * v));
    }
}

template <typename Sink>
void multiply(const LinearWeights& w, const float* x, size_t rows, const Sink& sink) {
    const Codes input = quantize(x, rows, w.inputs);
    const size_t panels = (w.outputs + kPanel - 1) / kPanel;
    const size_t block = std::max(kMaxTileRows, kBlockBytes / w.inputs / kMaxTileRows * kMaxTileRows);
    // While a tile's sums are computed those of the one before become results, where the products leave the
    // vector registers free.
    Tile tiles[2];
    Tile *before = &tiles[0], *tile = &tiles[1];
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

template <Activation activation>
void store(const LinearWeights& w, const float* x, size_t rows, const float* residual, float* y) {
    multiply(w, x, rows, Store<activation>{residual, y, w.outputs});
}

}  // namespace

void row_linear(const LinearWeights& w, const float* x, size_t rows, const float* residual, float* y) {
    switch (w.activation) {
        case Activation::kRelu: return store<Activation::kRelu>(w, x, rows, residual, y);
        case Activation::kGelu: return store<Activation::kGelu>(w, x, rows, residual, y);
        case Activation::kSilu: return store<Activation::kSilu>(w, x, rows, residual, y);
        default: return store<Activation::kNone>(w, x, rows, residual, y);
    }
}

void row_argmax(const LinearWeights& w, const float* x, size_t rows, const int64_t* forbidden,
                size_t forbidden_count, int64_t* chosen) {
    static thread_local Scratch value_memory, column_memory, whole_memory;
    const size_t panels = (w.outputs + kPanel - 1) / kPanel;
    bool* whole = whole_memory.get<bool>(panels);
    std::fill_n(whole, panels, true);
    whole[panels - 1] = w.outputs % kPanel == 0;
    for (size_t i = 0; i < rows * forbidden_count; ++i)
        if (size_t(forbidden[i]) < w.outputs) whole[forbidden[i] / kPanel] = false;
    const Best best{value_memory.get<Floats>(rows), column_memory.get<Ints>(rows), forbidden, forbidden_count, whole,
                    w.outputs};
    std::fill_n(best.value, rows, all(-INFINITY));
    std::fill_n(best.column, rows, zero_ints());
    multiply(w, x, rows, best);
    for (size_t row = 0; row < rows; ++row) chosen[row] = best.of(row);
}

void embed_rows(const int8_t* codes, const float* scale, size_t inputs, const int64_t* ids, size_t count, float* y) {
    const auto row_of = [=](size_t i) {
        const size_t id = ids[i];
        return codes + id / kPanel * kPanel * inputs + id % kPanel * 4;
    };
    const auto fetch = [=](const int8_t* row) {
        for (size_t k = 0; k < inputs; k += 4)
            _mm_prefetch(reinterpret_cast<const char*>(row + k * kPanel), _MM_HINT_T0);
    };
    if (count) fetch(row_of(0));
    for (size_t i = 0; i < count; ++i) {
        if (i + 1 < count) fetch(row_of(i + 1));
        const int8_t* row = row_of(i);
        for (size_t k = 0; k < inputs; k += 4)
            for (size_t j = 0; j < 4; ++j) y[i * inputs + k + j] = scale[ids[i]] * row[k * kPanel + j];
    }
}

}  // namespace gap
