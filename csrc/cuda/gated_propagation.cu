// Two products per step by PyTorch's library; averages over neighbours and the GRU cell by kernels whose threads lie
// along the columns of a node's row. Rows of empty slots are zero throughout, so products run over all slots.

#include "../gated_propagation.h"

#include "nodes.h"

namespace tagnn_fast::cuda {
namespace {

constexpr int kIn = 0, kOut = 1;

// The neighbour lists of every slot, in-neighbours first. Any values: entries outside [0, entries) and neighbours
// outside the slot's own session are skipped.
struct DeviceNeighbourLists {
  const int64_t *start, *count, *neighbours;
  int64_t slots, entries;

  __device__ int64_t size(int direction, int64_t slot) const { return count[direction * slots + slot]; }
};

struct DevicePropagationBatch {
  SessionTable sessions;
  DeviceNeighbourLists lists;
  int64_t hidden;
};

template <class Visit>
__device__ inline void for_each_neighbour(
    const DeviceNeighbourLists& lists, int direction, const DeviceSession& session, int64_t slot, const Visit& visit) {
  const int64_t start = lists.start[direction * lists.slots + slot], count = lists.size(direction, slot);
  if (start < 0 || start > lists.entries) return;
  const int64_t end = count < lists.entries - start ? start + count : lists.entries;
  for (int64_t i = start; i < end; ++i) {
    const int64_t neighbour = lists.neighbours[direction * lists.entries + i];
    if (neighbour >= session.begin && neighbour < session.nodes_end) visit(neighbour);
  }
}

// messages (slots, 2 hidden): mean of the in-neighbours' first block of products, of the out-neighbours' second.
template <class T>
__global__ void average(
    DevicePropagationBatch batch, const T* products, const T* state_bias, const T* message_bias, T* messages) {
  const int64_t hidden = batch.hidden;
  for_block_nodes(batch.sessions, [&](const DeviceSession& session, int64_t slot) {
    for (int64_t c = threadIdx.x; c < 2 * hidden; c += blockDim.x) {
      const int direction = c < hidden ? kIn : kOut;
      const int64_t count = batch.lists.size(direction, slot);
      T message = message_bias[c];
      if (count > 0) {
        const T weight = T(1) / count, bias = state_bias[c];
        for_each_neighbour(batch.lists, direction, session, slot, [&](int64_t neighbour) {
          message += weight * (products[neighbour * 5 * hidden + c] + bias);
        });
      }
      messages[slot * 2 * hidden + c] = message;
    }
  });
}

// The first two blocks of grad_products: each node gathers grad_messages / degree of those it sent to.
template <class T>
__global__ void average_backward(DevicePropagationBatch batch, const T* grad_messages, T* grad_products) {
  const int64_t hidden = batch.hidden;
  for_block_nodes(batch.sessions, [&](const DeviceSession& session, int64_t slot) {
    for (int64_t c = threadIdx.x; c < 2 * hidden; c += blockDim.x) {
      const int direction = c < hidden ? kIn : kOut;
      T sum = 0;
      for_each_neighbour(batch.lists, 1 - direction, session, slot, [&](int64_t receiver) {
        const int64_t degree = batch.lists.size(direction, receiver);
        if (degree > 0) sum += T(1) / degree * grad_messages[receiver * 2 * hidden + c];
      });
      grad_products[slot * 5 * hidden + c] = sum;
    }
  });
}

// GRU cell. gates (slots, 3 hidden): the messages' part on entry; reset, update and candidate on return. The last block
// of `products` gets its bias.
template <class T>
__global__ void update(
    DevicePropagationBatch batch, const T* state_bias, const T* bias_ih, const T* states, T* products, T* gates,
    T* out) {
  const int64_t hidden = batch.hidden;
  const T* bias_hh = state_bias + 2 * hidden;
  for_block_nodes(batch.sessions, [&](const DeviceSession&, int64_t slot) {
    T* gate = gates + slot * 3 * hidden;
    T* own_part = products + slot * 5 * hidden + 2 * hidden;
    for (int64_t c = threadIdx.x; c < hidden; c += blockDim.x) {
      const T reset = sigmoid(gate[c] + bias_ih[c] + own_part[c] + bias_hh[c]);
      const T update = sigmoid(gate[hidden + c] + bias_ih[hidden + c] + own_part[hidden + c] + bias_hh[hidden + c]);
      const T recurrent = own_part[2 * hidden + c] + bias_hh[2 * hidden + c];
      const T candidate = hyperbolic_tangent(gate[2 * hidden + c] + bias_ih[2 * hidden + c] + reset * recurrent);
      gate[c] = reset;
      gate[hidden + c] = update;
      gate[2 * hidden + c] = candidate;
      own_part[2 * hidden + c] = recurrent;
      out[slot * hidden + c] = candidate + update * (states[slot * hidden + c] - candidate);
    }
  });
}

// Gradients of the messages' part of the gates (slots, 3 hidden), of the last three blocks of `products`, and the
// direct part of the states', which may replace `grad`.
template <class T>
__global__ void update_backward(
    DevicePropagationBatch batch, const T* grad, const T* products, const T* gates, const T* states, T* grad_inputs,
    T* grad_products, T* grad_states) {
  const int64_t hidden = batch.hidden;
  for_block_nodes(batch.sessions, [&](const DeviceSession&, int64_t slot) {
    const T* gate = gates + slot * 3 * hidden;
    const T* recurrent = products + slot * 5 * hidden + 4 * hidden;
    T* grad_input = grad_inputs + slot * 3 * hidden;
    T* grad_recurrent = grad_products + slot * 5 * hidden + 2 * hidden;
    for (int64_t c = threadIdx.x; c < hidden; c += blockDim.x) {
      const T g = grad[slot * hidden + c], state = states[slot * hidden + c];
      const T reset = gate[c], update = gate[hidden + c], candidate = gate[2 * hidden + c];
      const T grad_candidate = g * (T(1) - update) * (T(1) - candidate * candidate);
      const T grad_update = g * (state - candidate) * update * (T(1) - update);
      const T grad_reset = grad_candidate * recurrent[c] * reset * (T(1) - reset);
      grad_input[c] = grad_recurrent[c] = grad_reset;
      grad_input[hidden + c] = grad_recurrent[hidden + c] = grad_update;
      grad_input[2 * hidden + c] = grad_candidate;
      grad_recurrent[2 * hidden + c] = grad_candidate * reset;
      grad_states[slot * hidden + c] = g * update;
    }
  });
}

template <class T>
__global__ void add_values(int64_t count, const T* terms, T* sums) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) sums[i] += terms[i];
}

