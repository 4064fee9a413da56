// Cuts a batch of training examples out of whole sessions: a binary search finds each example's session, a copy its
// prefix. O(examples · log sessions + clicks copied), on one thread: a batch takes microseconds.

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "../prefixes.h"
#include "../registration.h"

namespace tagnn_fast {
namespace {

std::tuple<Tensor, Tensor, Tensor> prefix_batch(
    const Tensor& clicks, const Tensor& offsets, const Tensor& first_example, const Tensor& examples,
    std::optional<int64_t> capacity) {
  check_prefix_batch(clicks, offsets, first_example, examples, capacity);
  const int64_t sessions = offsets.size(0) - 1;
  const Tensor clicks_in = as_contiguous(clicks), offsets_in = as_contiguous(offsets);
  const Tensor first_in = as_contiguous(first_example), examples_in = as_contiguous(examples);

  const WholeSessions whole{
      data<int32_t>(clicks_in), data<int64_t>(offsets_in), data<int64_t>(first_in), sessions, clicks.size(0)};
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
  const int32_t* click = whole.clicks;
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

TAGNN_FAST_REGISTER(CPU, library) { library.impl("prefix_batch", TORCH_BOX(&tagnn_fast::prefix_batch)); }
