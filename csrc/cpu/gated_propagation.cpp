// Gated graph propagation: two products per step by PyTorch's library, the rest in the loops of
// gated_propagation_kernel.cpp. Nodes are packed first, so that products skip empty slots; biases are added in the
// loops, which saves a pass over each product.

#include "../gated_propagation.h"

#include "encoder.h"
#include "packing.h"

namespace tagnn_fast::cpu {
namespace {

template <class T>
const GatedPropagationLoops<T>& loops() {
  return loops_for<T>(TAGNN_FAST_KERNELS(gated_propagation));
}

struct PropagationSessions {
  SlotRanges ranges;
  PropagationBatch batch;

  PropagationSessions(const GraphSlots& graph, const NeighbourTensors& tensors, int64_t hidden)
      : ranges(slot_ranges(graph)) {
    const int64_t slots = graph.slots, entries = tensors.neighbours.size(1);
    const int64_t *first = data<int64_t>(tensors.start), *size = data<int64_t>(tensors.count);
    const int64_t* list = data<int64_t>(tensors.neighbours);
    batch = {
        ranges.sessions.data(),
        {first, size, list, entries},
        {first + slots, size + slots, list + entries, entries},
        hidden};
  }
};

// Work in multiply-adds: `per_value` for each value of a state.
int64_t chunks_of(const SlotRanges& ranges, const PropagationBatch& batch, int64_t per_value) {
  return num_chunks(ranges.nodes() * batch.hidden * per_value);
}

using torch::stable::select;

// Adds up the rows that the chunks of a loop have each summed on their own.
template <class T>
Tensor chunk_total(const Tensor& like, const std::vector<T>& sums, int64_t chunks, int64_t begin, int64_t width) {
  const int64_t stride = sums.size() / chunks;
  Tensor total = make_zeros(like, {width});
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (int64_t c = 0; c < width; ++c) {
      mutable_data<T>(total)[c] += sums[chunk * stride + begin + c];
    }
  }
  return total;
}

template <class T>
void accumulate(Tensor& sum, const Tensor& term) {
  if (sum.defined()) add_in_place<T>(sum, term);
  else sum = term;
}

struct CpuGatedPropagation : CpuOp {
  template <class T>
  static void forward(const GatedPropagationInputs& inputs, GatedPropagationOutputs& outputs) {
    const PropagationSessions graph(inputs.graph, inputs.lists, inputs.hidden);
    const PropagationMemory<T> memory{
        mutable_data<T>(outputs.states), mutable_data<T>(outputs.messages), mutable_data<T>(outputs.products),
        mutable_data<T>(outputs.gates)};
    propagate(
        DenseProducts::kByLibrary, graph.ranges, graph.batch, inputs, data<T>(inputs.nodes), memory,
        mutable_data<T>(outputs.out));
  }

