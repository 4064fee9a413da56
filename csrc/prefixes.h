// Training examples as prefixes of whole sessions: argument checks and the search, the same on every device.
#pragma once

#include <cstdint>
#include <optional>

#include "checks.h"
#include "philox.h"

namespace tagnn_fast {

inline void check_prefix_batch(
    const Tensor& clicks, const Tensor& offsets, const Tensor& first_example, const Tensor& examples,
    const std::optional<int64_t>& capacity) {
  check_tensor(clicks, "clicks", ScalarType::Int, {kAnySize});
  check_tensor(offsets, "offsets", ScalarType::Long, {kAnySize});
  check_value(offsets.size(0) >= 1, "offsets", "at least one value", offsets.size(0));
  check_tensor(first_example, "first_example", ScalarType::Long, {offsets.size(0)});
  check_tensor(examples, "examples", ScalarType::Long, {kAnySize});
  check_value(capacity.value_or(0) >= 0, "capacity", "0 or more", capacity.value_or(0));
}

// Whole sessions; any values are taken.
struct WholeSessions {
  const int32_t* clicks;
  const int64_t *offsets, *first_example;
  int64_t sessions, size;
};

struct Prefix {
  int64_t begin, length;  // the target is the click at begin + length; no prefix and no target where length is 0
};

TAGNN_FAST_HOST_DEVICE inline int64_t clamped(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// Example `example` is number j of its session: the prefix that leaves the last 1 + j clicks out. Nothing for examples
// that no session has.
TAGNN_FAST_HOST_DEVICE inline Prefix find_prefix(int64_t example, const WholeSessions& whole) {
  // By hand: std::upper_bound wants rising values, and these may be any.
  int64_t low = 0, high = whole.sessions + 1;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (whole.first_example[middle] <= example) low = middle + 1;
    else high = middle;
  }
  const int64_t session = low - 1;
  if (session < 0 || session >= whole.sessions) return {0, 0};
  const int64_t begin = clamped(whole.offsets[session], 0, whole.size);
  const int64_t end = clamped(whole.offsets[session + 1], begin, whole.size);
  // Unsigned, so that values which are no counts wrap around instead of overflowing.
  const uint64_t number = static_cast<uint64_t>(example) - static_cast<uint64_t>(whole.first_example[session]);
  const uint64_t clicks = static_cast<uint64_t>(end - begin);
  if (clicks == 0 || number >= clicks - 1) return {0, 0};
  return {begin, static_cast<int64_t>(clicks - number - 1)};
}

}  // namespace tagnn_fast
