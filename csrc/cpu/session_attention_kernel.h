// Loops of the self-attention inside each session, one table per instruction set.
#pragma once

#include <cstdint>

#include "capability.h"
#include "session_slots.h"

namespace tagnn_fast::cpu {

struct SessionAttentionBatch {
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
  void (*forward)(
      const SessionAttentionBatch& batch, const T* bias, int64_t begin, int64_t end, T* scratch, T* qkv, T* out);
  // Recomputes the weights. scratch: room for twice the nodes of a session.
  void (*backward)(
      const SessionAttentionBatch& batch, const T* grad, const T* qkv, int64_t begin, int64_t end, T* scratch,
      T* grad_qkv);
  // out, by slot = projected + out_bias + LayerNorm(rows) where norm_weight is given; zeros in empty slots.
  void (*finish)(
      const SessionAttentionBatch& batch, const T* projected, const T* out_bias, const T* rows, const T* norm_weight,
      const T* norm_bias, int64_t begin, int64_t end, T* out);
  // grad_nodes, by slot = through_attention + the layer norm's gradient; grad_norm_weight is added to.
  void (*finish_backward)(
      const SessionAttentionBatch& batch, const T* grad_rows, const T* rows, const T* norm_weight,
      const T* through_attention, int64_t begin, int64_t end, T* grad_nodes, T* grad_norm_weight);
};

struct SessionAttentionKernels {
  SessionAttentionLoops<float> float32;
  SessionAttentionLoops<double> float64;
};

TAGNN_FAST_DECLARE_KERNELS(SessionAttentionKernels, session_attention);

}  // namespace tagnn_fast::cpu
