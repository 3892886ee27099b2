// The output projection of greedy decoding: which column of a layer is a row's largest.
#pragma once

#include "row_linear.h"

namespace gap {

// Columns that a row may not choose: `columns` [rows, count], negative for none.
struct Forbidden {
    const int64_t* columns;
    size_t count;
};

// The column of each row's largest result: the first of equals, never a forbidden one. Column 0 where nothing
// compares, as for a row of NaN.
void row_argmax(const LinearWeights& weights, const float* x, size_t rows, Forbidden forbidden, int64_t* chosen);

// A layer whose inputs are in two blocks with a scale each.
struct TwoBlocks {
    LinearWeights first;       // of the first inputs, with the bias
    size_t rest;               // inputs of the second block
    const int8_t* rest_codes;  // [outputs, rest]
    const float* rest_scale;   // [outputs]
    const float* rest_norm;    // [outputs]: of scale times codes, at least
};

// As row_argmax, of the layer that TwoBlocks is. By Cauchy and Schwarz the second block adds rest_norm times the norm
// of the row's own second block at most, so only columns are finished whose largest value possible reaches that of
// the best one so far. The choice has the same bits as with all columns finished, of finite rows.
void screened_argmax(const TwoBlocks& weights, const float* x, size_t rows, Forbidden forbidden, int64_t* chosen);

}  // namespace gap
