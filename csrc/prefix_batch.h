// Training examples as prefixes of whole sessions: the op's arguments, checked and contiguous, its outputs, and the
// search, the same on every backend. Shapes and meanings: tagnn_fast/ops/prefix_batch.py.
#pragma once

#include <cstdint>
#include <limits>
#include <tuple>

#include "checks.h"
#include "philox.h"
#include "registration.h"

namespace tagnn_fast {

struct PrefixBatchInputs {
  Tensor clicks, offsets, first_example, examples;
  std::optional<int64_t> capacity;
  int64_t sessions = 0, count = 0;  // count: of examples

  void check(Backend backend) {
    check_tensor(backend, clicks, "clicks", ScalarType::Int, {kAnySize});
    check_tensor(backend, offsets, "offsets", ScalarType::Long, {kAnySize});
    check_value(offsets.size(0) >= 1, "offsets", "at least one value", offsets.size(0));
    check_tensor(backend, first_example, "first_example", ScalarType::Long, {offsets.size(0)});
    check_tensor(backend, examples, "examples", ScalarType::Long, {kAnySize});
    check_value(capacity.value_or(0) >= 0, "capacity", "0 or more", capacity.value_or(0));
    if (backend.on_gpu) {
      check_value(
          capacity.has_value(), "capacity", "a number of clicks on a GPU, where a size may not depend on values",
          "None");
    }
    sessions = offsets.size(0) - 1;
    count = examples.size(0);
    make_contiguous({&clicks, &offsets, &first_example, &examples});
  }

  int64_t most_clicks() const { return capacity.value_or(std::numeric_limits<int64_t>::max()); }
};

struct PrefixBatchOutputs {
  Tensor items, batch_offsets, targets;

  explicit PrefixBatchOutputs(const PrefixBatchInputs& inputs)
      : batch_offsets(make_empty(inputs.examples, {inputs.count + 1})),
        targets(make_empty(inputs.examples, {inputs.count})) {}

  // Once it is known how many clicks there are, where no capacity is given.
  void allocate_items(Backend backend, const PrefixBatchInputs& inputs, int64_t clicks) {
    items = new_output(backend, inputs.examples, {inputs.capacity.value_or(clicks)});
  }
};

// Whole sessions; any values are taken.
struct WholeSessions {
  const int32_t* clicks;
  const int64_t *offsets, *first_example;
  int64_t sessions, size;

  explicit WholeSessions(const PrefixBatchInputs& inputs)
      : clicks(data<int32_t>(inputs.clicks)),
        offsets(data<int64_t>(inputs.offsets)),
        first_example(data<int64_t>(inputs.first_example)),
        sessions(inputs.sessions),
        size(inputs.clicks.size(0)) {}
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
  const uint64_t clicks = end - begin;
  if (clicks == 0 || number >= clicks - 1) return {0, 0};
  return {begin, static_cast<int64_t>(clicks - number - 1)};
}

// The op, of a backend's compute(inputs, outputs).
template <class Op>
auto prefix_batch(
    const Tensor& clicks, const Tensor& offsets, const Tensor& first_example, const Tensor& examples,
    std::optional<int64_t> capacity) {
  const typename Op::Guard guard(clicks);
  PrefixBatchInputs inputs{clicks, offsets, first_example, examples, capacity};
  inputs.check(Op::kBackend);
  PrefixBatchOutputs outputs(inputs);
  Op::compute(inputs, outputs);
  return std::tuple(outputs.items, outputs.batch_offsets, outputs.targets);
}

}  // namespace tagnn_fast
