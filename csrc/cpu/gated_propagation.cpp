// Gated graph propagation: products by PyTorch's library, everything between them in the loops of
// gated_propagation_kernel.cpp. Biases are added there too, which saves a pass over each product.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "gated_propagation_kernel.h"
#include "matmul.h"
#include "sessions.h"

namespace tagnn_fast {
namespace {

template <class T>
const GatedPropagationLoops<T>& loops();
template <>
const GatedPropagationLoops<float>& loops<float>() {
  return TAGNN_FAST_KERNELS(gated_propagation).float32;
}
template <>
const GatedPropagationLoops<double>& loops<double>() {
  return TAGNN_FAST_KERNELS(gated_propagation).float64;
}

// The tensors behind two NeighbourLists, kept alive while the lists are used.
struct Neighbours {
  Tensor start, count, lists;
  NeighbourLists in, out;

  Neighbours(const Tensor& start_in, const Tensor& count_in, const Tensor& neighbours_in, int64_t slots) {
    check_tensor(start_in, "neighbour_start", ScalarType::Long, {2, slots});
    check_tensor(count_in, "neighbour_count", ScalarType::Long, {2, slots});
    check_tensor(neighbours_in, "neighbours", ScalarType::Long, {2, kAnySize});
    start = torch::stable::contiguous(start_in);
    count = torch::stable::contiguous(count_in);
    lists = torch::stable::contiguous(neighbours_in);
    const int64_t entries = lists.size(1);
    const int64_t *first = data<int64_t>(start), *size = data<int64_t>(count), *values = data<int64_t>(lists);
    in = {first, size, values, slots, entries};
    out = {first + slots, size + slots, values + entries, slots, entries};
  }
};

template <class Body>
void for_slot_chunks(int64_t slots, int64_t hidden, const Body& body) {
  for_balanced_chunks(
      num_chunks(slots * hidden * 4), slots, [](int64_t slot) { return slot; },
      [&](int64_t, int64_t begin, int64_t end) { body(begin, end); });
}

template <class T>
void forward_step(
    const Tensor& state, const Neighbours& neighbours, const SlotRanges& ranges, const Tensor& edge_weight,
    const Tensor& edge_bias, const Tensor& message_bias, const Tensor& weight_ih, const Tensor& bias_ih,
    const Tensor& weight_hh, const Tensor& bias_hh, Tensor messages, T* gates, T* candidates, T* out) {
  const int64_t slots = state.size(0), hidden = state.size(1);
  const Tensor edges = product(state, transposed(edge_weight));  // (slots, 2 hidden)
  for_slot_chunks(slots, hidden, [&](int64_t begin, int64_t end) {
    loops<T>().average(
        data<T>(edges), data<T>(edge_bias), data<T>(message_bias), neighbours.in, neighbours.out, hidden, begin, end,
        mutable_data<T>(messages));
  });
  const Tensor input_product = product(messages, transposed(weight_ih));  // (slots, 3 hidden)
  const Tensor recurrent_product = product(state, transposed(weight_hh));  // (slots, 3 hidden)
  zero_unowned(gates, ranges, 3 * hidden);
  zero_unowned(candidates, ranges, hidden);
  zero_unowned(out, ranges, hidden);
  for_session_chunks(ranges, num_chunks(slots * hidden * 16), [&](int64_t, int64_t begin, int64_t end) {
    loops<T>().update(
        data<T>(input_product), data<T>(recurrent_product), data<T>(bias_ih), data<T>(bias_hh), data<T>(state),
        ranges.sessions.data(), hidden, begin, end, gates, candidates, out);
  });
}

using Propagation = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

Propagation gated_propagation(
    const Tensor& nodes_in, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& neighbour_start,
    const Tensor& neighbour_count, const Tensor& neighbours_in, const Tensor& edge_weight, const Tensor& edge_bias_in,
    const Tensor& message_bias_in, const Tensor& weight_ih, const Tensor& bias_ih_in, const Tensor& weight_hh,
    const Tensor& bias_hh_in, int64_t steps) {
  const ScalarType dtype = check_floating(nodes_in, "nodes");
  check_tensor(nodes_in, "nodes", dtype, {kAnySize, kAnySize});
  const int64_t slots = nodes_in.size(0), hidden = nodes_in.size(1);
  check_tensor(edge_weight, "edge_weight", dtype, {2 * hidden, hidden});
  check_tensor(edge_bias_in, "edge_bias", dtype, {2 * hidden});
  check_tensor(message_bias_in, "message_bias", dtype, {2 * hidden});
  check_tensor(weight_ih, "weight_ih", dtype, {3 * hidden, 2 * hidden});
  check_tensor(bias_ih_in, "bias_ih", dtype, {3 * hidden});
  check_tensor(weight_hh, "weight_hh", dtype, {3 * hidden, hidden});
  check_tensor(bias_hh_in, "bias_hh", dtype, {3 * hidden});
  check_value(steps >= 1, "steps", "1 or more", static_cast<double>(steps));
  const Neighbours neighbours(neighbour_start, neighbour_count, neighbours_in, slots);
  const SlotRanges ranges = slot_ranges(slot_offsets, num_nodes, slots);

  const Tensor nodes = torch::stable::contiguous(nodes_in);
  const Tensor edge_bias = torch::stable::contiguous(edge_bias_in);
  const Tensor message_bias = torch::stable::contiguous(message_bias_in);
  const Tensor bias_ih = torch::stable::contiguous(bias_ih_in);
  const Tensor bias_hh = torch::stable::contiguous(bias_hh_in);
  Tensor out = torch::stable::new_empty(nodes, {slots, hidden});
  Tensor states = torch::stable::new_empty(nodes, {steps - 1, slots, hidden});  // after each step but the last
  Tensor messages = torch::stable::new_empty(nodes, {steps, slots, 2 * hidden});
  Tensor gates = torch::stable::new_empty(nodes, {steps, slots, 3 * hidden});
  Tensor candidates = torch::stable::new_empty(nodes, {steps, slots, hidden});

  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    for (int64_t step = 0; step < steps; ++step) {
      const Tensor state = step == 0 ? nodes : torch::stable::select(states, 0, step - 1);
      T* next = step == steps - 1 ? mutable_data<T>(out) : mutable_data<T>(states) + step * slots * hidden;
      forward_step<T>(
          state, neighbours, ranges, edge_weight, edge_bias, message_bias, weight_ih, bias_ih, weight_hh, bias_hh,
          torch::stable::select(messages, 0, step), mutable_data<T>(gates) + step * slots * 3 * hidden,
          mutable_data<T>(candidates) + step * slots * hidden, next);
    }
  };
  dtype == ScalarType::Float ? run(float()) : run(double());
  return {out, states, messages, gates, candidates};
}

// Gradients of the parameters, summed over steps.
struct ParameterGradients {
  Tensor edge_weight, edge_bias, message_bias, weight_ih, bias_ih, weight_hh, bias_hh;

