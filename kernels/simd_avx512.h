// Sixteen floats at a time (AVX-512).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "half.h"

namespace gap {

constexpr size_t kLanes = 16;
using Floats = __m512;
using Ints = __m512i;
using Lanes = __mmask16;  // the first so many
using Mask = __mmask16;   // any

inline Lanes first_lanes(size_t count) { return count >= kLanes ? Lanes(0xffff) : Lanes((1u << count) - 1); }
// Lane i where bit i is set.
inline Mask mask_of(uint64_t bits) { return Mask(bits); }

inline Floats all(float x) { return _mm512_set1_ps(x); }
inline Floats zeros() { return _mm512_setzero_ps(); }
inline Floats load(const float* x) { return _mm512_loadu_ps(x); }
// Lanes that are left out are 0, or those of `others`, and not read from memory.
inline Floats load(Lanes lanes, const float* x) { return _mm512_maskz_loadu_ps(lanes, x); }
inline Floats load(Lanes lanes, const float* x, Floats others) { return _mm512_mask_loadu_ps(others, lanes, x); }
inline Floats load(Lanes lanes, const half* x) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, x)); }
inline void store(float* y, Floats x) { _mm512_storeu_ps(y, x); }
inline void store(Lanes lanes, float* y, Floats x) { _mm512_mask_storeu_ps(y, lanes, x); }
inline void store(Lanes lanes, half* y, Floats x) {
    _mm256_mask_storeu_epi16(y, lanes, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats abs(Floats x) { return _mm512_abs_ps(x); }
inline Floats add_product(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }        // c + a b
inline Floats subtract_product(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b
// Zeros in place of the lanes that are left out.
inline Floats keep(Lanes lanes, Floats x) { return _mm512_maskz_mov_ps(lanes, x); }
inline Mask greater(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline Mask at_least(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
inline uint32_t bits_of(Mask mask) { return mask; }
inline Floats choose(Mask mask, Floats a, Floats otherwise) { return _mm512_mask_mov_ps(otherwise, mask, a); }
inline Ints choose(Mask mask, Ints a, Ints otherwise) { return _mm512_mask_mov_epi32(otherwise, mask, a); }

inline Floats nearest(Floats x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// x 2^n for whole n in [-126, 126].
inline Floats times_power_of_2(Floats x, Floats n) { return _mm512_scalef_ps(x, n); }
// 1/x to float precision: the 14-bit estimate and one Newton step.
inline Floats reciprocal(Floats x) {
    const Floats r = _mm512_rcp14_ps(x);
    return mul(r, subtract_product(x, r, all(2.f)));
}
// Lane i from lane i + count, the lanes as a ring.
inline Floats rotated(Floats x, int count) {
    const Ints lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_permutexvar_ps(_mm512_add_epi32(lane, _mm512_set1_epi32(count)), x);
}
inline float sum_of_lanes(Floats x) { return _mm512_reduce_add_ps(x); }
inline float largest_lane(Floats x) { return _mm512_reduce_max_ps(x); }

inline Ints all(int32_t x) { return _mm512_set1_epi32(x); }
inline Ints zero_ints() { return _mm512_setzero_si512(); }
inline Ints load_ints(const void* x) { return _mm512_loadu_si512(x); }
inline Ints load(Lanes lanes, const int32_t* x) { return _mm512_maskz_loadu_epi32(lanes, x); }
inline void store(int32_t* y, Ints x) { _mm512_storeu_si512(y, x); }
inline Floats to_floats(Ints x) { return _mm512_cvtepi32_ps(x); }
inline Ints minus_128_times(Ints x) { return _mm512_sub_epi32(zero_ints(), _mm512_slli_epi32(x, 7)); }
// Whole numbers of -128 to 127, nearest to x, each plus 128.
inline void store_codes(Lanes lanes, uint8_t* codes, Floats x) {
    const Ints shifted = _mm512_add_epi32(_mm512_cvtps_epi32(x), all(128));
    _mm_mask_storeu_epi8(codes, lanes, _mm512_cvtusepi32_epi8(shifted));
}

inline int32_t dot_product(const int16_t* a, const int8_t* b, size_t count) {
    Ints sums = zero_ints();
    size_t k = 0;
    for (; k + 32 <= count; k += 32) {
        const Ints wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + k)));
        sums = _mm512_add_epi32(sums, _mm512_madd_epi16(_mm512_loadu_si512(a + k), wide));
    }
    int32_t sum = _mm512_reduce_add_epi32(sums);
    for (; k < count; ++k) sum += a[k] * b[k];
    return sum;
}

// The sum over the lanes of each of 16 vectors; all are added up in the same order.
inline Floats sums_of(const Floats (&r)[kLanes]) {
    // Brings vector i into lane i.
    constexpr int order[16] = {0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15};
    Floats pairs[8], fours[4], eights[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
        const Floats a = r[order[i]], b = r[order[i + 8]];
        pairs[i] = add(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
        fours[i] = add(_mm512_unpacklo_ps(pairs[i], pairs[i + 4]), _mm512_unpackhi_ps(pairs[i], pairs[i + 4]));
    for (int i = 0; i < 2; ++i)
        eights[i] = add(_mm512_shuffle_f32x4(fours[i], fours[i + 2], 0x88),
                        _mm512_shuffle_f32x4(fours[i], fours[i + 2], 0xdd));
    return add(_mm512_shuffle_f32x4(eights[0], eights[1], 0x88), _mm512_shuffle_f32x4(eights[0], eights[1], 0xdd));
}

// Turns 16 rows of 16 floats into their columns, in place.
inline void transpose(Floats (&r)[kLanes]) {
    Floats t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        for (int h = 0; h < 2; ++h) {
            const __m512d low = _mm512_castps_pd(t[i + h]), high = _mm512_castps_pd(t[i + h + 2]);
            r[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            r[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    // r[4g+c] now holds column c of every lane of rows 4g to 4g+3.
    for (int c = 0; c < 4; ++c) {
        const Floats even_low = _mm512_shuffle_f32x4(r[c], r[c + 4], 0x88);
        const Floats odd_low = _mm512_shuffle_f32x4(r[c], r[c + 4], 0xdd);
        const Floats even_high = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0x88);
        const Floats odd_high = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0xdd);
        t[c] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
        t[c + 4] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
        t[c + 8] = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
        t[c + 12] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
    }
    for (int i = 0; i < 16; ++i) r[i] = t[i];
}

}  // namespace gap
