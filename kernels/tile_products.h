// Products in the tile registers of AMX: two tiles of rows by two of columns, 64 inputs at a time.
#pragma once

#include <algorithm>
#include <cstring>

#include "products.h"
#include "tiles.h"

namespace gap {

constexpr size_t kPanel = 2 * kTileInts;
constexpr size_t kVectors = kPanel / kLanes;
constexpr size_t kMaxTileRows = 2 * kTileHeight;
constexpr size_t kStep = kTileBytes;

using TileSums = Ints[kMaxTileRows][kVectors];

inline bool may_multiply() { return allow_tiles(); }

// Tiles have one height for all rows, so the last may have a row too many; and where the inputs end within a step,
// it reads what is behind them (by weights of 0).
inline size_t room_for_codes(size_t rows, size_t inputs) { return (rows + 1) * inputs + kTileBytes; }

// The registers: sums 0 and 1 of the upper rows, 2 and 3 of the lower; codes 4 and 5; weights 6 and 7.
class TileRows {
   public:
    explicit TileRows(size_t rows) : upper(rows <= kTileHeight ? rows : (rows + 1) / 2), lower(rows - upper) {
        TileShapes shapes;
        for (int tile : {0, 1, 4}) shapes.set(tile, upper);
        if (lower)
            for (int tile : {2, 3, 5}) shapes.set(tile, lower);
        for (int tile : {6, 7}) shapes.set(tile, kTileHeight);
        configure_tiles(shapes);
    }
    ~TileRows() { release_tiles(); }
    TileRows(const TileRows&) = delete;
    TileRows& operator=(const TileRows&) = delete;

    const size_t upper, lower;
};

[[gnu::always_inline]] inline void add_products(const TileRows& rows, const uint8_t* codes, size_t stride,
                                                const int8_t* weight) {
    load_tile<6>(weight, 4 * kPanel);
    load_tile<4>(codes, stride);
    add_dot_products<0, 4, 6>();
    load_tile<7>(weight + kTileBytes, 4 * kPanel);
    add_dot_products<1, 4, 7>();
    if (!rows.lower) return;
    load_tile<5>(codes + rows.upper * stride, stride);
    add_dot_products<2, 5, 6>();
    add_dot_products<3, 5, 7>();
}

template <typename Between>
void accumulate(const TileRows& rows, size_t, const uint8_t* codes, const int8_t* weight, size_t inputs, Ahead ahead,
                const Ints (&shift)[kVectors], TileSums& sums, const Between& between) {
    const size_t share = (kMaxTileRows * kStep + inputs - 1) / inputs;
    // Every row of a sum's tile is read from one place.
    const int32_t* start = reinterpret_cast<const int32_t*>(shift);
    load_tile<0>(start, 0);
    load_tile<1>(start + kTileInts, 0);
    if (rows.lower) {
        load_tile<2>(start, 0);
        load_tile<3>(start + kTileInts, 0);
    }
    size_t k = 0;
    for (; k + kStep <= inputs; k += kStep, weight += kStep * kPanel) {
        ahead.fetch();
        add_products(rows, codes + k, inputs, weight);
        between(share);
    }
    if (k < inputs) {
        int8_t last[kStep * kPanel] = {};
        std::memcpy(last, weight, (inputs - k) * kPanel);
        add_products(rows, codes + k, inputs, last);
    }
    int32_t* out = reinterpret_cast<int32_t*>(sums);
    store_tile<0>(out, 4 * kPanel);
    store_tile<1>(out + kTileInts, 4 * kPanel);
    if (rows.lower) {
        store_tile<2>(out + rows.upper * kPanel, 4 * kPanel);
        store_tile<3>(out + rows.upper * kPanel + kTileInts, 4 * kPanel);
    }
}

}  // namespace gap
