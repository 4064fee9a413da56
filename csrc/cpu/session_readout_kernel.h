// Loops of the soft-attention readout, one table per instruction set.
#pragma once

#include <cstdint>

#include "capability.h"
#include "session_slots.h"

namespace tagnn_fast::cpu {

// What both directions read. The session's first node is the padding node where padding[b] > 0.
struct ReadoutBatch {
  const SessionSlots* sessions;
  const int64_t *clicks, *padding;
  int64_t hidden;
  bool normalize;
};

template <class T>
struct SessionReadoutLoops {
  // activations: keys (slots, hidden) on entry, sigmoid(query + key + bias) on return. coefficients: weight of each
  // node in the pooled vector, clicks included; of the padding node, its share of the softmax.
  void (*forward)(
      const ReadoutBatch& batch, const T* nodes, const T* queries, const T* query_bias, const T* key_bias,
      const T* logit_weight, int64_t begin, int64_t end, T* activations, T* coefficients, T* pooled);
  // grad_nodes: through the pooled values alone. scratch: room for the nodes of a session. grad_logit_weight: added to.
  void (*backward)(
      const ReadoutBatch& batch, const T* grad_pooled, const T* nodes, const T* activations, const T* coefficients,
      const T* logit_weight, int64_t begin, int64_t end, T* scratch, T* grad_nodes, T* grad_keys, T* grad_queries,
      T* grad_logit_weight);
};

struct SessionReadoutKernels {
  SessionReadoutLoops<float> float32;
  SessionReadoutLoops<double> float64;
};

TAGNN_FAST_DECLARE_KERNELS(SessionReadoutKernels, session_readout);

}  // namespace tagnn_fast::cpu