// The sum over steps; an undefined tensor is one without terms.
template <class T>
void accumulate(Tensor& sum, const Tensor& term) {
  constexpr int kThreads = 256;
  if (!sum.defined()) {
    sum = term;
    return;
  }
  const int64_t count = sum.numel();
  launch(add_values<T>, blocks_for(count, kThreads), kThreads, 0, count, data<T>(term), mutable_data<T>(sum));
}

DevicePropagationBatch batch_of(const GraphSlots& graph, const NeighbourTensors& lists, int64_t hidden) {
  const DeviceNeighbourLists on_device{
      data<int64_t>(lists.start), data<int64_t>(lists.count), data<int64_t>(lists.neighbours), graph.slots,
      lists.neighbours.size(1)};
  return {session_table(graph), on_device, hidden};
}

// Runs a kernel on every node, whose threads lie along `columns`.
template <class Kernel, class... Arguments>
void on_nodes(const DevicePropagationBatch& batch, Kernel kernel, int64_t columns, Arguments... arguments) {
  launch(kernel, node_grid(batch.sessions), threads_for(columns), 0, batch, arguments...);
}

using torch::stable::select;

struct CudaGatedPropagation : CudaOp {
  template <class T>
  static void forward(const GatedPropagationInputs& inputs, GatedPropagationOutputs& outputs) {
    const int64_t steps = inputs.steps, slots = inputs.slots, hidden = inputs.hidden;
    const DevicePropagationBatch batch = batch_of(inputs.graph, inputs.lists, hidden);
    copy_nodes<T>(batch.sessions, inputs.nodes, outputs.states);
    for (int64_t step = 0; step < steps; ++step) {
      const Tensor state = select(outputs.states, 0, step);
      Tensor message = select(outputs.messages, 0, step), sent = select(outputs.products, 0, step);
      Tensor gate = select(outputs.gates, 0, step);
      const bool last = step == steps - 1;
      T* next = last ? mutable_data<T>(outputs.out) : mutable_data<T>(outputs.states) + (step + 1) * slots * hidden;
      product_into(sent, state, transposed(inputs.state_weight));  // (slots, 5 hidden)
      on_nodes(
          batch, average<T>, 2 * hidden, data<T>(sent), data<T>(inputs.state_bias), data<T>(inputs.message_bias),
          mutable_data<T>(message));
      product_into(gate, message, transposed(inputs.weight_ih));  // (slots, 3 hidden)
      on_nodes(
          batch, update<T>, hidden, data<T>(inputs.state_bias), data<T>(inputs.bias_ih), data<T>(state),
          mutable_data<T>(sent), mutable_data<T>(gate), next);
    }
  }

  template <class T>
  static void backward(const GatedPropagationBackwardInputs& inputs, GatedPropagationGradients& grads) {
    const int64_t slots = inputs.slots, hidden = inputs.hidden, steps = inputs.steps;
    const DevicePropagationBatch batch = batch_of(inputs.graph, inputs.lists, hidden);
    Tensor grad_inputs = make_zeros(inputs.grad, {slots, 3 * hidden});
    Tensor grad_products = make_zeros(inputs.grad, {slots, 5 * hidden});
    for (int64_t step = steps - 1; step >= 0; --step) {
      const Tensor state = select(inputs.states, 0, step), message = select(inputs.messages, 0, step);
      on_nodes(
          batch, update_backward<T>, hidden, data<T>(step == steps - 1 ? inputs.grad : grads.nodes),
          data<T>(inputs.products) + step * slots * 5 * hidden, data<T>(inputs.gates) + step * slots * 3 * hidden,
          data<T>(state), mutable_data<T>(grad_inputs), mutable_data<T>(grad_products), mutable_data<T>(grads.nodes));
      const Tensor grad_messages = product(grad_inputs, inputs.weight_ih);  // (slots, 2 hidden)
      on_nodes(batch, average_backward<T>, 2 * hidden, data<T>(grad_messages), mutable_data<T>(grad_products));
      const Tensor through_products = product(grad_products, inputs.state_weight);  // (slots, hidden)
      launch(
          add_node_rows<T>, node_grid(batch.sessions), threads_for(hidden), 0, batch.sessions, hidden,
          data<T>(through_products), mutable_data<T>(grads.nodes));
      accumulate<T>(grads.state_weight, product(transposed(grad_products), state));
      accumulate<T>(grads.weight_ih, product(transposed(grad_inputs), message));
      accumulate<T>(grads.state_bias, column_sums(grad_products));
      accumulate<T>(grads.message_bias, column_sums(grad_messages));
      accumulate<T>(grads.bias_ih, column_sums(grad_inputs));
    }
  }
};

}  // namespace
}  // namespace tagnn_fast::cuda

TAGNN_FAST_CUDA_LIBRARY(library) {
  tagnn_fast::register_gated_propagation<tagnn_fast::cuda::CudaGatedPropagation>(library);
}
