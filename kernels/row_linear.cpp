#include "row_linear.h"

#include "row_products.h"
#include "vector_math.h"

namespace gap {
namespace {

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

template <Activation activation>
void store(const LinearWeights& w, const float* x, size_t rows, const float* residual, float* y) {
    multiply(w, quantize(x, rows, w.inputs), rows, Store<activation>{residual, y, w.outputs});
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
