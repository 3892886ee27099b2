#include "argmax.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "row_products.h"
#include "scratch.h"

namespace gap {
namespace {

// Which columns the rows may choose.
class Allowed {
   public:
    Allowed(Forbidden forbidden, size_t rows, size_t outputs) : forbidden_(forbidden), outputs_(outputs) {
        static thread_local Scratch memory;
        const size_t panels = (outputs + kPanel - 1) / kPanel;
        whole_ = memory.get<bool>(panels);
        std::fill_n(whole_, panels, true);
        whole_[panels - 1] = outputs % kPanel == 0;
        for (size_t i = 0; i < rows * forbidden.count; ++i)
            if (size_t(forbidden.columns[i]) < outputs) whole_[forbidden.columns[i] / kPanel] = false;
    }

    // Puts -infinity in place of values of a panel that the row may not choose.
    [[gnu::always_inline]] void limit(size_t row, size_t first, Floats (&values)[kVectors]) const {
        if (whole_[first / kPanel]) return;
        uint64_t allowed = outputs_ - first >= kPanel ? ~0ull : (1ull << (outputs_ - first)) - 1;
        for (size_t i = 0; i < forbidden_.count; ++i) {
            const uint64_t offset = uint64_t(forbidden_.columns[row * forbidden_.count + i]) - first;
            if (offset < kPanel) allowed &= ~(1ull << offset);
        }
        for (size_t v = 0; v < kVectors; ++v)
            values[v] = choose(mask_of(allowed >> (kLanes * v)), values[v], all(-INFINITY));
    }

   private:
    Forbidden forbidden_;
    size_t outputs_;
    bool* whole_;  // for each panel: every column is an output, and no row's forbidden one
};

// Keeps, in each lane, a row's largest result so far and its column: the first of equals.
struct Best {
    Floats* value;
    Ints* column;
    const Allowed& allowed;

    [[gnu::always_inline]] void operator()(size_t row, size_t first, Floats (&values)[kVectors]) const {
        allowed.limit(row, first, values);
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

// The second blocks of the rows.
struct Rest {
    const int16_t* codes;  // [rows, count]
    const float* scale;
    const float* norm;     // of scale times codes, at least
    size_t count;
};

// A little over 1: what rounding may take from a norm.
constexpr float kOver = 1.f + 1e-6f;

Rest quantize_rest(const float* x, size_t rows, size_t inputs, size_t count) {
    static thread_local Scratch code_memory, signed_memory, scale_memory, norm_memory;
    uint8_t* codes = code_memory.get<uint8_t>(count);
    int16_t* signed_codes = signed_memory.get<int16_t>(rows * count);
    float *scale = scale_memory.get<float>(rows), *norm = norm_memory.get<float>(rows);
    for (size_t row = 0; row < rows; ++row) {
        scale[row] = quantize_row(x + row * inputs + inputs - count, count, codes);
        int32_t squares = 0;
        for (size_t k = 0; k < count; ++k) {
            const int16_t code = int16_t(codes[k] - 128);
            signed_codes[row * count + k] = code;
            squares += code * code;
        }
        norm[row] = scale[row] * std::sqrt(float(squares)) * kOver;
    }
    return {signed_codes, scale, norm, count};
}

// Finishes the columns that may be a row's best, and keeps the best of them: the first of equals, as a row's columns
// come in order.
struct Screen {
    float* value;  // of the best column so far
    int64_t* column;
    const TwoBlocks& weights;
    const Rest& rest;
    const Allowed& allowed;

    [[gnu::always_inline]] void operator()(size_t row, size_t first, Floats (&values)[kVectors]) const {
        allowed.limit(row, first, values);
        const Floats norm = all(rest.norm[row]), reached = all(value[row]);
        Floats most[kVectors];
        uint32_t any = 0;
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) {
            const size_t column = first + kLanes * v;
            const Lanes lanes = lanes_at(column, weights.first.outputs);
            most[v] = add_product(norm, load(lanes, weights.rest_norm + column), values[v]);
            any |= bits_of(at_least(most[v], reached));
        }
        if (__builtin_expect(any, 0)) finish(row, first, values, most);
    }

    [[gnu::noinline]] void finish(size_t row, size_t first, const Floats (&values)[kVectors],
                                  const Floats (&most)[kVectors]) const {
        const int16_t* codes = rest.codes + row * rest.count;
        for (size_t v = 0; v < kVectors; ++v) {
            uint32_t bits = bits_of(at_least(most[v], all(value[row])));
            if (!bits) continue;
            float of_first[kLanes];
            store(of_first, values[v]);
            for (; bits; bits &= bits - 1) {
                const size_t lane = __builtin_ctz(bits), at = first + kLanes * v + lane;
                const int32_t sum = dot_product(codes, weights.rest_codes + at * rest.count, rest.count);
                const float logit = std::fma(float(sum) * weights.rest_scale[at], rest.scale[row], of_first[lane]);
                if (logit > value[row]) {
                    value[row] = logit;
                    column[row] = int64_t(at);
                }
            }
        }
    }
};

}  // namespace

void row_argmax(const LinearWeights& w, const float* x, size_t rows, Forbidden forbidden, int64_t* chosen) {
    static thread_local Scratch value_memory, column_memory;
    const Allowed allowed(forbidden, rows, w.outputs);
    const Best best{value_memory.get<Floats>(rows), column_memory.get<Ints>(rows), allowed};
    std::fill_n(best.value, rows, all(-INFINITY));
    std::fill_n(best.column, rows, zero_ints());
    multiply(w, quantize(x, rows, w.inputs), rows, best);
    for (size_t row = 0; row < rows; ++row) chosen[row] = best.of(row);
}

void screened_argmax(const TwoBlocks& w, const float* x, size_t rows, Forbidden forbidden, int64_t* chosen) {
    static thread_local Scratch value_memory;
    const size_t inputs = w.first.inputs + w.rest;
    const Rest rest = quantize_rest(x, rows, inputs, w.rest);
    const Allowed allowed(forbidden, rows, w.first.outputs);
    float* value = value_memory.get<float>(rows);
    // Above -infinity, which forbidden columns have.
    std::fill_n(value, rows, -FLT_MAX);
    std::fill_n(chosen, rows, 0);
    multiply(w.first, quantize(x, rows, w.first.inputs, inputs), rows, Screen{value, chosen, w, rest, allowed});
}

}  // namespace gap
