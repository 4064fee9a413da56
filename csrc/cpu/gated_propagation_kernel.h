// Loops of the gated propagation, one table per instruction set.
//
// Rows here are nodes without the empty slots between sessions. A state's products stand side by side in 5 blocks of
// `hidden` columns: what it sends along in-edges, along out-edges, and its part of the gates (reset, update,
// candidate).
#pragma once

#include <cstdint>

#include "capability.h"
#include "session_slots.h"

namespace tagnn_fast::cpu {

// Neighbour lists of every slot, in one direction. Any values: entries outside [0, entries) and neighbours outside the
// slot's own session are skipped.
struct NeighbourLists {
  const int64_t *start, *count, *neighbours;
  int64_t entries;
};

struct PropagationBatch {
  const SessionSlots* sessions;
  NeighbourLists in, out;
  int64_t hidden;
};

template <class T>
struct GatedPropagationLoops {
  // messages (rows, 2 hidden): mean of the in-neighbours' first block, mean of the out-neighbours' second, + biases.
  void (*average)(
      const PropagationBatch& batch, const T* products, const T* state_bias, const T* message_bias, int64_t begin,
      int64_t end, T* messages);
  // The first two blocks of grad_products: each node gathers grad_messages / degree of those it sent to.
  void (*average_backward)(
      const PropagationBatch& batch, const T* grad_messages, int64_t begin, int64_t end, T* grad_products,
      T* grad_state_bias, T* grad_message_bias);
  // GRU cell. gates (rows, 3 hidden): the messages' part on entry; reset, update and candidate on return. The last
  // block of `products` gets its bias. The new state goes to `out` by slot, zeros in empty ones, if `to_slots`, else by
  // row.
  void (*update)(
      const PropagationBatch& batch, const T* state_bias, const T* bias_ih, const T* states, int64_t begin, int64_t end,
      bool to_slots, T* products, T* gates, T* out);
  // Gradients of the messages' part of the gates (rows, 3 hidden), of the last three blocks of `products`, and the
  // direct part of the states'. `grad` is by slot if `from_slots`.
  void (*update_backward)(
      const PropagationBatch& batch, const T* grad, const T* products, const T* gates, const T* states, int64_t begin,
      int64_t end, bool from_slots, T* grad_inputs, T* grad_products, T* grad_states, T* grad_bias_ih,
      T* grad_state_bias);
};

struct GatedPropagationKernels {
  GatedPropagationLoops<float> float32;
  GatedPropagationLoops<double> float64;
};

TAGNN_FAST_DECLARE_KERNELS(GatedPropagationKernels, gated_propagation);

}  // namespace tagnn_fast::cpu
