// A linear layer of int8 weights over float rows, each quantized by its own largest magnitude.
#pragma once

#include <cstddef>
#include <cstdint>

#include "products.h"

namespace gap {

enum class Activation { kNone = 0, kRelu = 1, kGelu = 2, kSilu = 3 };

// The weight lies as [panels, inputs/4, kPanel, 4], so all of a panel lies in one stream. Where products are added
// in 16 bits (kFours above 1), they must fit: of an output's codes by the 4*kFours inputs of a step, the positive
// ones in the first two of every four add up to 128 at most, and so do the negative ones, and those in the last two.
struct LinearWeights {
    const int8_t* codes;
    const float* scale;         // [outputs]
    const int32_t* code_sum;    // [outputs], over the inputs
    const float* bias;          // [outputs] or null
    size_t inputs;              // a multiple of 4
    size_t outputs;
    Activation activation;
};

// y[m] = activation(x[m] W + bias) + residual[m] for `rows` rows; `residual` may be null.
// A row's result has the same bits whatever rows are beside it.
void row_linear(const LinearWeights& weights, const float* x, size_t rows, const float* residual, float* y);

// Rows of a table [outputs, inputs] that lies like the weight of a layer, as floats.
void embed_rows(const int8_t* codes, const float* scale, size_t inputs, const int64_t* ids, size_t count, float* y);

}  // namespace gap
