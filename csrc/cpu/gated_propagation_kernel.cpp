// Neighbour averages gather whole rows, one slot at a time; the GRU's gates are one fused pass over a row, with the
// three gates' columns side by side so that each vector of hidden units is read once.

#include "gated_propagation_kernel.h"

#include "math.h"

namespace tagnn_fast {
namespace {

// Calls visit(neighbour) for every valid entry of a slot's list.
template <class Visit>
inline void for_each_neighbour(const NeighbourLists& lists, int64_t slot, const Visit& visit) {
  const int64_t start = lists.start[slot], count = lists.count[slot];
  if (start < 0 || start > lists.entries) return;
  const int64_t end = count < lists.entries - start ? start + count : lists.entries;
  for (int64_t i = start; i < end; ++i) {
    const int64_t neighbour = lists.neighbours[i];
    if (neighbour >= 0 && neighbour < lists.slots) visit(neighbour);
  }
}

template <class T>
inline void average_one(
    const T* edges, const T* edge_bias, const T* message_bias, const NeighbourLists& lists, int64_t slot,
    int64_t hidden, T* __restrict__ message) {
  for (int64_t c = 0; c < hidden; ++c) message[c] = message_bias[c];
  const int64_t degree = lists.count[slot];
  if (degree <= 0) return;
  const T weight = T(1) / static_cast<T>(degree);
  for_each_neighbour(lists, slot, [&](int64_t neighbour) {
    const T* __restrict__ edge = edges + neighbour * 2 * hidden;
#pragma omp simd
    for (int64_t c = 0; c < hidden; ++c) message[c] += weight * (edge[c] + edge_bias[c]);
  });
}

template <class T>
void average(
    const T* edges, const T* edge_bias, const T* message_bias, const NeighbourLists& in, const NeighbourLists& out,
    int64_t hidden, int64_t begin, int64_t end, T* messages) {
  for (int64_t slot = begin; slot < end; ++slot) {
    T* message = messages + slot * 2 * hidden;
    average_one(edges, edge_bias, message_bias, in, slot, hidden, message);
    average_one(
        edges + hidden, edge_bias + hidden, message_bias + hidden, out, slot, hidden, message + hidden);
  }
}

// `receivers` lists the nodes that hold `slot` among their own neighbours, `degrees` how many each of them has.
template <class T>
inline void average_backward_one(
    const T* grad_messages, const NeighbourLists& receivers, const int64_t* degrees, int64_t slot, int64_t hidden,
    T* __restrict__ grad_edge) {
  fill_zero(grad_edge, hidden);
  for_each_neighbour(receivers, slot, [&](int64_t receiver) {
    if (degrees[receiver] <= 0) return;
    add_scaled(grad_edge, grad_messages + receiver * 2 * hidden, T(1) / static_cast<T>(degrees[receiver]), hidden);
  });
}

template <class T>
void average_backward(
    const T* grad_messages, const NeighbourLists& in, const NeighbourLists& out, int64_t hidden, int64_t begin,
    int64_t end, T* grad_edges) {
  for (int64_t slot = begin; slot < end; ++slot) {
    T* grad_edge = grad_edges + slot * 2 * hidden;
    average_backward_one(grad_messages, out, in.count, slot, hidden, grad_edge);
    average_backward_one(grad_messages + hidden, in, out.count, slot, hidden, grad_edge + hidden);
  }
}

template <class T>
void update(
    const T* input_product, const T* recurrent_product, const T* bias_ih, const T* bias_hh, const T* state,
    const SessionSlots* sessions, int64_t hidden, int64_t begin, int64_t end, T* gates, T* candidates, T* out) {
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots session = sessions[b];
    for (int64_t slot = session.begin; slot < session.nodes_end; ++slot) {
      const T* __restrict__ gi = input_product + slot * 3 * hidden;
      const T* __restrict__ gh = recurrent_product + slot * 3 * hidden;
      const T* __restrict__ h = state + slot * hidden;
      T* __restrict__ gate = gates + slot * 3 * hidden;
      T* __restrict__ candidate = candidates + slot * hidden;
      T* __restrict__ next = out + slot * hidden;
#pragma omp simd
      for (int64_t c = 0; c < hidden; ++c) {
        const T r = sigmoid(gi[c] + bias_ih[c] + gh[c] + bias_hh[c]);
        const T z = sigmoid(gi[hidden + c] + bias_ih[hidden + c] + gh[hidden + c] + bias_hh[hidden + c]);
        const T recurrent = gh[2 * hidden + c] + bias_hh[2 * hidden + c];
        const T n = hyperbolic_tangent(gi[2 * hidden + c] + bias_ih[2 * hidden + c] + r * recurrent);
        gate[c] = r;
        gate[hidden + c] = z;
        gate[2 * hidden + c] = n;
        candidate[c] = recurrent;
        next[c] = n + z * (h[c] - n);
      }
    }
    const int64_t empty = session.end - session.nodes_end;
    fill_zero(gates + session.nodes_end * 3 * hidden, empty * 3 * hidden);
    fill_zero(candidates + session.nodes_end * hidden, empty * hidden);
    fill_zero(out + session.nodes_end * hidden, empty * hidden);
  }
}

template <class T>
void update_backward(
    const T* grad, const T* gates, const T* candidates, const T* state, const SessionSlots* sessions, int64_t hidden,
    int64_t begin, int64_t end, T* grad_input_product, T* grad_recurrent_product, T* grad_state) {
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots session = sessions[b];
    for (int64_t slot = session.begin; slot < session.nodes_end; ++slot) {
      const T* __restrict__ g = grad + slot * hidden;
      const T* __restrict__ gate = gates + slot * 3 * hidden;
      const T* __restrict__ candidate = candidates + slot * hidden;
      const T* __restrict__ h = state + slot * hidden;
      T* __restrict__ grad_gi = grad_input_product + slot * 3 * hidden;
      T* __restrict__ grad_gh = grad_recurrent_product + slot * 3 * hidden;
      T* __restrict__ grad_h = grad_state + slot * hidden;
#pragma omp simd
      for (int64_t c = 0; c < hidden; ++c) {
        const T r = gate[c], z = gate[hidden + c], n = gate[2 * hidden + c];
        const T grad_n = g[c] * (T(1) - z) * (T(1) - n * n);
        const T grad_z = g[c] * (h[c] - n) * z * (T(1) - z);
        const T grad_r = grad_n * candidate[c] * r * (T(1) - r);
        grad_gi[c] = grad_gh[c] = grad_r;
        grad_gi[hidden + c] = grad_gh[hidden + c] = grad_z;
        grad_gi[2 * hidden + c] = grad_n;
        grad_gh[2 * hidden + c] = grad_n * r;
        grad_h[c] = g[c] * z;
      }
    }
    const int64_t empty = session.end - session.nodes_end;
    fill_zero(grad_input_product + session.nodes_end * 3 * hidden, empty * 3 * hidden);
    fill_zero(grad_recurrent_product + session.nodes_end * 3 * hidden, empty * 3 * hidden);
    fill_zero(grad_state + session.nodes_end * hidden, empty * hidden);
  }
}

}  // namespace

extern const GatedPropagationKernels TAGNN_FAST_THIS_TABLE(gated_propagation){
    {average<float>, average_backward<float>, update<float>, update_backward<float>},
    {average<double>, average_backward<double>, update<double>, update_backward<double>}};

}  // namespace tagnn_fast
