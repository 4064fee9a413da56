// One query at a time against the keys of its session: sessions are a handful of nodes, so a session's rows stay in the
// first-level cache and no tiling is needed.

#include "session_attention_kernel.h"

#include "../philox.h"
#include "math.h"

namespace tagnn_fast {
namespace {

// Softmax of query `query` over keys [0, keys) of one head; both counted from the session's first node.
template <class T>
inline void attention_weights(
    const T* queries, const T* keys, int64_t row, int64_t width, int64_t query, int64_t count,
    T* __restrict__ weights) {
  const T scale = T(1) / std::sqrt(static_cast<T>(width));
  const T* q = queries + query * row;
  T largest = 0;
  for (int64_t j = 0; j < count; ++j) {
    weights[j] = scale * dot(q, keys + j * row, width);
    if (j == 0 || weights[j] > largest) largest = weights[j];
  }
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) {
    weights[j] = softmax_term(weights[j] - largest);
    sum += weights[j];
  }
  const T inverse = T(1) / sum;
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) weights[j] *= inverse;
}

// Multiplies entries by their dropout factor, 0 or 1 / (1 − rate). One Philox call serves four neighbouring keys.
template <class T>
inline void apply_dropout(const AttentionBatch& batch, int64_t slot, int64_t head, int64_t count, T* weights) {
  if (batch.dropout <= 0) return;
  const uint32_t threshold = static_cast<uint32_t>(batch.dropout * 4294967296.0);
  const T kept = static_cast<T>(1 / (1 - batch.dropout));
  for (int64_t j = 0; j < count; j += 4) {
    const PhiloxWords words = philox(
        batch.seed, static_cast<uint32_t>(slot), static_cast<uint32_t>(j / 4), static_cast<uint32_t>(head),
        static_cast<uint32_t>(static_cast<uint64_t>(slot) >> 32));
    for (int64_t i = 0; i < 4 && j + i < count; ++i) weights[j + i] *= words.word[i] < threshold ? T(0) : kept;
  }
}

template <class T>
void forward(const AttentionBatch& batch, const T* bias, int64_t begin, int64_t end, T* scratch, T* qkv, T* out) {
  const int64_t hidden = batch.hidden, row = 3 * hidden, width = hidden / batch.heads;
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots session = batch.sessions[b];
    for (int64_t i = 0; i < session.nodes(); ++i) add_scaled(qkv + (session.row + i) * row, bias, T(1), row);
    fill_zero(out + session.row * hidden, session.nodes() * hidden);
    for (int64_t head = 0; head < batch.heads; ++head) {
      const T* queries = qkv + session.row * row + head * width;
      const T *keys = queries + hidden, *values = queries + 2 * hidden;
      for (int64_t i = 0; i < session.nodes(); ++i) {
        const int64_t count = batch.causal ? i + 1 : session.nodes();
        attention_weights(queries, keys, row, width, i, count, scratch);
        apply_dropout(batch, session.begin + i, head, count, scratch);
        T* result = out + (session.row + i) * hidden + head * width;
        for (int64_t j = 0; j < count; ++j) add_scaled(result, values + j * row, scratch[j], width);
      }
    }
  }
}

template <class T>
void backward(
    const AttentionBatch& batch, const T* grad, const T* qkv, int64_t begin, int64_t end, T* scratch, T* grad_qkv) {
  const int64_t hidden = batch.hidden, row = 3 * hidden, width = hidden / batch.heads;
  const T scale = T(1) / std::sqrt(static_cast<T>(width));
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots session = batch.sessions[b];
    fill_zero(grad_qkv + session.row * row, session.nodes() * row);
    T *weights = scratch, *grad_weights = scratch + session.nodes();
    for (int64_t head = 0; head < batch.heads; ++head) {
      const T* queries = qkv + session.row * row + head * width;
      const T *keys = queries + hidden, *values = queries + 2 * hidden;
      T* grad_queries = grad_qkv + session.row * row + head * width;
      T *grad_keys = grad_queries + hidden, *grad_values = grad_queries + 2 * hidden;
      for (int64_t i = 0; i < session.nodes(); ++i) {
        const int64_t count = batch.causal ? i + 1 : session.nodes();
        const T* grad_out = grad + (session.row + i) * hidden + head * width;
        attention_weights(queries, keys, row, width, i, count, weights);
        // With dropout factors f: out = Σ f w v, so dv = f w · dout and dw = f (dout · v).
        for (int64_t j = 0; j < count; ++j) grad_weights[j] = weights[j];
        apply_dropout(batch, session.begin + i, head, count, grad_weights);
        for (int64_t j = 0; j < count; ++j) add_scaled(grad_values + j * row, grad_out, grad_weights[j], width);
        for (int64_t j = 0; j < count; ++j) grad_weights[j] = dot(grad_out, values + j * row, width);
        apply_dropout(batch, session.begin + i, head, count, grad_weights);
        const T mean = dot(weights, grad_weights, count);
        for (int64_t j = 0; j < count; ++j) {
          const T grad_logit = scale * weights[j] * (grad_weights[j] - mean);
          add_scaled(grad_queries + i * row, keys + j * row, grad_logit, width);
          add_scaled(grad_keys + j * row, queries + i * row, grad_logit, width);
        }
      }
    }
  }
}

}  // namespace

extern const SessionAttentionKernels TAGNN_FAST_THIS_TABLE(session_attention){
    {forward<float>, backward<float>}, {forward<double>, backward<double>}};

}  // namespace tagnn_fast
