#include "layer_norm.h"

#include <cmath>

#include "simd.h"

namespace gap {

void layer_norm(float* x, size_t rows, size_t width, const float* weight, const float* bias, float epsilon) {
    for (size_t row = 0; row < rows; ++row, x += width) {
        Floats sum = zeros();
        for (size_t i = 0; i < width; i += kLanes) sum = add(sum, load(first_lanes(width - i), x + i));
        const Floats mean = all(sum_of_lanes(sum) / width);
        Floats squares = zeros();
        for (size_t i = 0; i < width; i += kLanes) {
            const Lanes lanes = first_lanes(width - i);
            const Floats apart = keep(lanes, sub(load(lanes, x + i), mean));
            squares = add_product(apart, apart, squares);
        }
        const float deviation = std::sqrt(sum_of_lanes(squares) / width + epsilon);
        const Floats factor = all(1.f / deviation);
        for (size_t i = 0; i < width; i += kLanes) {
            const Lanes lanes = first_lanes(width - i);
            const Floats normal = mul(sub(load(lanes, x + i), mean), factor);
            store(lanes, x + i, add_product(normal, load(lanes, weight + i), load(lanes, bias + i)));
        }
    }
}

}  // namespace gap
