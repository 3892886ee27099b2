// Sixteen floats at a time (AVX-512): exp, the activations, and their sum over lanes in a fixed order.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace gap {

inline __mmask16 first_lanes(size_t count) {
    return count >= 16 ? __mmask16(0xffff) : __mmask16((1u << count) - 1);
}

// Which of the 16 columns from `column` there are.
inline __mmask16 lanes_at(size_t column, size_t columns) {
    return column < columns ? first_lanes(columns - column) : __mmask16(0);
}

// 2^x for x in [-126, 126]: 2^n by exponent, 2^f for f in [-0.5, 0.5] by its Taylor series (1e-7 relative).
inline __m512 exp2_ps(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-126.f), _mm512_min_ps(_mm512_set1_ps(126.f), x));
    const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 f = _mm512_sub_ps(x, n);
    __m512 y = _mm512_set1_ps(1.5403530e-4f);
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.3333558e-3f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(9.6181291e-3f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(5.5504109e-2f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(2.4022651e-1f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(6.9314718e-1f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.f));
    return _mm512_scalef_ps(y, n);
}

inline __m512 exp_ps(__m512 x) { return exp2_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f))); }

// 1/x to float precision: the 14-bit estimate and one Newton step.
inline __m512 reciprocal_ps(__m512 x) {
    const __m512 r = _mm512_rcp14_ps(x);
    return _mm512_mul_ps(r, _mm512_fnmadd_ps(x, r, _mm512_set1_ps(2.f)));
}

inline __m512 silu_ps(__m512 x) {
    const __m512 e = exp2_ps(_mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f)));
    return _mm512_mul_ps(x, reciprocal_ps(_mm512_add_ps(e, _mm512_set1_ps(1.f))));
}

// x times the normal distribution's Phi(x), by erf's formula 7.1.26 of Abramowitz and Stegun (1.5e-7).
inline __m512 gelu_ps(__m512 x) {
    const __m512 magnitude = _mm512_abs_ps(x);
    const __m512 z = _mm512_mul_ps(magnitude, _mm512_set1_ps(0.70710678f));
    const __m512 t = reciprocal_ps(_mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), _mm512_set1_ps(1.f)));
    __m512 y = _mm512_set1_ps(1.061405429f);
    y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(-1.453152027f));
    y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(1.421413741f));
    y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(-0.284496736f));
    y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(0.254829592f));
    const __m512 e = exp_ps(_mm512_mul_ps(_mm512_sub_ps(_mm512_setzero_ps(), z), z));
    const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(y, t), _mm512_mul_ps(e, _mm512_set1_ps(0.5f)));
    return _mm512_fnmadd_ps(magnitude, tail, _mm512_max_ps(x, _mm512_setzero_ps()));
}

// The sum over the lanes of each of 16 vectors; all are added up in the same order.
inline __m512 sums_16x16(const __m512 (&r)[16]) {
    // Brings vector i into lane i.
    constexpr int order[16] = {0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15};
    __m512 pairs[8], fours[4], eights[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
        const __m512 a = r[order[i]], b = r[order[i + 8]];
        pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
        fours[i] = _mm512_add_ps(_mm512_unpacklo_ps(pairs[i], pairs[i + 4]),
                                 _mm512_unpackhi_ps(pairs[i], pairs[i + 4]));
    for (int i = 0; i < 2; ++i)
        eights[i] = _mm512_add_ps(_mm512_shuffle_f32x4(fours[i], fours[i + 2], 0x88),
                                  _mm512_shuffle_f32x4(fours[i], fours[i + 2], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(eights[0], eights[1], 0x88),
                         _mm512_shuffle_f32x4(eights[0], eights[1], 0xdd));
}

// Turns 16 rows of 16 floats into their columns, in place.
inline void transpose_16x16(__m512 (&r)[16]) {
    __m512 t[16];
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
        const __m512 even_low = _mm512_shuffle_f32x4(r[c], r[c + 4], 0x88);
        const __m512 odd_low = _mm512_shuffle_f32x4(r[c], r[c + 4], 0xdd);
        const __m512 even_high = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0x88);
        const __m512 odd_high = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0xdd);
        t[c] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
        t[c + 4] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
        t[c + 8] = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
        t[c + 12] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
    }
    for (int i = 0; i < 16; ++i) r[i] = t[i];
}

}  // namespace gap
