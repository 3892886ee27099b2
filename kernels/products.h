// The step that all layers are made of: products of the input codes of some rows by a panel of weights.
//
// Each of the forms below has
//   kPanel           columns of a panel, kVectors vectors
//   kMaxTileRows     rows that are multiplied at a time
//   kStep            inputs of a step of its loop
//   room_for_codes   bytes of the memory that codes [rows, inputs] lie in, of which the end may be unused
//   TileRows(rows)   what tiles of up to so many rows need, while it lives
//   may_multiply     whether the system lets this process use its instructions
//   accumulate       adds the products of codes [rows, inputs] by weights [inputs/4, kPanel, 4] to `shift`; it may call
//                    between(n) meanwhile, for work of n rows of another tile
#pragma once

#include "simd.h"

namespace gap {

constexpr size_t kLine = 64;  // bytes of a cache line

// What a tile fetches of the panel after its own, so that it comes from memory while tiles are computed: `lines` cache
// lines, spread over the `steps` of its loop.
class Ahead {
   public:
    Ahead(const int8_t* weight, size_t lines, size_t steps) : weight_(weight), lines_(lines), steps_(steps) {}

    void fetch() {
        for (due_ += lines_; due_ >= steps_; due_ -= steps_, weight_ += kLine) {
            const char* line = reinterpret_cast<const char*>(weight_);
            // More than a line a step would drive the tile's own panel out of the first-level cache.
            if (lines_ <= steps_) {
                _mm_prefetch(line, _MM_HINT_T0);
            } else {
                _mm_prefetch(line, _MM_HINT_T1);
            }
        }
    }

   private:
    const int8_t* weight_;
    size_t lines_, steps_;
    size_t due_ = 0;
};

}  // namespace gap

#if defined __AMX_INT8__ || defined GAP_TILES_IN_SOFTWARE
#include "tile_products.h"
#else
#include "vector_products.h"
#endif
