// Cuts a batch of training examples out of whole sessions: a binary search finds each example's session, a copy its
// prefix. O(examples · log sessions + clicks copied), on one thread: a batch takes microseconds.

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "../checks.h"

namespace tagnn_fast {
namespace {

struct Prefix {
  int64_t begin, length;  // the target is the click at begin + length; no prefix and no target where length is 0
};

// Whole sessions; any values are taken.
struct WholeSessions {
  const int64_t *offsets, *first_example;
  int64_t sessions, clicks;
};

// Example `example` is number j of its session: the prefix that leaves the last 1 + j clicks out. Nothing for examples
// that no session has.
Prefix find_prefix(int64_t example, const WholeSessions& whole) {
  // By hand: std::upper_bound wants rising values, and these may be any.
  int64_t low = 0, high = whole.sessions + 1;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (whole.first_example[middle] <= example) low = middle + 1;
    else high = middle;
  }
  const int64_t session = low - 1;
  if (session < 0 || session >= whole.sessions) return {0, 0};
  const int64_t begin = std::clamp<int64_t>(whole.offsets[session], 0, whole.clicks);
  const int64_t end = std::clamp<int64_t>(whole.offsets[session + 1], begin, whole.clicks);
  // Unsigned, so that values which are no counts wrap around instead of overflowing.
  const uint64_t number = static_cast<uint64_t>(example) - static_cast<uint64_t>(whole.first_example[session]);
  const uint64_t clicks = static_cast<uint64_t>(end - begin);
  if (clicks == 0 || number >= clicks - 1) return {0, 0};
  return {begin, static_cast<int64_t>(clicks - number - 1)};
}

std::tuple<Tensor, Tensor, Tensor> prefix_batch(
    const Tensor& clicks, const Tensor& offsets, const Tensor& first_example, const Tensor& examples,
    std::optional<int64_t> capacity) {
  check_tensor(clicks, "clicks", ScalarType::Int, {kAnySize});
  check_tensor(offsets, "offsets", ScalarType::Long, {kAnySize});
  const int64_t sessions = offsets.size(0) - 1;
  check_value(sessions >= 0, "offsets", "at least one value", offsets.size(0));
  check_tensor(first_example, "first_example", ScalarType::Long, {sessions + 1});
  check_tensor(examples, "examples", ScalarType::Long, {kAnySize});
  check_value(capacity.value_or(0) >= 0, "capacity", "0 or more", capacity.value_or(0));
  const Tensor clicks_in = as_contiguous(clicks), offsets_in = as_contiguous(offsets);
  const Tensor first_in = as_contiguous(first_example), examples_in = as_contiguous(examples);

  const WholeSessions whole{data<int64_t>(offsets_in), data<int64_t>(first_in), sessions, clicks.size(0)};
  const int64_t count = examples.size(0), most = capacity.value_or(std::numeric_limits<int64_t>::max());
  std::vector<Prefix> prefixes(static_cast<size_t>(count));
  Tensor batch_offsets = torch::stable::empty({count + 1}, ScalarType::Long);
  int64_t* first_click = mutable_data<int64_t>(batch_offsets);
  first_click[0] = 0;
  const int64_t* example = data<int64_t>(examples_in);
  for (int64_t i = 0; i < count; ++i) {
    const Prefix prefix = find_prefix(example[i], whole);
    prefixes[static_cast<size_t>(i)] = prefix;
    first_click[i + 1] = first_click[i] + std::min(prefix.length, most - first_click[i]);
  }

  const int64_t used = first_click[count], size = capacity.value_or(used);
  Tensor items = torch::stable::empty({size}, ScalarType::Long);
  Tensor targets = torch::stable::empty({count}, ScalarType::Long);
  int64_t *item = mutable_data<int64_t>(items), *target = mutable_data<int64_t>(targets);
  const int32_t* click = data<int32_t>(clicks_in);
  for (int64_t i = 0; i < count; ++i) {
    const auto [begin, length] = prefixes[static_cast<size_t>(i)];
    std::copy_n(click + begin, first_click[i + 1] - first_click[i], item + first_click[i]);
    target[i] = length > 0 ? click[begin + length] : 0;
  }
  std::fill(item + used, item + size, 0);
  return {items, batch_offsets, targets};
}

}  // namespace
}  // namespace tagnn_fast

STABLE_TORCH_LIBRARY_IMPL(tagnn_fast, CPU, library) {
  library.impl("prefix_batch", TORCH_BOX(&tagnn_fast::prefix_batch));
}
