#include "row_linear.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "scratch.h"
#include "vector_math.h"

namespace gap {
namespace {

constexpr size_t kMaxTileRows = 6;  // 6 x 4 accumulators, 4 weights and an input fill the 32 registers
constexpr size_t kVectors = kPanel / 16;
constexpr size_t kBlockBytes = 384 * 1024;  // input codes that stay in the second-level cache beside a panel

// Codes of one row: round(x * 127 / max|x|) + 128. Returns the scale, 0 for a row of zeros.
float quantize_row(const float* x, size_t inputs, uint8_t* codes) {
    __m512 largest = _mm512_setzero_ps();
    for (size_t k = 0; k < inputs; k += 16) {
        const __m512 values = _mm512_maskz_loadu_ps(first_lanes(inputs - k), x + k);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(values));
    }
    const float magnitude = _mm512_reduce_max_ps(largest);
    // Below this 127/magnitude would be infinite: to all ends such a row is zero.
    const bool zero = magnitude < 1e-36f;
    const __m512 factor = _mm512_set1_ps(zero ? 0.f : 127.f / magnitude);
    for (size_t k = 0; k < inputs; k += 16) {
        const __mmask16 lanes = first_lanes(inputs - k);
        const __m512 values = _mm512_maskz_loadu_ps(lanes, x + k);
        const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(values, factor));
        const __m512i shifted = _mm512_add_epi32(rounded, _mm512_set1_epi32(128));
        _mm_mask_storeu_epi8(codes + k, lanes, _mm512_cvtusepi32_epi8(shifted));
    }
    return zero ? 0.f : magnitude / 127.f;
}

template <Activation activation>
__m512 activated(__m512 x) {
    switch (activation) {
        case Activation::kRelu: return _mm512_max_ps(x, _mm512_setzero_ps());
        case Activation::kGelu: return gelu_ps(x);
        case Activation::kSilu: return silu_ps(x);
        default: return x;
    }
}

// Stores a row's results of one panel.
template <Activation activation>
struct Store {
    const float* residual;
    float* y;
    size_t outputs;

    [[gnu::always_inline]] void operator()(size_t row, size_t column, __m512 (&values)[kVectors]) const {
        const size_t place = row * outputs + column;
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) {
            const __mmask16 lanes = lanes_at(column + 16 * v, outputs);
            __m512 value = activated<activation>(values[v]);
            if (residual) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(lanes, residual + place + 16 * v));
            _mm512_mask_storeu_ps(y + place + 16 * v, lanes, value);
        }
    }
};

// Keeps, in each of 16 lanes, a row's largest result so far and its column: the first of equals.
struct Best {
    __m512* value;
    __m512i* column;
    const int64_t* forbidden;  // [rows, forbidden_count], negative for none
    size_t forbidden_count;
    const bool* whole;  // for each panel: every column is an output, and no row's forbidden one
    size_t outputs;

    [[gnu::always_inline]] void operator()(size_t row, size_t first, __m512 (&values)[kVectors]) const {
        if (!whole[first / kPanel]) {
            uint64_t allowed = outputs - first >= kPanel ? ~0ull : (1ull << (outputs - first)) - 1;
            for (size_t i = 0; i < forbidden_count; ++i) {
                const uint64_t offset = uint64_t(forbidden[row * forbidden_count + i]) - first;
                if (offset < kPanel) allowed &= ~(1ull << offset);
            }
            for (size_t v = 0; v < kVectors; ++v)
                values[v] = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), __mmask16(allowed >> (16 * v)), values[v]);
        }
        __m512 best = value[row];
        __m512i best_column = column[row];
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) {
            const __mmask16 larger = _mm512_cmp_ps_mask(values[v], best, _CMP_GT_OQ);
            best = _mm512_mask_mov_ps(best, larger, values[v]);
            best_column = _mm512_mask_set1_epi32(best_column, larger, int(first + 16 * v));
        }
        value[row] = best;
        column[row] = best_column;
    }
};

// What a tile fetches of the panel after its own, so that it comes from memory while tiles are computed: over
// the steps of its loop, `lines` cache lines each.
struct Ahead {
    const int8_t* weight;
    size_t lines;
};

// Of `count` tiles over one panel the first four, or two, share the next panel between them. A single tile
// waits for memory anyway.
Ahead ahead_of(size_t tile, size_t count, const int8_t* next, size_t inputs) {
    const size_t lines = count >= kVectors ? 1 : 2;
    if (!next || count < 2 || tile * lines >= kVectors) return {nullptr, 0};
    return {next + tile * lines * 16 * inputs, lines};
}

