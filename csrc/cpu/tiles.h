// The tile registers of AMX: eight of 16 rows of 64 bytes. Emulated in plain C++ where TAGNN_FAST_EMULATED_TILES is
// defined, to test on machines without them what walks over tiles.
#pragma once

#include <cstdint>
#include <cstring>

namespace tagnn_fast::cpu {
namespace {

constexpr int64_t kTileSize = 16;  // rows of a tile, and float32 numbers in each

#if defined(TAGNN_FAST_EMULATED_TILES)

struct EmulatedTile {
  alignas(64) unsigned char bytes[kTileSize][64];
};
thread_local EmulatedTile emulated_tiles[8];
thread_local bool emulated_tiles_in_use = false;

inline EmulatedTile& emulated_tile(int number) {
  if (!emulated_tiles_in_use) __builtin_trap();  // as the processor does
  return emulated_tiles[number];
}

// Configures this thread's tiles, all of them full, and gives them back.
class EmulatedTilesInUse {
 public:
  EmulatedTilesInUse() { emulated_tiles_in_use = true; }
  ~EmulatedTilesInUse() { emulated_tiles_in_use = false; }
};
using TilesInUse = EmulatedTilesInUse;

// Rows lie `step` bytes apart.
template <int kTile>
inline void load_tile(const void* from, int64_t step) {
  for (int64_t row = 0; row < kTileSize; ++row) {
    std::memcpy(emulated_tile(kTile).bytes[row], static_cast<const char*>(from) + row * step, 64);
  }
}
template <int kTile>
inline void store_tile(void* to, int64_t step) {
  for (int64_t row = 0; row < kTileSize; ++row) {
    std::memcpy(static_cast<char*>(to) + row * step, emulated_tile(kTile).bytes[row], 64);
  }
}
template <int kTile>
inline void zero_tile() {
  emulated_tile(kTile) = {};
}

inline float from_upper_half(uint16_t bits) {
  const uint32_t all = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &all, sizeof value);
  return value;
}

// Adds the product of a tile of lines and a tile of pairs of bfloat16 numbers.
template <int kSum, int kLines, int kPairs>
inline void multiply_tiles() {
  float sum[kTileSize][kTileSize];
  uint16_t lines[kTileSize][32], pairs[kTileSize][32];
  std::memcpy(sum, emulated_tile(kSum).bytes, sizeof sum);
  std::memcpy(lines, emulated_tile(kLines).bytes, sizeof lines);
  std::memcpy(pairs, emulated_tile(kPairs).bytes, sizeof pairs);
  for (int row = 0; row < kTileSize; ++row) {
    float even[kTileSize] = {}, odd[kTileSize] = {};
    for (int pair = 0; pair < kTileSize; ++pair) {
      const float first = from_upper_half(lines[row][2 * pair]), second = from_upper_half(lines[row][2 * pair + 1]);
      for (int column = 0; column < kTileSize; ++column) {
        even[column] += first * from_upper_half(pairs[pair][2 * column]);
        odd[column] += second * from_upper_half(pairs[pair][2 * column + 1]);
      }
    }
    for (int column = 0; column < kTileSize; ++column) sum[row][column] += even[column] + odd[column];
  }
  std::memcpy(emulated_tile(kSum).bytes, sum, sizeof sum);
}

#else

class TilesInUse {
 public:
  TilesInUse() {
    struct {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } configuration;
    static_assert(sizeof configuration == 64);
    asm volatile("ldtilecfg %0" ::"m"(configuration));
  }
  ~TilesInUse() { asm volatile("tilerelease"); }
};

template <int kTile>
inline void load_tile(const void* from, int64_t step) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(step), "i"(kTile) : "memory");
}
template <int kTile>
inline void store_tile(void* to, int64_t step) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(step), "i"(kTile) : "memory");
}
template <int kTile>
inline void zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kSum, int kLines, int kPairs>
inline void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kLines), "i"(kPairs));
}

#endif

}  // namespace
}  // namespace tagnn_fast::cpu
