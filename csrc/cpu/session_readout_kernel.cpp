// A session at a time: logits of its nodes in one fused pass (sum, sigmoid, dot product), softmax with multiplicities,
// weighted sum of its rows.

#include "session_readout_kernel.h"

#include "math.h"

namespace tagnn_fast::cpu {
namespace {

inline bool is_padding(const ReadoutBatch& batch, int64_t session, int64_t slot) {
  return batch.padding[session] > 0 && slot == batch.sessions[session].begin;
}

// How many positions share a node's logit.
template <class T>
inline T multiplicity(const ReadoutBatch& batch, int64_t session, int64_t slot) {
  const int64_t count = is_padding(batch, session, slot) ? batch.padding[session] : batch.clicks[slot];
  return count > 0 ? count : 0;
}

// Logits on entry, coefficients on return.
template <class T>
inline void normalize(const ReadoutBatch& batch, int64_t session, T* coefficients) {
  const SessionSlots slots = batch.sessions[session];
  T largest = 0, sum = 0;
  bool any = false;
  for (int64_t slot = slots.begin; slot < slots.nodes_end; ++slot) {
    if (multiplicity<T>(batch, session, slot) == 0) continue;
    if (!any || coefficients[slot] > largest) largest = coefficients[slot];
    any = true;
  }
  for (int64_t slot = slots.begin; slot < slots.nodes_end; ++slot) {
    const T count = multiplicity<T>(batch, session, slot);
    coefficients[slot] = count == 0 ? T(0) : count * softmax_term(coefficients[slot] - largest);
    sum += coefficients[slot];
  }
  if (!any) return;
  for (int64_t slot = slots.begin; slot < slots.nodes_end; ++slot) coefficients[slot] /= sum;
}

template <class T>
void forward(
    const ReadoutBatch& batch, const T* nodes, const T* queries, const T* query_bias, const T* key_bias,
    const T* logit_weight, int64_t begin, int64_t end, T* activations, T* coefficients, T* pooled) {
  const int64_t hidden = batch.hidden;
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots slots = batch.sessions[b];
    const T* __restrict__ query = queries + b * hidden;
    for (int64_t slot = slots.begin; slot < slots.nodes_end; ++slot) {
      T* __restrict__ activation = activations + slot * hidden;
      for_columns(hidden, [&](int64_t first, auto width) __attribute__((always_inline)) {
#pragma omp simd
        for (int64_t c = first; c < first + width; ++c) {
          activation[c] = sigmoid(activation[c] + query[c] + (query_bias[c] + key_bias[c]));
        }
      });
      coefficients[slot] = dot(logit_weight, activation, hidden);
    }
    if (batch.normalize) {
      normalize(batch, b, coefficients);
    } else {
      for (int64_t slot = slots.begin; slot < slots.nodes_end; ++slot) {
        coefficients[slot] *= multiplicity<T>(batch, b, slot);
      }
    }
    T* result = pooled + b * hidden;
    fill_zero(result, hidden);
    for (int64_t slot = slots.begin; slot < slots.nodes_end; ++slot) {
      if (!is_padding(batch, b, slot)) add_scaled(result, nodes + slot * hidden, coefficients[slot], hidden);
    }
    fill_zero(coefficients + slots.nodes_end, slots.end - slots.nodes_end);
  }
}

template <class T>
void backward(
    const ReadoutBatch& batch, const T* grad_pooled, const T* nodes, const T* activations, const T* coefficients,
    const T* logit_weight, int64_t begin, int64_t end, T* scratch, T* grad_nodes, T* grad_keys, T* grad_queries,
    T* grad_logit_weight) {
  const int64_t hidden = batch.hidden;
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots slots = batch.sessions[b];
    const T* __restrict__ grad = grad_pooled + b * hidden;
    T mean = 0;
    for (int64_t slot = slots.begin; slot < slots.nodes_end; ++slot) {
      const bool has_value = !is_padding(batch, b, slot);
      const T grad_coefficient = has_value ? dot(grad, nodes + slot * hidden, hidden) : T(0);
      scratch[slot - slots.begin] = grad_coefficient;
      mean += coefficients[slot] * grad_coefficient;
    }
    T* __restrict__ grad_query = grad_queries + b * hidden;
    fill_zero(grad_query, hidden);
    for (int64_t slot = slots.begin; slot < slots.nodes_end; ++slot) {
      const T grad_coefficient = scratch[slot - slots.begin];
      const T value_weight = is_padding(batch, b, slot) ? T(0) : coefficients[slot];
      const T grad_logit = batch.normalize ? coefficients[slot] * (grad_coefficient - mean)
                                           : multiplicity<T>(batch, b, slot) * grad_coefficient;
      const T* __restrict__ activation = activations + slot * hidden;
      T* __restrict__ grad_node = grad_nodes + slot * hidden;
      T* __restrict__ grad_key = grad_keys + slot * hidden;
      for_columns(hidden, [&](int64_t first, auto width) __attribute__((always_inline)) {
#pragma omp simd
        for (int64_t c = first; c < first + width; ++c) {
          grad_node[c] = value_weight * grad[c];
          grad_key[c] = grad_logit * logit_weight[c] * activation[c] * (T(1) - activation[c]);
          grad_query[c] += grad_key[c];
          grad_logit_weight[c] += grad_logit * activation[c];
        }
      });
    }
    fill_zero(grad_nodes + slots.nodes_end * hidden, (slots.end - slots.nodes_end) * hidden);
    fill_zero(grad_keys + slots.nodes_end * hidden, (slots.end - slots.nodes_end) * hidden);
  }
}

}  // namespace

extern const SessionReadoutKernels TAGNN_FAST_THIS_TABLE(session_readout){
    {forward<float>, backward<float>}, {forward<double>, backward<double>}};

}  // namespace tagnn_fast::cpu