// Integer products of `kRows` rows and one panel, summed over the inputs onto `shift`: vpdpbusd adds four products of
// unsigned by signed bytes. A function of its own, or the compiler keeps the sums in memory within the loop.
template <size_t kRows>
[[gnu::noinline]] void accumulate(const uint8_t* codes, const int8_t* weight, size_t inputs, Ahead ahead,
                                  const __m512i (&shift)[kVectors], __m512i (&out)[kMaxTileRows][kVectors]) {
    __m512i sums[kRows][kVectors];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) sums[r][v] = shift[v];
    for (size_t k = 0; k < inputs; k += 4, weight += 4 * kPanel) {
        for (size_t line = 0; line < ahead.lines; ++line, ahead.weight += 64)
            _mm_prefetch(reinterpret_cast<const char*>(ahead.weight), _MM_HINT_T1);
        __m512i columns[kVectors];
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) columns[v] = _mm512_loadu_si512(weight + 64 * v);
#pragma GCC unroll 8
        for (size_t r = 0; r < kRows; ++r) {
            int32_t four;
            std::memcpy(&four, codes + r * inputs + k, 4);
            const __m512i broadcast = _mm512_set1_epi32(four);
#pragma GCC unroll 4
            for (size_t v = 0; v < kVectors; ++v)
                sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], broadcast, columns[v]);
        }
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) out[r][v] = sums[r][v];
}

// A tile of `kRows` rows and one panel, as floats to the sink. The 128 that every input code is shifted by
// leaves with the sum of the weight's codes.
template <size_t kRows, typename Sink>
void tile(const LinearWeights& w, const uint8_t* codes, const float* row_scale, size_t row, size_t panel,
          Ahead ahead, const Sink& sink) {
    const size_t first = panel * kPanel;
    __m512i shift[kVectors], sums[kMaxTileRows][kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
        const __mmask16 lanes = lanes_at(first + 16 * v, w.outputs);
        const __m512i code_sum = _mm512_maskz_loadu_epi32(lanes, w.code_sum + first + 16 * v);
        shift[v] = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(code_sum, 7));
    }
    accumulate<kRows>(codes + row * w.inputs, w.codes + first * w.inputs, w.inputs, ahead, shift, sums);
    __m512 scale[kVectors], bias[kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
        const __mmask16 lanes = lanes_at(first + 16 * v, w.outputs);
        scale[v] = _mm512_maskz_loadu_ps(lanes, w.scale + first + 16 * v);
        bias[v] = w.bias ? _mm512_maskz_loadu_ps(lanes, w.bias + first + 16 * v) : _mm512_setzero_ps();
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
        const __m512 factor = _mm512_set1_ps(row_scale[row + r]);
        __m512 values[kVectors];
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v)
            values[v] =
                _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[r][v]), scale[v]), factor, bias[v]);
        sink(row + r, first, values);
    }
}

// The codes of `rows` rows, quantized, and their scales.
struct Codes {
    const uint8_t* codes;
    const float* scale;
};

Codes quantize(const float* x, size_t rows, size_t inputs) {
    static thread_local Scratch code_memory, scale_memory;
    uint8_t* codes = code_memory.get<uint8_t>(rows * inputs);
    float* scale = scale_memory.get<float>(rows);
    for (size_t row = 0; row < rows; ++row)
        scale[row] = quantize_row(x + row * inputs, inputs, codes + row * inputs);
    return {codes, scale};
}

template <typename Sink>
void multiply(const LinearWeights& w, const float* x, size_t rows, const Sink& sink) {
    using Tile = decltype(&tile<1, Sink>);
    constexpr Tile tiles[kMaxTileRows] = {tile<1, Sink>, tile<2, Sink>, tile<3, Sink>,
                                          tile<4, Sink>, tile<5, Sink>, tile<6, Sink>};
    const Codes quantized = quantize(x, rows, w.inputs);
    const size_t panels = (w.outputs + kPanel - 1) / kPanel;
    const size_t block = std::max(kMaxTileRows, kBlockBytes / w.inputs / kMaxTileRows * kMaxTileRows);
    for (size_t first = 0; first < rows; first += block) {
        const size_t last = std::min(rows, first + block);
        for (size_t panel = 0; panel < panels; ++panel) {
            const int8_t* next = panel + 1 < panels ? w.codes + (panel + 1) * kPanel * w.inputs : nullptr;
            // Tiles of like size: each reads all of the panel, and one of few rows would wait for it.
            const size_t count = (last - first + kMaxTileRows - 1) / kMaxTileRows;
            for (size_t i = 0; i < count; ++i) {
                const size_t row = first + i * (last - first) / count;
                const size_t height = first + (i + 1) * (last - first) / count - row;
                const Ahead ahead = ahead_of(i, count, next, w.inputs);
                tiles[height - 1](w, quantized.codes, quantized.scale, row, panel, ahead, sink);
            }
        }
    }
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
    const Best best{value_memory.get<__m512>(rows), column_memory.get<__m512i>(rows), forbidden, forbidden_count,
                    whole, w.outputs};
    std::fill_n(best.value, rows, _mm512_set1_ps(-INFINITY));
    std::fill_n(best.column, rows, _mm512_setzero_si512());
    multiply(w, x, rows, best);
    for (size_t row = 0; row < rows; ++row) {
        const __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(best.value[row]));
        const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i columns = _mm512_add_epi32(best.column[row], lane);
        const __mmask16 winners = _mm512_cmp_ps_mask(best.value[row], largest, _CMP_EQ_OQ);
        chosen[row] = winners ? _mm512_mask_reduce_min_epi32(winners, columns) : 0;
    }
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
