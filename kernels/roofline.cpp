// What this CPU does at most of what the kernels do: products from registers, and bytes read from memory.
#include <chrono>

#include "products.h"

#define GAP_EXPORT extern "C" __attribute__((visibility("default")))

// Keeps the compiler from leaving a value out.
#ifdef __AVX512F__
#define GAP_KEEP(value) asm volatile("" : "+v"(value))
#else
#define GAP_KEEP(value) asm volatile("" : "+x"(value))
#endif

namespace gap {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

#if defined __AMX_INT8__ || defined GAP_TILES_IN_SOFTWARE
// Four tiles of sums, as in tile_products.h; the codes and weights stay in their registers.
double multiply(size_t steps) {
    const TileRows rows(2 * kTileHeight);
    static const int8_t zero[kTileHeight * kTileBytes] = {};
    load_tile<0>(zero, kTileBytes), load_tile<1>(zero, kTileBytes), load_tile<2>(zero, kTileBytes);
    load_tile<3>(zero, kTileBytes), load_tile<4>(zero, kTileBytes), load_tile<5>(zero, kTileBytes);
    load_tile<6>(zero, kTileBytes), load_tile<7>(zero, kTileBytes);
    for (size_t i = 0; i < steps; ++i) {
        add_dot_products<0, 4, 6>();
        add_dot_products<1, 4, 7>();
        add_dot_products<2, 5, 6>();
        add_dot_products<3, 5, 7>();
    }
    return 4. * kTileHeight * kTileInts * kTileBytes;
}
#else
// As many sums as registers hold, of one input and one weight.
double multiply(size_t steps) {
    constexpr size_t kSums = kMaxTileRows * kVectors;
    Ints sums[kSums], input = all(0x01010101), weight = all(0x01010101);
#pragma GCC unroll 32
    for (size_t i = 0; i < kSums; ++i) sums[i] = zero_ints();
    for (size_t step = 0; step < steps; ++step) {
#pragma GCC unroll 32
        for (size_t i = 0; i < kSums; ++i) {
#ifdef __AVX512VNNI__
            sums[i] = _mm512_dpbusd_epi32(sums[i], input, weight);
#else
            sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(input, weight));
#endif
            GAP_KEEP(sums[i]);
        }
    }
    return double(kSums) * 4 * kLanes;
}
#endif

}  // namespace
}  // namespace gap

// INT8 products a second, from registers, of so many steps.
GAP_EXPORT double gap_products_per_s(size_t steps) {
    if (!gap::may_multiply()) return 0;
    const auto start = gap::Clock::now();
    const double products = gap::multiply(steps);
    return products * double(steps) / gap::seconds_since(start);
}

// Bytes a second, of so many passes over `size` bytes, a multiple of 512.
GAP_EXPORT double gap_bytes_per_s(const char* memory, size_t size, size_t passes) {
    using namespace gap;
    const auto start = Clock::now();
    for (size_t pass = 0; pass < passes; ++pass) {
        for (size_t at = 0; at < size; at += 8 * sizeof(Ints)) {
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; ++i) {
                Ints bits = load_ints(memory + at + i * sizeof(Ints));
                GAP_KEEP(bits);
            }
        }
    }
    return double(size) * double(passes) / seconds_since(start);
}
