// Attention of float32 queries that are scaled already.
#pragma once

#include <cstddef>
#include <cstdint>

#include "half.h"

namespace gap {

// Texts that follow each other without padding, each attending to itself.
// qkv [tokens, 3*heads*head_dim] to y [tokens, heads*head_dim]; `lengths` [texts] add up to the tokens.
void packed_attention(const float* qkv, const int32_t* lengths, size_t texts, size_t heads, size_t head_dim,
                      float* y);

// Converts `count` floats to half precision.
void to_half(const float* x, size_t count, half* y);

// One query a row, over the first lengths[row] + `more` of `stride` keys and values [rows, stride,
// heads*head_dim]. Row r of the queries starts at query + r*query_stride; y is [rows, heads*head_dim].
void row_attention(const float* query, size_t query_stride, const half* keys, const half* values,
                   const int32_t* lengths, int32_t more, size_t rows, size_t heads, size_t stride,
                   size_t head_dim, float* y);

}  // namespace gap
