// Gated graph propagation: two products per step by PyTorch's library, the rest in the loops of
// gated_propagation_kernel.cpp. Nodes are packed first, so that products skip empty slots; biases are added in the
// loops, which saves a pass over each product.

#include <tuple>

#include "../gated_propagation_checks.h"
#include "../matmul.h"
#include "../registration.h"
#include "gated_propagation_kernel.h"
#include "packing.h"

namespace tagnn_fast {
namespace {

template <class T>
const GatedPropagationLoops<T>& loops() {
  return loops_for<T>(TAGNN_FAST_KERNELS(gated_propagation));
}

// The graph, checked, and kept alive while `batch` points at it.
struct PropagationGraph {
  NeighbourTensors lists;
  SlotRanges ranges;
  PropagationBatch batch;

  PropagationGraph(
      int64_t slots, int64_t hidden, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& start_in,
      const Tensor& count_in, const Tensor& neighbours_in)
      : lists(slots, start_in, count_in, neighbours_in) {
    ranges = slot_ranges(slot_offsets, num_nodes, slots);
    const int64_t entries = lists.neighbours.size(1);
    const int64_t *first = data<int64_t>(lists.start), *size = data<int64_t>(lists.count);
    const int64_t* list = data<int64_t>(lists.neighbours);
    batch = {
        ranges.sessions.data(),
        {first, size, list, entries},
        {first + slots, size + slots, list + entries, entries},
        hidden};
  }

  // Work in multiply-adds: `per_value` for each value of a state.
  int64_t chunks(int64_t per_value) const { return num_chunks(ranges.nodes() * batch.hidden * per_value); }
};

using torch::stable::select;

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> gated_propagation(
    const Tensor& nodes_in, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& neighbour_start,
    const Tensor& neighbour_count, const Tensor& neighbours, const Tensor& state_weight, const Tensor& state_bias_in,
    const Tensor& message_bias_in, const Tensor& weight_ih, const Tensor& bias_ih_in, int64_t steps) {
  const NoGradient no_gradient;
  const PropagationSizes sizes =
      check_propagation(nodes_in, state_weight, state_bias_in, message_bias_in, weight_ih, bias_ih_in, steps);
  const int64_t slots = sizes.slots, hidden = sizes.hidden;
  const PropagationGraph graph(slots, hidden, slot_offsets, num_nodes, neighbour_start, neighbour_count, neighbours);
  const int64_t rows = graph.ranges.nodes();

  const Tensor nodes = as_contiguous(nodes_in);
  const Tensor state_bias = as_contiguous(state_bias_in);
  const Tensor message_bias = as_contiguous(message_bias_in);
  const Tensor bias_ih = as_contiguous(bias_ih_in);
  Tensor out = torch::stable::new_empty(nodes, {slots, hidden});
  Tensor states = torch::stable::new_empty(nodes, {steps, slots, hidden});  // before each step
  Tensor messages = torch::stable::new_empty(nodes, {steps, slots, 2 * hidden});
  Tensor products = torch::stable::new_empty(nodes, {steps, slots, 5 * hidden});
  Tensor gates = torch::stable::new_empty(nodes, {steps, slots, 3 * hidden});

  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    zero_unowned(mutable_data<T>(out), graph.ranges, hidden);
    for (int64_t step = 0; step < steps; ++step) {
      const bool last = step == steps - 1;
      Tensor step_tensors[] = {
          select(states, 0, step), select(messages, 0, step), select(products, 0, step), select(gates, 0, step)};
      for (Tensor& tensor : step_tensors) zero_unused_rows<T>(tensor, rows);
      if (step == 0) pack_nodes<T>(graph.ranges, nodes, step_tensors[0]);
      const Tensor state = used_rows(step_tensors[0], rows);
      Tensor message = used_rows(step_tensors[1], rows), sent = used_rows(step_tensors[2], rows);
      Tensor gate = used_rows(step_tensors[3], rows);
      T* next = last ? mutable_data<T>(out) : mutable_data<T>(states) + (step + 1) * slots * hidden;
      product_into(sent, state, transposed(state_weight));  // (rows, 5 hidden)
      for_session_chunks(graph.ranges, graph.chunks(4), [&](int64_t, int64_t begin, int64_t end) {
        loops<T>().average(
            graph.batch, data<T>(sent), data<T>(state_bias), data<T>(message_bias), begin, end,
            mutable_data<T>(message));
      });
      product_into(gate, message, transposed(weight_ih));  // (rows, 3 hidden)
      for_session_chunks(graph.ranges, graph.chunks(16), [&](int64_t, int64_t begin, int64_t end) {
        loops<T>().update(
            graph.batch, data<T>(state_bias), data<T>(bias_ih), data<T>(state), begin, end, last, mutable_data<T>(sent),
            mutable_data<T>(gate), next);
      });
    }
  };
  sizes.dtype == ScalarType::Float ? run(float()) : run(double());
  return {out, states, messages, products, gates};
}

// Adds up the rows that the chunks of a loop have each summed on their own.
template <class T>
Tensor chunk_total(const Tensor& like, const std::vector<T>& sums, int64_t chunks, int64_t begin, int64_t width) {
  const int64_t stride = static_cast<int64_t>(sums.size()) / chunks;
  Tensor total = torch::stable::new_zeros(like, {width});
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (int64_t c = 0; c < width; ++c) {
      mutable_data<T>(total)[c] += sums[static_cast<size_t>(chunk * stride + begin + c)];
    }
  }
  return total;
}