  void add(const ParameterGradients& step) {
    add_one(edge_weight, step.edge_weight);
    add_one(edge_bias, step.edge_bias);
    add_one(message_bias, step.message_bias);
    add_one(weight_ih, step.weight_ih);
    add_one(bias_ih, step.bias_ih);
    add_one(weight_hh, step.weight_hh);
    add_one(bias_hh, step.bias_hh);
  }

 private:
  static void add_one(Tensor& sum, const Tensor& term) {
    sum = sum.defined() ? torch::stable::subtract(sum, term, -1.0) : term;
  }
};

template <class T>
Tensor backward_step(
    const Tensor& grad, const Tensor& state, const Neighbours& neighbours, const SlotRanges& ranges,
    const Tensor& edge_weight, const Tensor& weight_ih, const Tensor& weight_hh, const Tensor& messages,
    const T* gates, const T* candidates, ParameterGradients& sums) {
  const int64_t slots = state.size(0), hidden = state.size(1);
  Tensor grad_input_product = torch::stable::new_empty(state, {slots, 3 * hidden});
  Tensor grad_recurrent_product = torch::stable::new_empty(state, {slots, 3 * hidden});
  Tensor grad_state = torch::stable::new_empty(state, {slots, hidden});
  Tensor grad_edges = torch::stable::new_empty(state, {slots, 2 * hidden});
  zero_unowned(mutable_data<T>(grad_input_product), ranges, 3 * hidden);
  zero_unowned(mutable_data<T>(grad_recurrent_product), ranges, 3 * hidden);
  zero_unowned(mutable_data<T>(grad_state), ranges, hidden);
  for_session_chunks(ranges, num_chunks(slots * hidden * 8), [&](int64_t, int64_t begin, int64_t end) {
    loops<T>().update_backward(
        data<T>(grad), gates, candidates, data<T>(state), ranges.sessions.data(), hidden, begin, end,
        mutable_data<T>(grad_input_product), mutable_data<T>(grad_recurrent_product), mutable_data<T>(grad_state));
  });
  const Tensor grad_messages = product(grad_input_product, weight_ih);  // (slots, 2 hidden)
  for_slot_chunks(slots, hidden, [&](int64_t begin, int64_t end) {
    loops<T>().average_backward(
        data<T>(grad_messages), neighbours.in, neighbours.out, hidden, begin, end, mutable_data<T>(grad_edges));
  });
  sums.add(
      {product(transposed(grad_edges), state), column_sums(grad_edges), column_sums(grad_messages),
       product(transposed(grad_input_product), messages), column_sums(grad_input_product),
       product(transposed(grad_recurrent_product), state), column_sums(grad_recurrent_product)});
  add_in_place<T>(grad_state, product(grad_edges, edge_weight));
  add_in_place<T>(grad_state, product(grad_recurrent_product, weight_hh));
  return grad_state;
}

using PropagationGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

PropagationGradients gated_propagation_backward(
    const Tensor& grad_in, const Tensor& nodes_in, const Tensor& slot_offsets, const Tensor& num_nodes,
    const Tensor& neighbour_start, const Tensor& neighbour_count, const Tensor& neighbours_in,
    const Tensor& edge_weight, const Tensor& weight_ih, const Tensor& weight_hh, const Tensor& states_in,
    const Tensor& messages_in, const Tensor& gates_in, const Tensor& candidates_in) {
  const ScalarType dtype = check_floating(nodes_in, "nodes");
  check_tensor(nodes_in, "nodes", dtype, {kAnySize, kAnySize});
  const int64_t slots = nodes_in.size(0), hidden = nodes_in.size(1);
  check_tensor(grad_in, "grad", dtype, {slots, hidden});
  check_tensor(messages_in, "messages", dtype, {kAnySize, slots, 2 * hidden});
  const int64_t steps = messages_in.size(0);
  check_value(steps >= 1, "messages", "1 or more steps", static_cast<double>(steps));
  check_tensor(edge_weight, "edge_weight", dtype, {2 * hidden, hidden});
  check_tensor(weight_ih, "weight_ih", dtype, {3 * hidden, 2 * hidden});
  check_tensor(weight_hh, "weight_hh", dtype, {3 * hidden, hidden});
  check_tensor(states_in, "states", dtype, {steps - 1, slots, hidden});
  check_tensor(gates_in, "gates", dtype, {steps, slots, 3 * hidden});
  check_tensor(candidates_in, "candidates", dtype, {steps, slots, hidden});
  const Neighbours neighbours(neighbour_start, neighbour_count, neighbours_in, slots);
  const SlotRanges ranges = slot_ranges(slot_offsets, num_nodes, slots);

  const Tensor nodes = torch::stable::contiguous(nodes_in), states = torch::stable::contiguous(states_in);
  const Tensor messages = torch::stable::contiguous(messages_in), gates = torch::stable::contiguous(gates_in);
  const Tensor candidates = torch::stable::contiguous(candidates_in);
  Tensor grad = torch::stable::contiguous(grad_in);
  ParameterGradients sums;

  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    for (int64_t step = steps - 1; step >= 0; --step) {
      const Tensor state = step == 0 ? nodes : torch::stable::select(states, 0, step - 1);
      grad = backward_step<T>(
          grad, state, neighbours, ranges, edge_weight, weight_ih, weight_hh, torch::stable::select(messages, 0, step),
          data<T>(gates) + step * slots * 3 * hidden, data<T>(candidates) + step * slots * hidden, sums);
    }
  };
  dtype == ScalarType::Float ? run(float()) : run(double());
  return {grad, sums.edge_weight, sums.edge_bias, sums.message_bias,
          sums.weight_ih, sums.bias_ih, sums.weight_hh, sums.bias_hh};
}

}  // namespace
}  // namespace tagnn_fast

STABLE_TORCH_LIBRARY_IMPL(tagnn_fast, CPU, library) {
  library.impl("gated_propagation", TORCH_BOX(&tagnn_fast::gated_propagation));
  library.impl("gated_propagation_backward", TORCH_BOX(&tagnn_fast::gated_propagation_backward));
}
