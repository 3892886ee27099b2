#include "attention.h"

#include <immintrin.h>

#include <algorithm>

#include "scratch.h"
#include "vector_math.h"

namespace gap {
namespace {

constexpr size_t kQueries = 8;  // queries that share each load of keys and values
constexpr size_t kVector = 16;
constexpr size_t kHeads = 4;  // heads whose sums are kept in registers at once

// Scores to unnormalised weights, with zeros beyond `length` up to a multiple of 16; returns 1/sum.
float softmax(float* scores, size_t length) {
    __m512 largest = _mm512_set1_ps(-3.4e38f);
    for (size_t j = 0; j < length; j += 16) {
        const __mmask16 lanes = first_lanes(length - j);
        largest = _mm512_mask_max_ps(largest, lanes, largest, _mm512_maskz_loadu_ps(lanes, scores + j));
    }
    const __m512 shift = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
    __m512 sum = _mm512_setzero_ps();
    for (size_t j = 0; j < length; j += 16) {
        const __mmask16 lanes = first_lanes(length - j);
        const __m512 score = _mm512_maskz_loadu_ps(lanes, scores + j);
        const __m512 weight = _mm512_maskz_mov_ps(lanes, exp_ps(_mm512_sub_ps(score, shift)));
        _mm512_storeu_ps(scores + j, weight);
        sum = _mm512_add_ps(sum, weight);
    }
    return 1.f / _mm512_reduce_add_ps(sum);
}

// Keys [length, head_dim], `stride` apart, as columns [head_dim, padded] with zeros beyond `length`.
void transpose_keys(const float* keys, size_t stride, size_t length, size_t head_dim, size_t padded,
                    float* columns) {
    for (size_t j = 0; j < length; j += 16) {
        for (size_t d = 0; d < head_dim; d += 16) {
            const __mmask16 lanes = first_lanes(head_dim - d);
            __m512 block[16];
            for (size_t i = 0; i < 16; ++i)
                block[i] = j + i < length ? _mm512_maskz_loadu_ps(lanes, keys + (j + i) * stride + d)
                                          : _mm512_setzero_ps();
            transpose_16x16(block);
            for (size_t i = 0; i < 16 && d + i < head_dim; ++i)
                _mm512_storeu_ps(columns + (d + i) * padded + j, block[i]);
        }
    }
}

// Always eight queries, so that a query's sums run in one order; those beyond `count` repeat the last.
void attend_queries(const float* query, const float* columns, const float* values, size_t stride, size_t count,
                    size_t length, size_t head_dim, size_t padded, float* scores, float* y, size_t y_stride) {
    const float* rows[kQueries];
    for (size_t q = 0; q < kQueries; ++q) rows[q] = query + std::min(q, count - 1) * stride;
    for (size_t j = 0; j < padded; j += 16) {
        __m512 sums[kQueries];
#pragma GCC unroll 8
        for (size_t q = 0; q < kQueries; ++q) sums[q] = _mm512_setzero_ps();
        for (size_t d = 0; d < head_dim; ++d) {
            const __m512 column = _mm512_loadu_ps(columns + d * padded + j);
#pragma GCC unroll 8
            for (size_t q = 0; q < kQueries; ++q)
                sums[q] = _mm512_fmadd_ps(_mm512_set1_ps(rows[q][d]), column, sums[q]);
        }
#pragma GCC unroll 8
        for (size_t q = 0; q < kQueries; ++q) _mm512_storeu_ps(scores + q * padded + j, sums[q]);
    }
    float norm[kQueries];
    for (size_t q = 0; q < kQueries; ++q) norm[q] = softmax(scores + q * padded, length);
    for (size_t d = 0; d < head_dim; d += 16) {
        const __mmask16 lanes = first_lanes(head_dim - d);
        __m512 sums[kQueries];
#pragma GCC unroll 8
        for (size_t q = 0; q < kQueries; ++q) sums[q] = _mm512_setzero_ps();
        for (size_t j = 0; j < length; ++j) {
            const __m512 value = _mm512_maskz_loadu_ps(lanes, values + j * stride + d);
#pragma GCC unroll 8
            for (size_t q = 0; q < kQueries; ++q)
                sums[q] = _mm512_fmadd_ps(_mm512_set1_ps(scores[q * padded + j]), value, sums[q]);
        }
#pragma GCC unroll 8
        for (size_t q = 0; q < kQueries; ++q)
            if (q < count)
                _mm512_mask_storeu_ps(y + q * y_stride + d, lanes, _mm512_mul_ps(sums[q], _mm512_set1_ps(norm[q])));
    }
}

__m512 load_half(__mmask16 lanes, const half* x) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, x));
}

