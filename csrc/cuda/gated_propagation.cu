// Two products per step by PyTorch's library; averages over neighbours and the GRU cell by kernels whose threads lie
// along the columns of a node's row. Rows of empty slots are zero throughout, so products run over all slots.

#include <tuple>

#include "../gated_propagation_checks.h"
#include "../matmul.h"
#include "nodes.h"

namespace tagnn_fast {
namespace {

constexpr int kIn = 0, kOut = 1;

// The neighbour lists of every slot, in-neighbours first. Any values: entries outside [0, entries) and neighbours
// outside the slot's own session are skipped.
struct NeighbourLists {
  const int64_t *start, *count, *neighbours;
  int64_t slots, entries;

  __device__ int64_t size(int direction, int64_t slot) const { return count[direction * slots + slot]; }
};

struct PropagationBatch {
  SessionTable sessions;
  NeighbourLists lists;
  int64_t hidden;
};

template <class Visit>
__device__ inline void for_each_neighbour(
    const NeighbourLists& lists, int direction, const DeviceSession& session, int64_t slot, const Visit& visit) {
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
    PropagationBatch batch, const T* products, const T* state_bias, const T* message_bias, T* messages) {
  const int64_t hidden = batch.hidden;
  for_block_nodes(batch.sessions, [&](const DeviceSession& session, int64_t slot) {
    for (int64_t c = threadIdx.x; c < 2 * hidden; c += blockDim.x) {
      const int direction = c < hidden ? kIn : kOut;
      const int64_t count = batch.lists.size(direction, slot);
      T message = message_bias[c];
      if (count > 0) {
        const T weight = T(1) / static_cast<T>(count), bias = state_bias[c];
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
__global__ void average_backward(PropagationBatch batch, const T* grad_messages, T* grad_products) {
  const int64_t hidden = batch.hidden;
  for_block_nodes(batch.sessions, [&](const DeviceSession& session, int64_t slot) {
    for (int64_t c = threadIdx.x; c < 2 * hidden; c += blockDim.x) {
      const int direction = c < hidden ? kIn : kOut;
      T sum = 0;
      for_each_neighbour(batch.lists, 1 - direction, session, slot, [&](int64_t receiver) {
        const int64_t degree = batch.lists.size(direction, receiver);
        if (degree > 0) sum += T(1) / static_cast<T>(degree) * grad_messages[receiver * 2 * hidden + c];
      });
      grad_products[slot * 5 * hidden + c] = sum;
    }
  });
}

// GRU cell. gates (slots, 3 hidden): the messages' part on entry; reset, update and candidate on return. The last block
// of `products` gets its bias.
template <class T>
__global__ void update(
    PropagationBatch batch, const T* state_bias, const T* bias_ih, const T* states, T* products, T* gates, T* out) {
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
    PropagationBatch batch, const T* grad, const T* products, const T* gates, const T* states, T* grad_inputs,
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

// The graph, checked, and kept alive while `batch` points at it.
struct PropagationGraph {
  NeighbourTensors lists;
  Sessions sessions;
  PropagationBatch batch;

  PropagationGraph(
      int64_t slots, int64_t hidden, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& start_in,
      const Tensor& count_in, const Tensor& neighbours_in)
      : lists(slots, start_in, count_in, neighbours_in) {
    sessions = check_sessions(slot_offsets, num_nodes, slots);
    const int64_t *first = data<int64_t>(lists.start), *size = data<int64_t>(lists.count);
    const int64_t* list = data<int64_t>(lists.neighbours);
    batch = {sessions.table, {first, size, list, slots, lists.neighbours.size(1)}, hidden};
  }

  // Runs a kernel on every node, whose threads lie along `columns`.
  template <class Kernel, class... Arguments>
  void on_nodes(Kernel kernel, int64_t columns, Arguments... arguments) const {
    launch(kernel, sessions.grid(), threads_for(columns), 0, batch, arguments...);
  }
};

using torch::stable::select;

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> gated_propagation(
    const Tensor& nodes_in, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& neighbour_start,
    const Tensor& neighbour_count, const Tensor& neighbours, const Tensor& state_weight, const Tensor& state_bias_in,
    const Tensor& message_bias_in, const Tensor& weight_ih, const Tensor& bias_ih_in, int64_t steps) {
  const OnDevice device(nodes_in);
  const NoGradient no_gradient;
  const PropagationSizes sizes =
      check_propagation(nodes_in, state_weight, state_bias_in, message_bias_in, weight_ih, bias_ih_in, steps);
  const int64_t slots = sizes.slots, hidden = sizes.hidden;
  const PropagationGraph graph(slots, hidden, slot_offsets, num_nodes, neighbour_start, neighbour_count, neighbours);

  const Tensor nodes = as_contiguous(nodes_in);
  const Tensor state_bias = as_contiguous(state_bias_in);
  const Tensor message_bias = as_contiguous(message_bias_in);
  const Tensor bias_ih = as_contiguous(bias_ih_in);
  Tensor out = torch::stable::new_zeros(nodes, {slots, hidden});
  Tensor states = torch::stable::new_zeros(nodes, {steps, slots, hidden});  // before each step
  Tensor messages = torch::stable::new_zeros(nodes, {steps, slots, 2 * hidden});
  Tensor products = torch::stable::new_empty(nodes, {steps, slots, 5 * hidden});
  Tensor gates = torch::stable::new_empty(nodes, {steps, slots, 3 * hidden});

  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    launch(
        copy_node_rows<T>, graph.sessions.grid(), threads_for(hidden), 0, graph.sessions.table, hidden, data<T>(nodes),
        mutable_data<T>(states));
    for (int64_t step = 0; step < steps; ++step) {
      const Tensor state = select(states, 0, step);
      Tensor message = select(messages, 0, step), sent = select(products, 0, step), gate = select(gates, 0, step);
      T* next = step == steps - 1 ? mutable_data<T>(out) : mutable_data<T>(states) + (step + 1) * slots * hidden;
      product_into(sent, state, transposed(state_weight));  // (slots, 5 hidden)
      graph.on_nodes(
          average<T>, 2 * hidden, data<T>(sent), data<T>(state_bias), data<T>(message_bias), mutable_data<T>(message));
      product_into(gate, message, transposed(weight_ih));  // (slots, 3 hidden)
      graph.on_nodes(
          update<T>, hidden, data<T>(state_bias), data<T>(bias_ih), data<T>(state), mutable_data<T>(sent),
          mutable_data<T>(gate), next);
    }
  };
  sizes.dtype == ScalarType::Float ? run(float()) : run(double());
  return {out, states, messages, products, gates};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> gated_propagation_backward(
    const Tensor& grad_in, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& neighbour_start,
    const Tensor& neighbour_count, const Tensor& neighbours, const Tensor& state_weight, const Tensor& weight_ih,
    const Tensor& states_in, const Tensor& messages_in, const Tensor& products_in, const Tensor& gates_in) {
  const OnDevice device(grad_in);
  const NoGradient no_gradient;
  const PropagationSizes sizes =
      check_propagation_backward(grad_in, state_weight, weight_ih, states_in, messages_in, products_in, gates_in);
  const int64_t slots = sizes.slots, hidden = sizes.hidden, steps = sizes.steps;
  const PropagationGraph graph(slots, hidden, slot_offsets, num_nodes, neighbour_start, neighbour_count, neighbours);

  const Tensor grad = as_contiguous(grad_in), states = as_contiguous(states_in);
  const Tensor messages = as_contiguous(messages_in), gates = as_contiguous(gates_in);
  const Tensor products = as_contiguous(products_in);
  Tensor grad_state = torch::stable::new_zeros(grad, {slots, hidden});
  Tensor grad_inputs = torch::stable::new_zeros(grad, {slots, 3 * hidden});
  Tensor grad_products = torch::stable::new_zeros(grad, {slots, 5 * hidden});
  Tensor grad_state_weight, grad_state_bias, grad_message_bias, grad_weight_ih, grad_bias_ih;

  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    for (int64_t step = steps - 1; step >= 0; --step) {
      const Tensor state = select(states, 0, step), message = select(messages, 0, step);
      graph.on_nodes(
          update_backward<T>, hidden, data<T>(step == steps - 1 ? grad : grad_state),
          data<T>(products) + step * slots * 5 * hidden, data<T>(gates) + step * slots * 3 * hidden, data<T>(state),
          mutable_data<T>(grad_inputs), mutable_data<T>(grad_products), mutable_data<T>(grad_state));
      const Tensor grad_messages = product(grad_inputs, weight_ih);  // (slots, 2 hidden)
      graph.on_nodes(average_backward<T>, 2 * hidden, data<T>(grad_messages), mutable_data<T>(grad_products));
      const Tensor through_products = product(grad_products, state_weight);  // (slots, hidden)
      launch(
          add_node_rows<T>, graph.sessions.grid(), threads_for(hidden), 0, graph.sessions.table, hidden,
          data<T>(through_products), mutable_data<T>(grad_state));
      accumulate<T>(grad_state_weight, product(transposed(grad_products), state));
      accumulate<T>(grad_weight_ih, product(transposed(grad_inputs), message));
      accumulate<T>(grad_state_bias, column_sums(grad_products));
      accumulate<T>(grad_message_bias, column_sums(grad_messages));
      accumulate<T>(grad_bias_ih, column_sums(grad_inputs));
    }
  };
  sizes.dtype == ScalarType::Float ? run(float()) : run(double());
  return {grad_state, grad_state_weight, grad_state_bias, grad_message_bias, grad_weight_ih, grad_bias_ih};
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_CUDA_LIBRARY(library) {
  library.impl("gated_propagation", TORCH_BOX(&tagnn_fast::gated_propagation));
  library.impl("gated_propagation_backward", TORCH_BOX(&tagnn_fast::gated_propagation_backward));
}
