// Products in vector registers: AVX-512 VNNI, or AVX2.
#pragma once

#include <array>
#include <cstring>
#include <utility>

#include "products.h"

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
constexpr size_t kPanel = kVectors * kLanes;
constexpr size_t kStep = 4 * kFours;

using TileSums = Ints[kMaxTileRows][kVectors];

inline bool may_multiply() { return true; }

inline size_t room_for_codes(size_t rows, size_t inputs) { return rows * inputs; }

struct TileRows {
    explicit TileRows(size_t) {}
};

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

// A function of its own, or the compiler keeps the sums in memory within the loop.
template <size_t kRows>
[[gnu::noinline]] void accumulate_rows(const uint8_t* codes, const int8_t* weight, size_t inputs, Ahead ahead,
                                       const Ints (&shift)[kVectors], TileSums& out) {
    Ints sums[kRows][kVectors];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) sums[r][v] = shift[v];
    size_t k = 0;
    for (; k + kStep <= inputs; k += kStep, weight += kStep * kPanel) {
        ahead.fetch();
        add_products<kFours>(codes + k, inputs, weight, sums);
    }
    if (kFours > 1)
        for (; k < inputs; k += 4, weight += 4 * kPanel) add_products<1>(codes + k, inputs, weight, sums);
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) out[r][v] = sums[r][v];
}

// The tiles of 1, 2, ... rows.
template <size_t... kRows>
constexpr auto of_rows(std::index_sequence<kRows...>) {
    return std::array{&accumulate_rows<kRows + 1>...};
}

template <typename Between>
void accumulate(const TileRows&, size_t rows, const uint8_t* codes, const int8_t* weight, size_t inputs, Ahead ahead,
                const Ints (&shift)[kVectors], TileSums& sums, const Between&) {
    static constexpr auto tiles = of_rows(std::make_index_sequence<kMaxTileRows>());
    tiles[rows - 1](codes, weight, inputs, ahead, shift, sums);
}

}  // namespace gap
