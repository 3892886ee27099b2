// The step that all layers are made of: products of a few inputs of some rows by a panel of weights.
#pragma once

#include <cstring>

#include "simd.h"

namespace gap {

#ifdef __AVX512VNNI__
constexpr size_t kVectors = 4;      // of a panel
constexpr size_t kMaxTileRows = 6;  // 6 x 4 sums, 4 weights and an input fill the 32 registers
constexpr size_t kFours = 1;        // of inputs that are multiplied in one step
#else
constexpr size_t kVectors = 2;
constexpr size_t kMaxTileRows = 3;  // with 3 x 2 sums in 32 and as many in 16 bits, 12 of the 16 registers
constexpr size_t kFours = 4;
#endif
constexpr size_t kPanel = kVectors * kLanes;  // columns

// Four neighbouring input codes in every lane.
inline Ints spread(const uint8_t* codes) {
    int32_t four;
    std::memcpy(&four, codes, 4);
    return all(four);
}

// Adds the products of kCount times four input codes of each of `kRows` rows, `stride` apart, by weights [kCount,
// kPanel, 4].
template <size_t kCount, size_t kRows>
[[gnu::always_inline]] inline void add_products(const uint8_t* codes, size_t stride, const int8_t* weight,
                                                Ints (&sums)[kRows][kVectors]) {
#ifdef __AVX512VNNI__
    static_assert(kCount == 1);
    Ints columns[kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) columns[v] = load_ints(weight + 4 * kLanes * v);
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
        const Ints input = spread(codes + r * stride);
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], input, columns[v]);
    }
#else
    // Sums of all the step's products, two to a lane, in 16 bits. That they fit is a property of the weights: see
    // LinearWeights. The empty statement keeps the compiler from adding up in another order, with which it runs
    // out of registers.
    Ints halves[kRows][kVectors];
#pragma GCC unroll 4
    for (size_t i = 0; i < kCount; ++i, weight += 4 * kPanel) {
        Ints columns[kVectors];
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) columns[v] = load_ints(weight + 4 * kLanes * v);
#pragma GCC unroll 8
        for (size_t r = 0; r < kRows; ++r) {
            const Ints input = spread(codes + r * stride + 4 * i);
#pragma GCC unroll 4
            for (size_t v = 0; v < kVectors; ++v) {
                const Ints pairs = _mm256_maddubs_epi16(input, columns[v]);
                halves[r][v] = i ? _mm256_add_epi16(halves[r][v], pairs) : pairs;
                asm("" : "+x"(halves[r][v]));
            }
        }
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v)
            sums[r][v] = _mm256_add_epi32(sums[r][v], _mm256_madd_epi16(halves[r][v], _mm256_set1_epi16(1)));
#endif
}

}  // namespace gap
