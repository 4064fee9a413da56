// Numbers that both backends compute with. Those that tagnn_fast/ops/reference.py, the definition, has again are held
// to it by tests/ops/test_constants.py.
#pragma once

#include <cstdint>

namespace tagnn_fast {

constexpr double kNormEpsilon = 1e-5;          // added to a variance, as torch.nn.LayerNorm does
constexpr double kRandomWords = 4294967296.0;  // 2^32: a weight is dropped where its word is below rate · 2^32
constexpr double kLog2E = 1.4426950408889634;  // logarithm of e to base 2
constexpr float kSmallestExponent = -87.f;     // e to anything below it is no normal number of float32: taken as zero
constexpr int64_t kNoSlot = -1;                // of clicks that are skipped, of entries that are padded positions

// Philox4x32-10.
constexpr int kPhiloxRounds = 10;
constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53, kPhiloxMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kPhiloxKey0 = 0x9E3779B9, kPhiloxKey1 = 0xBB67AE85;

}  // namespace tagnn_fast
