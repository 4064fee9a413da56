// Averages gather whole rows, a session at a time; the GRU cell is one fused pass over a row, the gates' columns side
// by side. Gradients of biases are summed on the way, into buffers that stay in the first-level cache.

#include "gated_propagation_kernel.h"

#include "math.h"

namespace tagnn_fast::cpu {
namespace {

// Calls visit(neighbour's slot) for every entry of a slot's list that lies in its session.
template <class Visit>
inline void for_each_neighbour(
    const NeighbourLists& lists, const SessionSlots& session, int64_t slot, const Visit& visit) {
  const int64_t start = lists.start[slot], count = lists.count[slot];
  if (start < 0 || start > lists.entries) return;
  const int64_t end = count < lists.entries - start ? start + count : lists.entries;
  for (int64_t i = start; i < end; ++i) {
    const int64_t neighbour = lists.neighbours[i];
    if (neighbour >= session.begin && neighbour < session.nodes_end) visit(neighbour);
  }
}

template <class T>
inline void average_one(
    const NeighbourLists& lists, const SessionSlots& session, int64_t slot, const T* products, const T* state_bias,
    const T* message_bias, int64_t hidden, T* __restrict__ message) {
  for (int64_t c = 0; c < hidden; ++c) message[c] = message_bias[c];
  if (lists.count[slot] <= 0) return;
  const T weight = T(1) / lists.count[slot];
  for_each_neighbour(lists, session, slot, [&](int64_t neighbour) {
    const T* __restrict__ sent = products + (session.row + neighbour - session.begin) * 5 * hidden;
    for_columns(hidden, [&](int64_t first, auto width) __attribute__((always_inline)) {
#pragma omp simd
      for (int64_t c = first; c < first + width; ++c) message[c] += weight * (sent[c] + state_bias[c]);
    });
  });
}

template <class T>
void average(
    const PropagationBatch& batch, const T* products, const T* state_bias, const T* message_bias, int64_t begin,
    int64_t end, T* messages) {
  const int64_t hidden = batch.hidden;
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots session = batch.sessions[b];
    for (int64_t slot = session.begin; slot < session.nodes_end; ++slot) {
      T* message = messages + (session.row + slot - session.begin) * 2 * hidden;
      average_one(batch.in, session, slot, products, state_bias, message_bias, hidden, message);
      average_one(
          batch.out, session, slot, products + hidden, state_bias + hidden, message_bias + hidden, hidden,
          message + hidden);
    }
  }
}

// `receivers` lists the nodes that count `slot` among their neighbours, `degrees` how many neighbours each node has.
template <class T>
inline void average_backward_one(
    const NeighbourLists& receivers, const int64_t* degrees, const SessionSlots& session, int64_t slot,
    const T* grad_messages, int64_t hidden, T* __restrict__ grad_sent, T* __restrict__ grad_bias) {
  fill_zero(grad_sent, hidden);
  for_each_neighbour(receivers, session, slot, [&](int64_t receiver) {
    if (degrees[receiver] <= 0) return;
    const T* grad_message = grad_messages + (session.row + receiver - session.begin) * 2 * hidden;
    add_scaled(grad_sent, grad_message, T(1) / degrees[receiver], hidden);
  });
  add_scaled(grad_bias, grad_sent, T(1), hidden);
}

template <class T>
void average_backward(
    const PropagationBatch& batch, const T* grad_messages, int64_t begin, int64_t end, T* grad_products,
    T* grad_state_bias, T* grad_message_bias) {
  const int64_t hidden = batch.hidden;
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots session = batch.sessions[b];
    for (int64_t slot = session.begin; slot < session.nodes_end; ++slot) {
      const int64_t row = session.row + slot - session.begin;
      T* grad_sent = grad_products + row * 5 * hidden;
      average_backward_one(batch.out, batch.in.count, session, slot, grad_messages, hidden, grad_sent, grad_state_bias);
      average_backward_one(
          batch.in, batch.out.count, session, slot, grad_messages + hidden, hidden, grad_sent + hidden,
          grad_state_bias + hidden);
      add_scaled(grad_message_bias, grad_messages + row * 2 * hidden, T(1), 2 * hidden);
    }
  }
}