// Asks for memory that is read soon.
void fetch(const half* x, size_t count) {
    for (size_t i = 0; i < count; i += 32) _mm_prefetch(reinterpret_cast<const char*>(x + i), _MM_HINT_T1);
}

// What row_attention computes for one row, of whose keys and values each token's heads lie side by side.
// `kHeadDim` is the size of a head where it is known at compile time, else 0.
template <size_t kHeadDim>
struct Row {
    const float* query;
    const half* keys;
    const half* values;
    size_t length;
    size_t heads;
    size_t any_head_dim;
    const half* next_keys;  // of the row after this one

    size_t head_dim() const { return kHeadDim ? kHeadDim : any_head_dim; }

    // Query times key, [length, heads]. Keys are read in the order in which they lie, and ask for as many values
    // and keys of the next row: rows come from memory, each from pages of its own, and this keeps it busy.
    void score(float* scores) const {
        const half* key = keys;
        size_t head = 0;
        for (size_t first = 0; first < length * heads; first += kVector) {
            const size_t count = std::min(kVector, length * heads - first);
            fetch(values + first * head_dim(), count * head_dim());
            fetch(next_keys + first * head_dim(), count * head_dim());
            __m512 sums[kVector];
            for (size_t i = 0; i < count; ++i, key += head_dim()) {
                const float* q = query + head * head_dim();
                __m512 sum = _mm512_setzero_ps();
                for (size_t d = 0; d < head_dim(); d += kVector) {
                    const __mmask16 lanes = lanes_at(d, head_dim());
                    sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, q + d), load_half(lanes, key + d), sum);
                }
                sums[i] = sum;
                head = head + 1 == heads ? 0 : head + 1;
            }
            for (size_t i = count; i < kVector; ++i) sums[i] = _mm512_setzero_ps();
            _mm512_storeu_ps(scores + first, sums_16x16(sums));
        }
    }

    // Scores to weights that add up, over the tokens, to the 1/norm of their head.
    void softmax(float* scores, float* norm) const {
        for (size_t head = 0; head < heads; head += kVector) {
            const __mmask16 lanes = lanes_at(head, heads);
            float* of_heads = scores + head;
            __m512 largest = _mm512_set1_ps(-3.4e38f), sum = _mm512_setzero_ps();
            for (size_t j = 0; j < length; ++j)
                largest = _mm512_max_ps(largest, _mm512_maskz_loadu_ps(lanes, of_heads + j * heads));
            for (size_t j = 0; j < length; ++j) {
                const __m512 score = _mm512_maskz_loadu_ps(lanes, of_heads + j * heads);
                const __m512 weight = exp_ps(_mm512_sub_ps(score, largest));
                _mm512_mask_storeu_ps(of_heads + j * heads, lanes, weight);
                sum = _mm512_add_ps(sum, weight);
            }
            _mm512_mask_storeu_ps(norm + head, lanes, _mm512_div_ps(_mm512_set1_ps(1.f), sum));
        }
    }

    // The values by their weights; heads beyond the last are the last again.
    void sum(const float* weights, const float* norm, float* y) const {
        constexpr size_t kVectors = 4;
        for (size_t first = 0; first < heads; first += kHeads) {
            for (size_t d = 0; d < head_dim(); d += kVectors * kVector) {
                __m512 sums[kHeads][kVectors];
                size_t place[kHeads];
#pragma GCC unroll 4
                for (size_t h = 0; h < kHeads; ++h) {
                    place[h] = std::min(first + h, heads - 1);
#pragma GCC unroll 4
                    for (size_t v = 0; v < kVectors; ++v) sums[h][v] = _mm512_setzero_ps();
                }
                for (size_t j = 0; j < length; ++j) {
#pragma GCC unroll 4
                    for (size_t h = 0; h < kHeads; ++h) {
                        const __m512 weight = _mm512_set1_ps(weights[j * heads + place[h]]);
                        const half* value = values + (j * heads + place[h]) * head_dim() + d;
#pragma GCC unroll 4
                        for (size_t v = 0; v < kVectors; ++v)
                            sums[h][v] = _mm512_fmadd_ps(
                                weight, load_half(lanes_at(d + v * kVector, head_dim()), value + v * kVector), sums[h][v]);
                    }
                }
#pragma GCC unroll 4
                for (size_t h = 0; h < kHeads; ++h)
#pragma GCC unroll 4
                    for (size_t v = 0; v < kVectors; ++v)
                        _mm512_mask_storeu_ps(y + place[h] * head_dim() + d + v * kVector,
                                              lanes_at(d + v * kVector, head_dim()),
                                              _mm512_mul_ps(sums[h][v], _mm512_set1_ps(norm[place[h]])));
            }
        }
    }
};

