// One query at a time against the keys of its session: sessions are a handful of nodes, so a session's rows stay in the
// first-level cache and no tiling is needed. The residual, a layer norm of the input, joins on the way back to slots.

#include "session_attention_kernel.h"

#include "../philox.h"
#include "math.h"

namespace tagnn_fast::cpu {
namespace {

// Softmax of query `query` over the first `count` keys of one head; both counted from the session's first node.
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
inline void apply_dropout(const SessionAttentionBatch& batch, int64_t slot, int64_t head, int64_t count, T* weights) {
  if (batch.dropout <= 0) return;
  const uint32_t threshold = batch.dropout * kRandomWords;
  const T kept = 1 / (1 - batch.dropout);
  for (int64_t j = 0; j < count; j += 4) {
    const PhiloxWords words = philox(batch.seed, slot, j / 4, head, slot >> 32);
    for (int64_t i = 0; i < 4 && j + i < count; ++i) weights[j + i] *= words.word[i] < threshold ? T(0) : kept;
  }
}

template <class T>
void forward(
    const SessionAttentionBatch& batch, const T* bias, int64_t begin, int64_t end, T* scratch, T* qkv, T* out) {
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
    const SessionAttentionBatch& batch, const T* grad, const T* qkv, int64_t begin, int64_t end, T* scratch,
    T* grad_qkv) {
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

// Mean of a row and 1 / √(variance + ε).
template <class T>
inline void row_statistics(const T* row, int64_t width, T* mean, T* inverse_deviation) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < width; ++c) sum += row[c];
  const T center = sum / width;
  T squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < width; ++c) squares += (row[c] - center) * (row[c] - center);
  *mean = center;
  *inverse_deviation = T(1) / std::sqrt(squares / width + static_cast<T>(kNormEpsilon));
}

template <class T>
void finish(
    const SessionAttentionBatch& batch, const T* projected, const T* out_bias, const T* rows, const T* norm_weight,
    const T* norm_bias, int64_t begin, int64_t end, T* out) {
  const int64_t hidden = batch.hidden;
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots session = batch.sessions[b];
    for (int64_t i = 0; i < session.nodes(); ++i) {
      const T* __restrict__ value = projected + (session.row + i) * hidden;
      const T* __restrict__ row = rows + (session.row + i) * hidden;
      T* __restrict__ result = out + (session.begin + i) * hidden;
      for (int64_t c = 0; c < hidden; ++c) result[c] = value[c] + out_bias[c];
      if (norm_weight == nullptr) continue;
      T mean, inverse_deviation;
      row_statistics(row, hidden, &mean, &inverse_deviation);
#pragma omp simd
      for (int64_t c = 0; c < hidden; ++c) {
        result[c] += (row[c] - mean) * inverse_deviation * norm_weight[c] + norm_bias[c];
      }
    }
    fill_zero(out + session.nodes_end * hidden, (session.end - session.nodes_end) * hidden);
  }
}

template <class T>
void finish_backward(
    const SessionAttentionBatch& batch, const T* grad_rows, const T* rows, const T* norm_weight,
    const T* through_attention, int64_t begin, int64_t end, T* grad_nodes, T* grad_norm_weight) {
  const int64_t hidden = batch.hidden;
  for (int64_t b = begin; b < end; ++b) {
    const SessionSlots session = batch.sessions[b];
    for (int64_t i = 0; i < session.nodes(); ++i) {
      const T* __restrict__ through = through_attention + (session.row + i) * hidden;
      T* __restrict__ result = grad_nodes + (session.begin + i) * hidden;
      if (norm_weight == nullptr) {
        for (int64_t c = 0; c < hidden; ++c) result[c] = through[c];
        continue;
      }
      const T* __restrict__ grad = grad_rows + (session.row + i) * hidden;
      const T* __restrict__ row = rows + (session.row + i) * hidden;
      T mean, inverse_deviation;
      row_statistics(row, hidden, &mean, &inverse_deviation);
      // With x the normalised row and g = grad · weight: dh = (g − mean(g) − x mean(g x)) / deviation. g is stored, so
      // that it is rounded alike in the sum and in the difference, whose cancellation the deviation may blow up.
      for (int64_t c = 0; c < hidden; ++c) result[c] = grad[c] * norm_weight[c];
      T sum = 0, sum_centered = 0;
#pragma omp simd reduction(+ : sum, sum_centered)
      for (int64_t c = 0; c < hidden; ++c) {
        sum += result[c];
        sum_centered += result[c] * (row[c] - mean);
      }
      const T grad_mean = sum / hidden;
      const T slope = sum_centered * inverse_deviation * inverse_deviation / hidden;
#pragma omp simd
      for (int64_t c = 0; c < hidden; ++c) {
        const T centered = row[c] - mean;
        result[c] = through[c] + inverse_deviation * (result[c] - grad_mean - centered * slope);
        grad_norm_weight[c] += grad[c] * centered * inverse_deviation;
      }
    }
    fill_zero(grad_nodes + session.nodes_end * hidden, (session.end - session.nodes_end) * hidden);
  }
}

}  // namespace

extern const SessionAttentionKernels TAGNN_FAST_THIS_TABLE(session_attention){
    {forward<float>, backward<float>, finish<float>, finish_backward<float>},
    {forward<double>, backward<double>, finish<double>, finish_backward<double>}};

}  // namespace tagnn_fast::cpu
