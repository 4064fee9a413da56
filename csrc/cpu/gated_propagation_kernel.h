// Loops of the gated propagation, one table per instruction set.
#pragma once

#include <cstdint>

#include "capability.h"
#include "session_slots.h"

namespace tagnn_fast {

// Neighbour lists of every slot, in one direction. Any values: indices outside [0, slots) and list entries outside
// [0, entries) are skipped.
struct NeighbourLists {
  const int64_t *start, *count, *neighbours;
  int64_t slots, entries;
};

template <class T>
struct GatedPropagationLoops {
  // messages[s] = [mean of edges[j, :d] over in-neighbours j, mean of edges[j, d:] over out-neighbours j] + biases, for
  // slots [begin, end); edge_bias joins each non-empty mean. (d = hidden)
  void (*average)(
      const T* edges, const T* edge_bias, const T* message_bias, const NeighbourLists& in, const NeighbourLists& out,
      int64_t hidden, int64_t begin, int64_t end, T* messages);
  // Transposed: grad_edges[j] gathers grad_messages[i] / degree(i) over the nodes i that j sends to.
  void (*average_backward)(
      const T* grad_messages, const NeighbourLists& in, const NeighbourLists& out, int64_t hidden, int64_t begin,
      int64_t end, T* grad_edges);
  // One GRU step of sessions [begin, end): from both products to the gates (r, z, n), the recurrent part of the
  // candidate, and the new state; zeros in empty slots.
  void (*update)(
      const T* input_product, const T* recurrent_product, const T* bias_ih, const T* bias_hh, const T* state,
      const SessionSlots* sessions, int64_t hidden, int64_t begin, int64_t end, T* gates, T* candidates, T* out);
  // Gradients of both products and the direct part of the state's; zeros in empty slots.
  void (*update_backward)(
      const T* grad, const T* gates, const T* candidates, const T* state, const SessionSlots* sessions, int64_t hidden,
      int64_t begin, int64_t end, T* grad_input_product, T* grad_recurrent_product, T* grad_state);
};

struct GatedPropagationKernels {
  GatedPropagationLoops<float> float32;
  GatedPropagationLoops<double> float64;
};

TAGNN_FAST_DECLARE_KERNELS(GatedPropagationKernels, gated_propagation);

}  // namespace tagnn_fast