  template <class T>
  static void backward(const GatedPropagationBackwardInputs& inputs, GatedPropagationGradients& grads) {
    const int64_t slots = inputs.slots, hidden = inputs.hidden, steps = inputs.steps;
    const PropagationSessions graph(inputs.graph, inputs.lists, hidden);
    const int64_t rows = graph.ranges.nodes();
    Tensor grad_inputs = make_empty(inputs.grad, {rows, 3 * hidden});
    Tensor grad_products = make_empty(inputs.grad, {rows, 5 * hidden});
    Tensor grad_state = make_empty(inputs.grad, {rows, hidden});
    const int64_t chunks = chunks_of(graph.ranges, graph.batch, 8),
                  sums_width = 10 * hidden;  // state_bias, message_bias, bias_ih
    std::vector<T> sums(chunks * sums_width);
    for (int64_t step = steps - 1; step >= 0; --step) {
      const bool last = step == steps - 1;
      const Tensor state = first_rows(select(inputs.states, 0, step), rows);
      const Tensor message = first_rows(select(inputs.messages, 0, step), rows);
      const T* sent = data<T>(inputs.products) + step * slots * 5 * hidden;
      const T* gate = data<T>(inputs.gates) + step * slots * 3 * hidden;
      // In place: each row of grad_state is read before it is written.
      const T* grad_out = last ? data<T>(inputs.grad) : data<T>(grad_state);
      for_session_chunks(graph.ranges, chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
        T* own = sums.data() + chunk * sums_width;
        loops<T>().update_backward(
            graph.batch, grad_out, sent, gate, data<T>(state), begin, end, last, mutable_data<T>(grad_inputs),
            mutable_data<T>(grad_products), mutable_data<T>(grad_state), own + 7 * hidden, own);
      });
      const Tensor grad_messages = product(grad_inputs, inputs.weight_ih);  // (rows, 2 hidden)
      for_session_chunks(graph.ranges, chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
        T* own = sums.data() + chunk * sums_width;
        loops<T>().average_backward(
            graph.batch, data<T>(grad_messages), begin, end, mutable_data<T>(grad_products), own, own + 5 * hidden);
      });
      const Tensor through_products = product(grad_products, inputs.state_weight);  // (rows, hidden)
      if (step > 0) add_in_place<T>(grad_state, through_products);
      else unpack_sum<T>(graph.ranges, grad_state, through_products, grads.nodes);
      accumulate<T>(grads.state_weight, product(transposed(grad_products), state));
      accumulate<T>(grads.weight_ih, product(transposed(grad_inputs), message));
    }
    grads.state_bias = chunk_total(inputs.grad, sums, chunks, 0, 5 * hidden);
    grads.message_bias = chunk_total(inputs.grad, sums, chunks, 5 * hidden, 2 * hidden);
    grads.bias_ih = chunk_total(inputs.grad, sums, chunks, 7 * hidden, 3 * hidden);
  }
};

}  // namespace

template <class T>
void propagate(
    DenseProducts how, const SlotRanges& ranges, const PropagationBatch& batch,
    const GatedPropagationParameters& parameters, const T* nodes, const PropagationMemory<T>& memory, T* out) {
  const int64_t slots = ranges.slots, hidden = batch.hidden, rows = ranges.nodes();
  const T *state_bias = data<T>(parameters.state_bias), *bias_ih = data<T>(parameters.bias_ih);
  const T* message_bias = data<T>(parameters.message_bias);
  zero_unowned(out, ranges, hidden);
  for (int64_t step = 0; step < parameters.steps; ++step) {
    const bool last = step == parameters.steps - 1;
    T *state = memory.states + step * slots * hidden, *message = memory.messages + step * slots * 2 * hidden;
    T *sent = memory.products + step * slots * 5 * hidden, *gate = memory.gates + step * slots * 3 * hidden;
    T* next = last ? out : state + slots * hidden;
    zero_unused_rows(ranges, hidden, state);
    zero_unused_rows(ranges, 2 * hidden, message);
    zero_unused_rows(ranges, 5 * hidden, sent);
    zero_unused_rows(ranges, 3 * hidden, gate);
    if (step == 0) pack_nodes(ranges, hidden, nodes, state);
    multiply_rows(how, state, rows, parameters.state_weight, sent);  // (rows, 5 hidden)
    for_session_chunks(ranges, chunks_of(ranges, batch, 4), [&](int64_t, int64_t begin, int64_t end) {
      loops<T>().average(batch, sent, state_bias, message_bias, begin, end, message);
    });
    multiply_rows(how, message, rows, parameters.weight_ih, gate);  // (rows, 3 hidden)
    for_session_chunks(ranges, chunks_of(ranges, batch, 16), [&](int64_t, int64_t begin, int64_t end) {
      loops<T>().update(batch, state_bias, bias_ih, state, begin, end, last, sent, gate, next);
    });
  }
}

template void propagate(
    DenseProducts, const SlotRanges&, const PropagationBatch&, const GatedPropagationParameters&, const float*,
    const PropagationMemory<float>&, float*);
template void propagate(
    DenseProducts, const SlotRanges&, const PropagationBatch&, const GatedPropagationParameters&, const double*,
    const PropagationMemory<double>&, double*);

}  // namespace tagnn_fast::cpu

TAGNN_FAST_REGISTER(CPU, library) {
  tagnn_fast::register_gated_propagation<tagnn_fast::cpu::CpuGatedPropagation>(library);
}