template <class T>
void update(
    const PropagationBatch& batch, const T* state_bias, const T* bias_ih, const T* states, int64_t begin, int64_t end,
    bool to_slots, T* products, T* gates, T* out) {
  const int64_t hidden = batch.hidden;
  const T* bias_hh = state_bias + 2 * hidden;
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots session = batch.sessions[b];
    for (int64_t i = 0; i < session.nodes(); ++i) {
      const int64_t row = session.row + i;
      T* __restrict__ gate = gates + row * 3 * hidden;
      T* __restrict__ own_part = products + row * 5 * hidden + 2 * hidden;
      const T* __restrict__ state = states + row * hidden;
      T* __restrict__ next = out + (to_slots ? session.begin + i : row) * hidden;
      for_columns(hidden, [&](int64_t first, auto width) __attribute__((always_inline)) {
#pragma omp simd
        for (int64_t c = first; c < first + width; ++c) {
          const T reset = sigmoid(gate[c] + bias_ih[c] + own_part[c] + bias_hh[c]);
          const T update = sigmoid(gate[hidden + c] + bias_ih[hidden + c] + own_part[hidden + c] + bias_hh[hidden + c]);
          const T recurrent = own_part[2 * hidden + c] + bias_hh[2 * hidden + c];
          const T candidate = hyperbolic_tangent(gate[2 * hidden + c] + bias_ih[2 * hidden + c] + reset * recurrent);
          gate[c] = reset;
          gate[hidden + c] = update;
          gate[2 * hidden + c] = candidate;
          own_part[2 * hidden + c] = recurrent;
          next[c] = candidate + update * (state[c] - candidate);
        }
      });
    }
    if (to_slots) fill_zero(out + session.nodes_end * hidden, (session.end - session.nodes_end) * hidden);
  }
}

template <class T>
void update_backward(
    const PropagationBatch& batch, const T* grad, const T* products, const T* gates, const T* states, int64_t begin,
    int64_t end, bool from_slots, T* grad_inputs, T* grad_products, T* grad_states, T* grad_bias_ih,
    T* grad_state_bias) {
  const int64_t hidden = batch.hidden;
  T* __restrict__ bias_ih = grad_bias_ih;
  T* __restrict__ bias_hh = grad_state_bias + 2 * hidden;
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots session = batch.sessions[b];
    for (int64_t i = 0; i < session.nodes(); ++i) {
      const int64_t row = session.row + i;
      const T* g = grad + (from_slots ? session.begin + i : row) * hidden;
      const T* __restrict__ gate = gates + row * 3 * hidden;
      const T* __restrict__ recurrent = products + row * 5 * hidden + 4 * hidden;
      const T* __restrict__ state = states + row * hidden;
      T* __restrict__ grad_input = grad_inputs + row * 3 * hidden;
      T* __restrict__ grad_recurrent = grad_products + row * 5 * hidden + 2 * hidden;
      T* grad_state = grad_states + row * hidden;
      for_columns(hidden, [&](int64_t first, auto width) __attribute__((always_inline)) {
#pragma omp simd
        for (int64_t c = first; c < first + width; ++c) {
          const T reset = gate[c], update = gate[hidden + c], candidate = gate[2 * hidden + c];
          const T grad_candidate = g[c] * (T(1) - update) * (T(1) - candidate * candidate);
          const T grad_update = g[c] * (state[c] - candidate) * update * (T(1) - update);
          const T grad_reset = grad_candidate * recurrent[c] * reset * (T(1) - reset);
          grad_input[c] = grad_recurrent[c] = grad_reset;
          grad_input[hidden + c] = grad_recurrent[hidden + c] = grad_update;
          grad_input[2 * hidden + c] = grad_candidate;
          grad_recurrent[2 * hidden + c] = grad_candidate * reset;
          grad_state[c] = g[c] * update;
        }
      });
      add_scaled(bias_ih, grad_input, T(1), 3 * hidden);
      add_scaled(bias_hh, grad_recurrent, T(1), 3 * hidden);
    }
  }
}

}  // namespace

extern const GatedPropagationKernels TAGNN_FAST_THIS_TABLE(gated_propagation){
    {average<float>, average_backward<float>, update<float>, update_backward<float>},
    {average<double>, average_backward<double>, update<double>, update_backward<double>}};

}  // namespace tagnn_fast::cpu
