// Tile registers: AMX's, or the same in software, with which the code around them is tested on other CPUs.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18, and TDPBUSD in volume 2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __AMX_INT8__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gap {

constexpr size_t kTiles = 8;
constexpr size_t kTileHeight = 16;               // rows
constexpr size_t kTileBytes = 64;                // of a row
constexpr size_t kTileInts = kTileBytes / 4;     // of a row

// The operand of LDTILECFG. Tiles that are not set may not be used.
class alignas(64) TileShapes {
   public:
    void set(int tile, size_t rows) {
        row_bytes_[tile] = kTileBytes;
        rows_[tile] = uint8_t(rows);
    }
    size_t rows(int tile) const { return rows_[tile]; }

   private:
    uint8_t palette_ = 1;
    uint8_t start_row_ = 0;
    uint8_t reserved_[14] = {};
    uint16_t row_bytes_[16] = {};
    uint8_t rows_[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

#ifdef __AMX_INT8__

// Asks the system for the right to use tiles, which a process of Linux has to before it does.
inline bool allow_tiles() {
    constexpr int kRequestFeature = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequestFeature, kTileData) == 0;
}

inline void configure_tiles(const TileShapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes)); }
inline void release_tiles() { asm volatile("tilerelease"); }

// Rows `stride` bytes apart.
template <int kTile>
inline void load_tile(const void* from, size_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
inline void store_tile(void* to, size_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
}
// sums[m][n] += sum over k of codes[m][k] weights[k/4][4n + k%4], of unsigned codes by signed weights.
template <int kSums, int kCodes, int kWeights>
inline void add_dot_products() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kCodes), "i"(kWeights));
}

#else

struct Tile {
    size_t rows;
    uint8_t bytes[kTileHeight][kTileBytes];
};
inline thread_local Tile tiles[kTiles];

inline bool allow_tiles() { return true; }
inline void configure_tiles(const TileShapes& shapes) {
    for (size_t tile = 0; tile < kTiles; ++tile) tiles[tile].rows = shapes.rows(tile);
}
inline void release_tiles() { configure_tiles({}); }
template <int kTile>
inline void load_tile(const void* from, size_t stride) {
    for (size_t row = 0; row < tiles[kTile].rows; ++row)
        std::memcpy(tiles[kTile].bytes[row], static_cast<const uint8_t*>(from) + row * stride, kTileBytes);
}
template <int kTile>
inline void store_tile(void* to, size_t stride) {
    for (size_t row = 0; row < tiles[kTile].rows; ++row)
        std::memcpy(static_cast<uint8_t*>(to) + row * stride, tiles[kTile].bytes[row], kTileBytes);
}
template <int kSums, int kCodes, int kWeights>
inline void add_dot_products() {
    for (size_t m = 0; m < tiles[kSums].rows; ++m) {
        int32_t sums[kTileInts];
        std::memcpy(sums, tiles[kSums].bytes[m], kTileBytes);
        for (size_t k = 0; k < kTileBytes; ++k)
            for (size_t n = 0; n < kTileInts; ++n)
                sums[n] += tiles[kCodes].bytes[m][k] * int8_t(tiles[kWeights].bytes[k / 4][4 * n + k % 4]);
        std::memcpy(tiles[kSums].bytes[m], sums, kTileBytes);
    }
}

#endif

}  // namespace gap
