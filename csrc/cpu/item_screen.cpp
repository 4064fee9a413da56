// Item vectors to int8: once for a table, so plain loops do. The same bytes on every instruction set.

#include "item_screen_kernel.h"

#include <cmath>
#include <limits>

#include "sessions.h"
#include "vectors.h"

namespace tagnn_fast::cpu {
namespace {

// One item of a block. What is not finite or too long for float32's products is never screened out: its error is
// infinite.
void quantise(const float* vector, int64_t hidden, int64_t place, uint8_t* block) {
  float largest = 0;
  double square = 0;
  for (int64_t c = 0; c < hidden; ++c) {
    largest = std::max(largest, std::fabs(vector[c]));
    square += static_cast<double>(vector[c]) * vector[c];
  }
  float* head = reinterpret_cast<float*>(block);
  uint8_t* bytes = block + kScreenHead + place * kScreenUnits;
  if (!(square <= static_cast<double>(kLargestScreenedNorm) * kLargestScreenedNorm)) {
    head[kScreenItems + place] = std::numeric_limits<float>::infinity();
    return;
  }
  const float scale = largest / kScreenLargest;
  if (scale < std::numeric_limits<float>::min()) {  // nothing to divide by; what is there is in the error
    head[kScreenItems + place] = std::nextafterf(std::sqrt(square), kLargestScreenedNorm);
    return;
  }
  const float inverse = 1 / scale;
  double error = 0;
  for (int64_t c = 0; c < hidden; ++c) {
    const int64_t number = std::clamp<int64_t>(std::lrintf(vector[c] * inverse), -kScreenLargest, kScreenLargest);
    const double rest = vector[c] - static_cast<double>(scale) * number;
    error += rest * rest;
    bytes[c / kScreenUnits * kScreenItems * kScreenUnits + c % kScreenUnits] = kScreenZero + number;
  }
  head[place] = scale;
  head[kScreenItems + place] = std::nextafterf(std::sqrt(error), kLargestScreenedNorm);
}

Tensor item_screen(const Tensor& table_in) {
  Tensor table = table_in;
  const bool is_bfloat16 = table.scalar_type() == ScalarType::BFloat16;
  const ScalarType dtype = is_bfloat16 ? ScalarType::BFloat16 : ScalarType::Float;
  check_tensor(CpuOp::kBackend, table, "table", dtype, {kAnySize, kAnySize});
  const int64_t items = table.size(0), hidden = table.size(1);
  check_value(hidden > 0 && hidden <= kMostScreenedUnits, "table", "1 to 1024 hidden units", hidden);
  make_contiguous({&table});
  const int64_t size = screen_block_bytes(hidden), blocks = screen_blocks(items);
  Tensor screen = make_empty(table, {blocks, size}, ScalarType::Byte);
  uint8_t* all = mutable_data<uint8_t>(screen);
  for_balanced_chunks(
      num_chunks(items * hidden), blocks, [](int64_t block) { return block; },
      [&](int64_t, int64_t begin, int64_t end) {
        std::vector<float> widened(hidden);
        for (int64_t block = begin; block < end; ++block) {
          uint8_t* to = all + block * size;
          std::fill_n(to, kScreenHead, 0);
          std::fill(to + kScreenHead, to + size, kScreenZero);
          for (int64_t i = 0; i < std::min(kScreenItems, items - block * kScreenItems); ++i) {
            const int64_t first = (block * kScreenItems + i) * hidden;
            if (!is_bfloat16) {
              quantise(data<float>(table) + first, hidden, i, to);
              continue;
            }
            const uint16_t* from = data<uint16_t>(table) + first;
            for (int64_t c = 0; c < hidden; ++c) widened[c] = from_bfloat16<float>(from[c]);
            quantise(widened.data(), hidden, i, to);
          }
        }
      });
  return screen;
}

}  // namespace
}  // namespace tagnn_fast::cpu

// For every device, to refuse others than the CPU in our own words.
TAGNN_FAST_REGISTER(CompositeExplicitAutograd, library) {
  library.impl("item_screen", TORCH_BOX(&tagnn_fast::cpu::item_screen));
}
