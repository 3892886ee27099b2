#include "layer_norm.h"

#include <immintrin.h>

#include <cmath>

#include "vector_math.h"

namespace gap {

void layer_norm(float* x, size_t rows, size_t width, const float* weight, const float* bias, float epsilon) {
    for (size_t row = 0; row < rows; ++row, x += width) {
        __m512 sum = _mm512_setzero_ps();
        for (size_t i = 0; i < width; i += 16)
            sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(first_lanes(width - i), x + i));
        const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / width);
        __m512 squares = _mm512_setzero_ps();
        for (size_t i = 0; i < width; i += 16) {
            const __mmask16 lanes = first_lanes(width - i);
            const __m512 apart = _mm512_maskz_sub_ps(lanes, _mm512_maskz_loadu_ps(lanes, x + i), mean);
            squares = _mm512_fmadd_ps(apart, apart, squares);
        }
        const float deviation = std::sqrt(_mm512_reduce_add_ps(squares) / width + epsilon);
        const __m512 factor = _mm512_set1_ps(1.f / deviation);
        for (size_t i = 0; i < width; i += 16) {
            const __mmask16 lanes = first_lanes(width - i);
            const __m512 apart = _mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, x + i), mean);
            const __m512 normal = _mm512_mul_ps(apart, factor);
            const __m512 y = _mm512_fmadd_ps(normal, _mm512_maskz_loadu_ps(lanes, weight + i),
                                             _mm512_maskz_loadu_ps(lanes, bias + i));
            _mm512_mask_storeu_ps(x + i, lanes, y);
        }
    }
}

}  // namespace gap
