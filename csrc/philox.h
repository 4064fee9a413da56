// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): random words as a function of
// a seed and a counter, so that a dropout mask is recomputed instead of stored and is the same on every device.
#pragma once

#include <cstdint>

#include "constants.h"

#if defined(__CUDACC__)
#define TAGNN_FAST_HOST_DEVICE __host__ __device__
#else
#define TAGNN_FAST_HOST_DEVICE
#endif

namespace tagnn_fast {

struct PhiloxWords {
  uint32_t word[4];
};

TAGNN_FAST_HOST_DEVICE static inline PhiloxWords philox(
    uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  uint32_t key0 = seed, key1 = seed >> 32;
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = uint64_t{kPhiloxMultiplier0} * c0;
    const uint64_t product1 = uint64_t{kPhiloxMultiplier1} * c2;
    const uint32_t next0 = (product1 >> 32) ^ c1 ^ key0;
    const uint32_t next2 = (product0 >> 32) ^ c3 ^ key1;
    c1 = product1;
    c3 = product0;
    c0 = next0;
    c2 = next2;
    key0 += kPhiloxKey0;
    key1 += kPhiloxKey1;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace tagnn_fast
