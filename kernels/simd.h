// Vectors of floats, as wide as the instructions that the library is compiled for have them: `kLanes` at a time.
#pragma once

#ifdef __AVX512F__
#include "simd_avx512.h"
#else
#include "simd_avx2.h"
#endif

namespace gap {

// Which of the lanes from `column` on there are.
inline Lanes lanes_at(size_t column, size_t columns) {
    return first_lanes(column < columns ? columns - column : 0);
}

}  // namespace gap
