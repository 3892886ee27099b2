// Eight floats at a time (AVX2, FMA and F16C).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "half.h"

namespace gap {

constexpr size_t kLanes = 8;
using Floats = __m256;
using Ints = __m256i;
using Mask = __m256;

// The first `count` lanes. Whole vectors take the plain instructions: masked stores are slow on many CPUs.
struct Lanes {
    size_t count;

    bool whole() const { return count >= kLanes; }
    Ints mask() const {
        alignas(32) static constexpr int32_t window[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
        return _mm256_loadu_si256(reinterpret_cast<const Ints*>(window + kLanes - (whole() ? kLanes : count)));
    }
};

inline Lanes first_lanes(size_t count) { return {count}; }
// Lane i where bit i is set.
inline Mask mask_of(uint64_t bits) {
    const Ints bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const Ints set = _mm256_and_si256(_mm256_set1_epi32(int32_t(bits)), bit);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bit));
}

inline Floats all(float x) { return _mm256_set1_ps(x); }
inline Floats zeros() { return _mm256_setzero_ps(); }
inline Floats load(const float* x) { return _mm256_loadu_ps(x); }
// Lanes that are left out are 0, or those of `others`, and not read from memory.
inline Floats load(Lanes lanes, const float* x) {
    return lanes.whole() ? load(x) : _mm256_maskload_ps(x, lanes.mask());
}
inline Floats load(Lanes lanes, const float* x, Floats others) {
    return _mm256_blendv_ps(others, load(lanes, x), _mm256_castsi256_ps(lanes.mask()));
}
inline Floats load(Lanes lanes, const half* x) {
    if (lanes.whole()) return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
    alignas(16) half some[kLanes] = {};
    std::memcpy(some, x, lanes.count * sizeof(half));
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(some)));
}
inline void store(float* y, Floats x) { _mm256_storeu_ps(y, x); }
inline void store(Lanes lanes, float* y, Floats x) {
    if (lanes.whole()) return store(y, x);
    _mm256_maskstore_ps(y, lanes.mask(), x);
}
inline void store(Lanes lanes, half* y, Floats x) {
    alignas(16) half some[kLanes];
    _mm_store_si128(reinterpret_cast<__m128i*>(some), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    if (lanes.whole()) {
        std::memcpy(y, some, sizeof some);
    } else {
        std::memcpy(y, some, lanes.count * sizeof(half));
    }
}

inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
inline Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats min(Floats a, Floats b) { return _mm256_min_ps(a, b); }
inline Floats abs(Floats x) { return _mm256_andnot_ps(all(-0.f), x); }
inline Floats add_product(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }        // c + a b
inline Floats subtract_product(Floats a, Floats b, Floats c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a b
// Zeros in place of the lanes that are left out.
inline Floats keep(Lanes lanes, Floats x) {
    return lanes.whole() ? x : _mm256_and_ps(x, _mm256_castsi256_ps(lanes.mask()));
}
inline Mask greater(Floats a, Floats b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
inline Mask at_least(Floats a, Floats b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
inline uint32_t bits_of(Mask mask) { return uint32_t(_mm256_movemask_ps(mask)); }
inline Floats choose(Mask mask, Floats a, Floats otherwise) { return _mm256_blendv_ps(otherwise, a, mask); }
inline Ints choose(Mask mask, Ints a, Ints otherwise) {
    return _mm256_blendv_epi8(otherwise, a, _mm256_castps_si256(mask));
}

inline Floats nearest(Floats x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// x 2^n for whole n in [-126, 126].
inline Floats times_power_of_2(Floats x, Floats n) {
    const Ints exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return mul(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
// 1/x nearly to float precision (1.4e-7): the 12-bit estimate and one Newton step.
inline Floats reciprocal(Floats x) {
    const Floats r = _mm256_rcp_ps(x);
    return mul(r, subtract_product(x, r, all(2.f)));
}
// Lane i from lane i + count, the lanes as a ring.
inline Floats rotated(Floats x, int count) {
    const Ints lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_permutevar8x32_ps(x, _mm256_add_epi32(lane, _mm256_set1_epi32(count)));
}
inline float sum_of_lanes(Floats x) {
    const __m128 fours = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 pairs = _mm_add_ps(fours, _mm_movehl_ps(fours, fours));
    return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)));
}
inline float largest_lane(Floats x) {
    const __m128 fours = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 pairs = _mm_max_ps(fours, _mm_movehl_ps(fours, fours));
    return _mm_cvtss_f32(_mm_max_ss(pairs, _mm_movehdup_ps(pairs)));
}

inline Ints all(int32_t x) { return _mm256_set1_epi32(x); }
inline Ints zero_ints() { return _mm256_setzero_si256(); }
inline Ints load_ints(const void* x) { return _mm256_loadu_si256(static_cast<const Ints*>(x)); }
inline Ints load(Lanes lanes, const int32_t* x) {
    return lanes.whole() ? load_ints(x) : _mm256_maskload_epi32(x, lanes.mask());
}
inline void store(int32_t* y, Ints x) { _mm256_storeu_si256(reinterpret_cast<Ints*>(y), x); }
inline Floats to_floats(Ints x) { return _mm256_cvtepi32_ps(x); }
inline Ints minus_128_times(Ints x) { return _mm256_sub_epi32(zero_ints(), _mm256_slli_epi32(x, 7)); }
// Whole numbers of -128 to 127, nearest to x, each plus 128.
inline void store_codes(Lanes lanes, uint8_t* codes, Floats x) {
    const Ints shifted = _mm256_add_epi32(_mm256_cvtps_epi32(x), all(128));
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(shifted), _mm256_extracti128_si256(shifted, 1));
    const int64_t bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words));
    if (lanes.whole()) {
        std::memcpy(codes, &bytes, kLanes);
    } else {
        std::memcpy(codes, &bytes, lanes.count);
    }
}

inline int32_t dot_product(const int16_t* a, const int8_t* b, size_t count) {
    Ints sums = zero_ints();
    size_t k = 0;
    for (; k + 16 <= count; k += 16) {
        const Ints wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + k)));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(load_ints(a + k), wide));
    }
    const __m128i fours = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    const __m128i pairs = _mm_add_epi32(fours, _mm_unpackhi_epi64(fours, fours));
    int32_t sum = _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 1)));
    for (; k < count; ++k) sum += a[k] * b[k];
    return sum;
}

