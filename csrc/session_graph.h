// Session graphs: the op's arguments, checked and contiguous, and its outputs, allocated, the same on every backend.
// Shapes and meanings: tagnn_fast/ops/session_graph.py.
#pragma once

#include <limits>
#include <tuple>

#include "checks.h"
#include "constants.h"
#include "registration.h"

namespace tagnn_fast {

struct SessionGraphInputs {
  Tensor items, offsets;
  std::optional<int64_t> padded_length;
  int64_t clicks = 0, sessions = 0, slots = 0;

  void check(Backend backend) {
    check_tensor(backend, items, "items", ScalarType::Long, {kAnySize});
    check_tensor(backend, offsets, "offsets", ScalarType::Long, {kAnySize});
    clicks = items.size(0);
    sessions = offsets.size(0) - 1;
    check_value(sessions >= 0, "offsets", "at least one value", offsets.size(0));
    check_value(clicks < std::numeric_limits<int32_t>::max(), "items", "fewer than 2^31 clicks", clicks);
    check_value(padded_length.value_or(0) >= 0, "padded_length", "0 or more", padded_length.value_or(0));
    slots = clicks + (padded_length ? sessions : 0);
    make_contiguous({&items, &offsets});
  }
};

// Where a batch's graph is written.
struct SessionGraphArrays {
  int64_t *node_items, *clicks;
  int64_t *in_start, *out_start, *in_count, *out_count;
  int64_t *in_neighbours, *out_neighbours;
  int64_t *click_nodes, *slot_offsets, *num_nodes, *last_node, *padding;
};

struct SessionGraphOutputs {
  Tensor node_items, clicks, neighbour_start, neighbour_count, neighbours;
  Tensor click_nodes, slot_offsets, num_nodes, last_node, padding;

  SessionGraphOutputs(Backend backend, const SessionGraphInputs& inputs)
      : node_items(new_output(backend, inputs.items, {inputs.slots})),
        clicks(new_output(backend, inputs.items, {inputs.slots})),
        neighbour_start(new_output(backend, inputs.items, {2, inputs.slots})),
        neighbour_count(new_output(backend, inputs.items, {2, inputs.slots})),
        neighbours(new_output(backend, inputs.items, {2, inputs.clicks})),
        click_nodes(new_unwritten(backend, inputs.items, {inputs.clicks})),
        slot_offsets(new_output(backend, inputs.items, {inputs.sessions + 1})),
        num_nodes(new_output(backend, inputs.items, {inputs.sessions})),
        last_node(new_output(backend, inputs.items, {inputs.sessions})),
        padding(new_output(backend, inputs.items, {inputs.sessions})) {
    if (backend.starts_zeroed) torch::stable::fill_(click_nodes, kNoSlot);
  }

  SessionGraphArrays arrays() {
    const int64_t slots = node_items.size(0), entries = click_nodes.size(0);
    int64_t *start = mutable_data<int64_t>(neighbour_start), *count = mutable_data<int64_t>(neighbour_count);
    int64_t* lists = mutable_data<int64_t>(neighbours);
    return {
        mutable_data<int64_t>(node_items),
        mutable_data<int64_t>(clicks),
        start,
        start + slots,
        count,
        count + slots,
        lists,
        lists + entries,
        mutable_data<int64_t>(click_nodes),
        mutable_data<int64_t>(slot_offsets),
        mutable_data<int64_t>(num_nodes),
        mutable_data<int64_t>(last_node),
        mutable_data<int64_t>(padding)};
  }
};

// The op, of a backend's compute(inputs, arrays).
template <class Op>
auto session_graph(const Tensor& items, const Tensor& offsets, std::optional<int64_t> padded_length) {
  const typename Op::Guard guard(items);
  SessionGraphInputs inputs{items, offsets, padded_length};
  inputs.check(Op::kBackend);
  SessionGraphOutputs outputs(Op::kBackend, inputs);
  Op::compute(inputs, outputs.arrays());
  return std::tuple(
      outputs.node_items, outputs.clicks, outputs.neighbour_start, outputs.neighbour_count, outputs.neighbours,
      outputs.click_nodes, outputs.slot_offsets, outputs.num_nodes, outputs.last_node, outputs.padding);
}

// Where sessions lie among the slots of a graph: what every op on nodes takes of it.
struct GraphSlots {
  Tensor slot_offsets, num_nodes;
  int64_t sessions = 0, slots = 0;

  void check(Backend backend, int64_t slots_in) {
    check_tensor(backend, num_nodes, "num_nodes", ScalarType::Long, {kAnySize});
    sessions = num_nodes.size(0);
    check_tensor(backend, slot_offsets, "slot_offsets", ScalarType::Long, {sessions + 1});
    slots = slots_in;
    make_contiguous({&slot_offsets, &num_nodes});
  }
};

// The rows of all slots: what every op on nodes begins with.
struct NodeRows {
  ScalarType dtype = ScalarType::Undefined;
  int64_t slots = 0, hidden = 0;

  void check_rows(Backend backend, const Tensor& rows, const char* name) {
    dtype = check_floating(rows, name);
    check_tensor(backend, rows, name, dtype, {kAnySize, kAnySize});
    slots = rows.size(0);
    hidden = rows.size(1);
  }
};

}  // namespace tagnn_fast