template <class T>
void accumulate(Tensor& sum, const Tensor& term) {
  if (sum.defined()) add_in_place<T>(sum, term);
  else sum = term;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> gated_propagation_backward(
    const Tensor& grad_in, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& neighbour_start,
    const Tensor& neighbour_count, const Tensor& neighbours, const Tensor& state_weight, const Tensor& weight_ih,
    const Tensor& states_in, const Tensor& messages_in, const Tensor& products_in, const Tensor& gates_in) {
  const NoGradient no_gradient;
  const PropagationSizes sizes =
      check_propagation_backward(grad_in, state_weight, weight_ih, states_in, messages_in, products_in, gates_in);
  const int64_t slots = sizes.slots, hidden = sizes.hidden, steps = sizes.steps;
  const PropagationGraph graph(slots, hidden, slot_offsets, num_nodes, neighbour_start, neighbour_count, neighbours);
  const int64_t rows = graph.ranges.nodes();

  const Tensor grad = as_contiguous(grad_in), states = as_contiguous(states_in);
  const Tensor messages = as_contiguous(messages_in), gates = as_contiguous(gates_in);
  const Tensor products = as_contiguous(products_in);
  Tensor grad_nodes = torch::stable::new_empty(grad, {slots, hidden});
  Tensor grad_inputs = torch::stable::new_empty(grad, {rows, 3 * hidden});
  Tensor grad_products = torch::stable::new_empty(grad, {rows, 5 * hidden});
  Tensor grad_state = torch::stable::new_empty(grad, {rows, hidden});
  Tensor grad_state_weight, grad_state_bias, grad_message_bias, grad_weight_ih, grad_bias_ih;

  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    const int64_t chunks = graph.chunks(8), sums_width = 10 * hidden;  // state_bias, message_bias, bias_ih
    std::vector<T> sums(static_cast<size_t>(chunks * sums_width));
    for (int64_t step = steps - 1; step >= 0; --step) {
      const bool last = step == steps - 1;
      const Tensor state = used_rows(select(states, 0, step), rows);
      const Tensor message = used_rows(select(messages, 0, step), rows);
      const T* sent = data<T>(products) + step * slots * 5 * hidden;
      const T* gate = data<T>(gates) + step * slots * 3 * hidden;
      // In place: each row of grad_state is read before it is written.
      const T* grad_out = last ? data<T>(grad) : data<T>(grad_state);
      for_session_chunks(graph.ranges, chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
        T* own = sums.data() + chunk * sums_width;
        loops<T>().update_backward(
            graph.batch, grad_out, sent, gate, data<T>(state), begin, end, last, mutable_data<T>(grad_inputs),
            mutable_data<T>(grad_products), mutable_data<T>(grad_state), own + 7 * hidden, own);
      });
      const Tensor grad_messages = product(grad_inputs, weight_ih);  // (rows, 2 hidden)
      for_session_chunks(graph.ranges, chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
        T* own = sums.data() + chunk * sums_width;
        loops<T>().average_backward(
            graph.batch, data<T>(grad_messages), begin, end, mutable_data<T>(grad_products), own, own + 5 * hidden);
      });
      const Tensor through_products = product(grad_products, state_weight);  // (rows, hidden)
      if (step > 0) add_in_place<T>(grad_state, through_products);
      else unpack_sum<T>(graph.ranges, grad_state, through_products, grad_nodes);
      accumulate<T>(grad_state_weight, product(transposed(grad_products), state));
      accumulate<T>(grad_weight_ih, product(transposed(grad_inputs), message));
    }
    grad_state_bias = chunk_total(grad, sums, chunks, 0, 5 * hidden);
    grad_message_bias = chunk_total(grad, sums, chunks, 5 * hidden, 2 * hidden);
    grad_bias_ih = chunk_total(grad, sums, chunks, 7 * hidden, 3 * hidden);
  };
  sizes.dtype == ScalarType::Float ? run(float()) : run(double());
  return {grad_nodes, grad_state_weight, grad_state_bias, grad_message_bias, grad_weight_ih, grad_bias_ih};
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_REGISTER(CPU, library) {
  library.impl("gated_propagation", TORCH_BOX(&tagnn_fast::gated_propagation));
  library.impl("gated_propagation_backward", TORCH_BOX(&tagnn_fast::gated_propagation_backward));
}
