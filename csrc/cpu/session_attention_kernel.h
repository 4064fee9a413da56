// Loops of the self-attention inside each session, one table per instruction set.
#pragma once

#include <cstdint>

#include "capability.h"
#include "session_slots.h"

namespace tagnn_fast {

struct AttentionBatch {
  const SessionSlots* sessions;
  int64_t hidden, heads;
  bool causal;
  double dropout;  // probability of dropping a weight; 0 for none
  uint64_t seed;
};

// Rows are nodes without the empty slots between sessions.
template <class T>
struct SessionAttentionLoops {
  // qkv: products of queries, keys and values side by side, (rows, 3 hidden); their biases are added in place. scratch:
  // room for the nodes of a session.
  void (*forward)(const AttentionBatch& batch, const T* bias, int64_t begin, int64_t end, T* scratch, T* qkv, T* out);
  // Recomputes the weights. scratch: room for twice the nodes of a session.
  void (*backward)(
      const AttentionBatch& batch, const T* grad, const T* qkv, int64_t begin, int64_t end, T* scratch, T* grad_qkv);
};

struct SessionAttentionKernels {
  SessionAttentionLoops<float> float32;
  SessionAttentionLoops<double> float64;
};

TAGNN_FAST_DECLARE_KERNELS(SessionAttentionKernels, session_attention);

}  // namespace tagnn_fast
