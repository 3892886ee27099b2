#include "attention.h"

#include <algorithm>

#include "scratch.h"
#include "vector_math.h"

namespace gap {
namespace {

constexpr size_t kQueries = 8;           // queries that share each load of keys and values
constexpr size_t kHeads = kLanes / 4;    // heads whose sums are kept in registers at once

// Scores to unnormalised weights, with zeros beyond `length` up to a multiple of kLanes; returns 1/sum.
float softmax(float* scores, size_t length) {
    Floats largest = all(-3.4e38f);
    for (size_t j = 0; j < length; j += kLanes)
        largest = max(largest, load(first_lanes(length - j), scores + j, largest));
    const Floats shift = all(largest_lane(largest));
    Floats sum = zeros();
    for (size_t j = 0; j < length; j += kLanes) {
        const Lanes lanes = first_lanes(length - j);
        const Floats weight = keep(lanes, exp(sub(load(lanes, scores + j), shift)));
        store(scores + j, weight);
        sum = add(sum, weight);
    }
    return 1.f / sum_of_lanes(sum);
}

// Keys [length, head_dim], `stride` apart, as columns [head_dim, padded] with zeros beyond `length`.
void transpose_keys(const float* keys, size_t stride, size_t length, size_t head_dim, size_t padded,
                    float* columns) {
    for (size_t j = 0; j < length; j += kLanes) {
        for (size_t d = 0; d < head_dim; d += kLanes) {
            const Lanes lanes = first_lanes(head_dim - d);
            Floats block[kLanes];
            for (size_t i = 0; i < kLanes; ++i)
                block[i] = j + i < length ? load(lanes, keys + (j + i) * stride + d) : zeros();
            transpose(block);
            for (size_t i = 0; i < kLanes && d + i < head_dim; ++i) store(columns + (d + i) * padded + j, block[i]);
        }
    }
}

// Always eight queries, so that a query's sums run in one order; those beyond `count` repeat the last.
void attend_queries(const float* query, const float* columns, const float* values, size_t stride, size_t count,
                    size_t length, size_t head_dim, size_t padded, float* scores, float* y, size_t y_stride) {
    const float* rows[kQueries];
    for (size_t q = 0; q < kQueries; ++q) rows[q] = query + std::min(q, count - 1) * stride;
    for (size_t j = 0; j < padded; j += kLanes) {
        Floats sums[kQueries];
#pragma GCC unroll 8
        for (size_t q = 0; q < kQueries; ++q) sums[q] = zeros();
        for (size_t d = 0; d < head_dim; ++d) {
            const Floats column = load(columns + d * padded + j);
#pragma GCC unroll 8
            for (size_t q = 0; q < kQueries; ++q) sums[q] = add_product(all(rows[q][d]), column, sums[q]);
        }
#pragma GCC unroll 8
        for (size_t q = 0; q < kQueries; ++q) store(scores + q * padded + j, sums[q]);
    }
    float norm[kQueries];
    for (size_t q = 0; q < kQueries; ++q) norm[q] = softmax(scores + q * padded, length);
    for (size_t d = 0; d < head_dim; d += kLanes) {
        const Lanes lanes = first_lanes(head_dim - d);
        Floats sums[kQueries];
#pragma GCC unroll 8
        for (size_t q = 0; q < kQueries; ++q) sums[q] = zeros();
        for (size_t j = 0; j < length; ++j) {
            const Floats value = load(lanes, values + j * stride + d);
#pragma GCC unroll 8
            for (size_t q = 0; q < kQueries; ++q) sums[q] = add_product(all(scores[q * padded + j]), value, sums[q]);
        }
#pragma GCC unroll 8
        for (size_t q = 0; q < kQueries; ++q)
            if (q < count) store(lanes, y + q * y_stride + d, mul(sums[q], all(norm[q])));
    }
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

    // Query times key, [length, heads]. Keys are read in the order in which they lie, and ask for as many values:
    // rows come from memory, each from pages of its own, and this keeps it busy.
    void score(float* scores) const {
        const size_t count = length * heads;
        size_t head = 0;
        for (size_t first = 0; first < count; first += kLanes) {
            fetch(values + first * head_dim(), std::min(kLanes, count - first) * head_dim());
            Floats sums[kLanes];
#pragma GCC unroll 16
            for (size_t i = 0; i < kLanes; ++i) {
                // Beyond the last one it is the last one again.
                const half* key = keys + std::min(first + i, count - 1) * head_dim();
                sums[i] = product(query + head * head_dim(), key);
                head = head + 1 == heads ? 0 : head + 1;
            }
            store(scores + first, sums_of(sums));
        }
    }

    // Query times key of one head, to be added up over the lanes.
    Floats product(const float* q, const half* key) const {
        Floats sum = zeros();
#pragma GCC unroll 4
        for (size_t d = 0; d < head_dim(); d += kLanes) {
            const Lanes lanes = lanes_at(d, head_dim());
            sum = add_product(load(lanes, q + d), load(lanes, key + d), sum);
        }
        return sum;
    }

    // Scores to weights that add up, over the tokens, to the 1/norm of their head.
    void softmax(float* scores, float* norm) const {
        if (kLanes % heads == 0) return softmax_of_tokens(scores, norm);
        for (size_t head = 0; head < heads; head += kLanes) {
            const Lanes lanes = lanes_at(head, heads);
            float* of_heads = scores + head;
            Floats largest = all(-3.4e38f), sum = zeros();
            for (size_t j = 0; j < length; ++j) largest = max(largest, load(lanes, of_heads + j * heads));
            for (size_t j = 0; j < length; ++j) {
                const Floats weight = exp(sub(load(lanes, of_heads + j * heads), largest));
                store(lanes, of_heads + j * heads, weight);
                sum = add(sum, weight);
            }
            store(lanes, norm + head, div(all(1.f), sum));
        }
    }

    // The same where a vector holds all heads of some tokens.
    void softmax_of_tokens(float* scores, float* norm) const {
        const size_t count = length * heads;
        Floats largest = all(-3.4e38f), sum = zeros();
        for (size_t i = 0; i < count; i += kLanes)
            largest = max(largest, load(first_lanes(count - i), scores + i, largest));
        for (size_t apart = heads; apart < kLanes; apart *= 2) largest = max(largest, rotated(largest, apart));
        for (size_t i = 0; i < count; i += kLanes) {
            const Lanes lanes = first_lanes(count - i);
            const Floats weight = keep(lanes, exp(sub(load(lanes, scores + i), largest)));
            store(scores + i, weight);
            sum = add(sum, weight);
        }
        for (size_t apart = heads; apart < kLanes; apart *= 2) sum = add(sum, rotated(sum, apart));
        store(first_lanes(heads), norm, div(all(1.f), sum));
    }

    // The values by their weights; heads beyond the last are the last again. They ask for the next row's keys.
    void sum(const float* weights, const float* norm, float* y) const {
        constexpr size_t kPart = 4;  // vectors
        for (size_t first = 0; first < heads; first += kHeads) {
            const size_t count = std::min(kHeads, heads - first);
            for (size_t d = 0; d < head_dim(); d += kPart * kLanes) {
                Floats sums[kHeads][kPart];
                size_t place[kHeads];
#pragma GCC unroll 4
                for (size_t h = 0; h < kHeads; ++h) {
                    place[h] = std::min(first + h, heads - 1);
#pragma GCC unroll 4
                    for (size_t v = 0; v < kPart; ++v) sums[h][v] = zeros();
                }
                for (size_t j = 0; j < length; ++j) {
                    if (!d) fetch(next_keys + (j * heads + first) * head_dim(), count * head_dim());
#pragma GCC unroll 4
                    for (size_t h = 0; h < kHeads; ++h) {
                        const Floats weight = all(weights[j * heads + place[h]]);
                        const half* value = values + (j * heads + place[h]) * head_dim() + d;
#pragma GCC unroll 4
                        for (size_t v = 0; v < kPart; ++v) {
                            const Lanes lanes = lanes_at(d + v * kLanes, head_dim());
                            sums[h][v] = add_product(weight, load(lanes, value + v * kLanes), sums[h][v]);
                        }
                    }
                }
#pragma GCC unroll 4
                for (size_t h = 0; h < kHeads; ++h)
#pragma GCC unroll 4
                    for (size_t v = 0; v < kPart; ++v)
                        store(lanes_at(d + v * kLanes, head_dim()), y + place[h] * head_dim() + d + v * kLanes,
                              mul(sums[h][v], all(norm[place[h]])));
            }
        }
    }
};

template <size_t kHeadDim>
void attend_rows(const float* query, size_t query_stride, const half* keys, const half* values,
                 const int32_t* lengths, int32_t more, size_t rows, size_t heads, size_t stride, size_t head_dim,
                 float* y) {
    static thread_local Scratch score_memory, norm_memory;
    float* scores = score_memory.get<float>(stride * heads + kLanes);
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
    for (size_t i = 0; i < count; i += kLanes) {
        const Lanes lanes = first_lanes(count - i);
        store(lanes, y + i, load(lanes, x + i));
    }
}

void packed_attention(const float* qkv, const int32_t* lengths, size_t texts, size_t heads, size_t head_dim,
                      float* y) {
    static thread_local Scratch column_memory, score_memory;
    const size_t width = heads * head_dim, stride = 3 * width;
    for (size_t text = 0; text < texts; ++text) {
        const size_t length = lengths[text], padded = (length + kLanes - 1) / kLanes * kLanes;
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