// The sum over the lanes of each of 8 vectors; all are added up in the same order.
inline Floats sums_of(const Floats (&r)[kLanes]) {
    const Floats low = _mm256_hadd_ps(_mm256_hadd_ps(r[0], r[1]), _mm256_hadd_ps(r[2], r[3]));
    const Floats high = _mm256_hadd_ps(_mm256_hadd_ps(r[4], r[5]), _mm256_hadd_ps(r[6], r[7]));
    return add(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
}

// Turns 8 rows of 8 floats into their columns, in place.
inline void transpose(Floats (&r)[kLanes]) {
    Floats t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        for (int h = 0; h < 2; ++h) {
            r[i + 2 * h] = _mm256_shuffle_ps(t[i + h], t[i + h + 2], 0x44);
            r[i + 2 * h + 1] = _mm256_shuffle_ps(t[i + h], t[i + h + 2], 0xee);
        }
    }
    // r[4g+c] now holds column c of every lane of rows 4g to 4g+3.
    for (int c = 0; c < 4; ++c) {
        t[c] = _mm256_permute2f128_ps(r[c], r[c + 4], 0x20);
        t[c + 4] = _mm256_permute2f128_ps(r[c], r[c + 4], 0x31);
    }
    for (int i = 0; i < 8; ++i) r[i] = t[i];
}

}  // namespace gap
