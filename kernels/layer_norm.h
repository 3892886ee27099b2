// Layer normalization (arXiv:1607.06450) of float rows.
#pragma once

#include <cstddef>

namespace gap {

// Each of `rows` rows of x [rows, width] in place: (x - mean) / sqrt(variance + epsilon) * weight + bias.
void layer_norm(float* x, size_t rows, size_t width, const float* weight, const float* bias, float epsilon);

}  // namespace gap
