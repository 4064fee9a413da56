// Argument checks of session graphs, the same on every device.
#pragma once

#include <limits>
#include <optional>

#include "checks.h"

namespace tagnn_fast {

struct GraphSizes {
  int64_t clicks, sessions, slots;
};

inline GraphSizes check_session_graph(
    const Tensor& items, const Tensor& offsets, const std::optional<int64_t>& padded_length) {
  check_tensor(items, "items", ScalarType::Long, {kAnySize});
  check_tensor(offsets, "offsets", ScalarType::Long, {kAnySize});
  const int64_t clicks = items.size(0), sessions = offsets.size(0) - 1;
  check_value(sessions >= 0, "offsets", "at least one value", offsets.size(0));
  check_value(clicks < std::numeric_limits<int32_t>::max(), "items", "fewer than 2^31 clicks", clicks);
  check_value(padded_length.value_or(0) >= 0, "padded_length", "0 or more", padded_length.value_or(0));
  return {clicks, sessions, clicks + (padded_length ? sessions : 0)};
}

}  // namespace tagnn_fast