template <size_t kHeadDim>
void attend_rows(const float* query, size_t query_stride, const half* keys, const half* values,
                 const int32_t* lengths, int32_t more, size_t rows, size_t heads, size_t stride, size_t head_dim,
                 float* y) {
    static thread_local Scratch score_memory, norm_memory;
    float* scores = score_memory.get<float>(stride * heads + kVector);
    float* norm = norm_memory.get<float>(heads);
    const size_t width = heads * head_dim;
    for (size_t r = 0; r < rows; ++r, keys += stride * width, values += stride * width) {
        const half* next_keys = r + 1 < rows ? keys + stride * width : keys;
        const Row<kHeadDim> row{query + r * query_stride, keys, values, size_t(lengths[r] + more), heads, head_dim,
                                next_keys};
        row.score(scores);
        row.softmax(scores, norm);
        row.sum(scores, norm, y + r * width);
    }
}

}  // namespace

void to_half(const float* x, size_t count, half* y) {
    for (size_t i = 0; i < count; i += 16) {
        const __mmask16 lanes = first_lanes(count - i);
        const __m512 values = _mm512_maskz_loadu_ps(lanes, x + i);
        _mm256_mask_storeu_epi16(y + i, lanes, _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT));
    }
}

void packed_attention(const float* qkv, const int32_t* lengths, size_t texts, size_t heads, size_t head_dim,
                      float* y) {
    static thread_local Scratch column_memory, score_memory;
    const size_t width = heads * head_dim, stride = 3 * width;
    for (size_t text = 0; text < texts; ++text) {
        const size_t length = lengths[text], padded = (length + 15) / 16 * 16;
        float* columns = column_memory.get<float>(head_dim * padded);
        float* scores = score_memory.get<float>(kQueries * padded);
        for (size_t head = 0; head < heads; ++head) {
            const float* query = qkv + head * head_dim;
            transpose_keys(query + width, stride, length, head_dim, padded, columns);
            for (size_t first = 0; first < length; first += kQueries)
                attend_queries(query + first * stride, columns, query + 2 * width, stride,
                               std::min(kQueries, length - first), length, head_dim, padded, scores,
                               y + first * width + head * head_dim, width);
        }
        qkv += length * stride;
        y += length * width;
    }
}

void row_attention(const float* query, size_t query_stride, const half* keys, const half* values,
                   const int32_t* lengths, int32_t more, size_t rows, size_t heads, size_t stride,
                   size_t head_dim, float* y) {
    const auto attend = head_dim == 64 ? attend_rows<64> : head_dim == 32 ? attend_rows<32> : attend_rows<0>;
    attend(query, query_stride, keys, values, lengths, more, rows, heads, stride, head_dim, y);
}

}  // namespace gap
