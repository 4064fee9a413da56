// Loops of the self-attention inside each session, one table per instruction set.
#pragma once

#include <cstdint>

#include "capability.h"
#include "session_slots.h"

namespace tagnn_fast {

struct AttentionOptions {
  int64_t hidden, heads;
  bool causal;
  double dropout;  // probability of dropping a weight; 0 for none
  uint64_t seed;
};

template <class T>
struct SessionAttentionLoops {
  // qkv: rows of queries, keys and values side by side, (slots, 3 hidden). scratch: room for the nodes of a session.
  void (*forward)(
      const T* qkv, const SessionSlots* sessions, const AttentionOptions& options, int64_t begin, int64_t end,
      T* scratch, T* out);
  // Recomputes the weights. scratch: room for twice the nodes of a session.
  void (*backward)(
      const T* grad, const T* qkv, const SessionSlots* sessions, const AttentionOptions& options, int64_t begin,
      int64_t end, T* scratch, T* grad_qkv);
};

struct SessionAttentionKernels {
  SessionAttentionLoops<float> float32;
  SessionAttentionLoops<double> float64;
};

TAGNN_FAST_DECLARE_KERNELS(SessionAttentionKernels, session_attention);

}  // namespace tagnn_fast
