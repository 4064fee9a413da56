// Multi-head self-attention among the nodes of each session: projections by PyTorch's library, attention by the kernels
// of session_attention_heads.h, then the residual, a layer norm of the input, by a warp per row.

#include "../session_attention.h"

#include "session_attention_heads.h"

namespace tagnn_fast::cuda {
namespace {

template <class T>
__global__ void add_bias(SessionTable table, int64_t columns, const T* bias, T* rows) {
  for_block_nodes(table, [&](const DeviceSession&, int64_t slot) {
    for (int64_t c = threadIdx.x; c < columns; c += blockDim.x) rows[slot * columns + c] += bias[c];
  });
}

template <class T>
struct RowStatistics {
  T mean, inverse_deviation;  // 1 / √(variance + ε)
};

// By a whole warp.
template <class T>
__device__ RowStatistics<T> row_statistics(const T* row, int64_t width) {
  T sum = 0, squares = 0;
  for (int64_t c = lane(); c < width; c += kWarpLanes) sum += row[c];
  const T mean = warp_sum(sum) / width;
  for (int64_t c = lane(); c < width; c += kWarpLanes) squares += (row[c] - mean) * (row[c] - mean);
  const T variance = warp_sum(squares) / width;
  return {mean, T(1) / std::sqrt(variance + static_cast<T>(kNormEpsilon))};
}

// out = projected + out_bias + LayerNorm(rows) where norm_weight is given.
template <class T>
__global__ void finish(
    SessionTable table, int64_t hidden, const T* projected, const T* out_bias, const T* rows, const T* norm_weight,
    const T* norm_bias, T* out) {
  for_warp_nodes(table, [&](const DeviceSession&, int64_t slot) {
    const T *value = projected + slot * hidden, *row = rows + slot * hidden;
    T* result = out + slot * hidden;
    if (norm_weight == nullptr) {
      for (int64_t c = lane(); c < hidden; c += kWarpLanes) result[c] = value[c] + out_bias[c];
      return;
    }
    const RowStatistics<T> of_row = row_statistics(row, hidden);
    for (int64_t c = lane(); c < hidden; c += kWarpLanes) {
      const T normalized = (row[c] - of_row.mean) * of_row.inverse_deviation;
      result[c] = value[c] + out_bias[c] + (normalized * norm_weight[c] + norm_bias[c]);
    }
  });
}

// Adds the layer norm's gradient to grad_nodes. grad_norm_weights: a row per slot.
template <class T>
__global__ void layer_norm_backward(
    SessionTable table, int64_t hidden, const T* grad_rows, const T* rows, const T* norm_weight, T* weighted,
    T* grad_norm_weights, T* grad_nodes) {
  for_warp_nodes(table, [&](const DeviceSession&, int64_t slot) {
    const T *grad = grad_rows + slot * hidden, *row = rows + slot * hidden;
    const RowStatistics<T> of_row = row_statistics(row, hidden);
    // With x the normalised row and g = grad · weight: dh = (g − mean(g) − x mean(g x)) / deviation. g is stored, so
    // that it is rounded alike in the sum and in the difference, whose cancellation the deviation may blow up.
    T* g = weighted + slot * hidden;
    for (int64_t c = lane(); c < hidden; c += kWarpLanes) g[c] = grad[c] * norm_weight[c];
    T sum = 0, sum_centered = 0;
    for (int64_t c = lane(); c < hidden; c += kWarpLanes) {
      sum += g[c];
      sum_centered += g[c] * (row[c] - of_row.mean);
    }
    const T inverse = of_row.inverse_deviation, grad_mean = warp_sum(sum) / hidden;
    const T slope = warp_sum(sum_centered) * inverse * inverse / hidden;
    for (int64_t c = lane(); c < hidden; c += kWarpLanes) {
      const T centered = row[c] - of_row.mean;
      grad_nodes[slot * hidden + c] += inverse * (g[c] - grad_mean - centered * slope);
      grad_norm_weights[slot * hidden + c] = grad[c] * centered * inverse;
    }
  });
}

template <class T>
DeviceSessionAttentionBatch<T> batch_of(
    const GraphSlots& graph, int64_t hidden, const SessionAttentionOptions& options) {
  return {
      session_table(graph),
      hidden,
      options.heads,
      options.causal,
      T(1) / std::sqrt(static_cast<T>(hidden / options.heads)),
      optional_data<int64_t>(options.seed),
      static_cast<uint32_t>(options.dropout * kRandomWords),
      static_cast<T>(1 / (1 - options.dropout))};
}

// Through the layer norm: adds to the nodes' gradients, returns that of the weight.
template <class T>
Tensor residual_backward(
    const SessionTable& sessions, const SessionAttentionBackwardInputs& inputs, SessionAttentionGradients& grads) {
  const int64_t slots = inputs.slots, hidden = inputs.hidden;
  if (!inputs.norm_weight) return make_zeros(inputs.rows, {hidden});
  Tensor weighted = make_empty(inputs.rows, {slots, hidden});
  Tensor grad_norm_weights = make_zeros(inputs.rows, {slots, hidden});
  launch(
      layer_norm_backward<T>, node_grid(sessions), kWarps * kWarpLanes, 0, sessions, hidden, data<T>(grads.rows),
      data<T>(inputs.rows), data<T>(*inputs.norm_weight), mutable_data<T>(weighted), mutable_data<T>(grad_norm_weights),
      mutable_data<T>(grads.nodes));
  return column_sums(grad_norm_weights);
}

struct CudaSessionAttention : CudaOp {
  template <class T>
  static void forward(const SessionAttentionInputs& inputs, SessionAttentionOutputs& outputs) {
    constexpr int kThreads = kWarps * kWarpLanes;
    const int64_t hidden = inputs.hidden;
    const DeviceSessionAttentionBatch<T> batch = batch_of<T>(inputs.graph, hidden, inputs.options);
    const dim3 grid = node_grid(batch.sessions);
    copy_nodes<T>(batch.sessions, inputs.nodes, outputs.rows);
    product_into(outputs.qkv, outputs.rows, transposed(inputs.qkv_weight));
    launch(
        add_bias<T>, grid, threads_for(3 * hidden), 0, batch.sessions, 3 * hidden, data<T>(inputs.qkv_bias),
        mutable_data<T>(outputs.qkv));
    launch(attend<T>, grid, kThreads, 0, batch, data<T>(outputs.qkv), mutable_data<T>(outputs.attended));
    const Tensor projected = product(outputs.attended, transposed(inputs.out_weight));  // (slots, hidden)
    launch(
        finish<T>, grid, kThreads, 0, batch.sessions, hidden, data<T>(projected), data<T>(inputs.out_bias),
        data<T>(outputs.rows), optional_data<T>(inputs.norm_weight), optional_data<T>(inputs.norm_bias),
        mutable_data<T>(outputs.out));
  }

  template <class T>
  static void backward(const SessionAttentionBackwardInputs& inputs, SessionAttentionGradients& grads) {
    constexpr int kThreads = kWarps * kWarpLanes;
    const int64_t slots = inputs.slots, hidden = inputs.hidden;
    const DeviceSessionAttentionBatch<T> batch = batch_of<T>(inputs.graph, hidden, inputs.options);
    const dim3 grid = node_grid(batch.sessions);
    grads.qkv = make_zeros(inputs.grad, {slots, 3 * hidden});
    Tensor statistics = make_empty(inputs.grad, {slots, inputs.options.heads, 3});
    auto* of_queries = static_cast<QueryStatistics<T>*>(statistics.mutable_data_ptr());
    grads.rows = node_rows<T>(batch.sessions, inputs.grad);
    const Tensor grad_attended = product(grads.rows, inputs.out_weight);  // (slots, hidden)
    launch(
        queries_backward<T>, grid, kThreads, 0, batch, data<T>(grad_attended), data<T>(inputs.qkv),
        data<T>(inputs.attended), of_queries, mutable_data<T>(grads.qkv));
    launch(
        keys_values_backward<T>, grid, kThreads, 0, batch, data<T>(grad_attended), data<T>(inputs.qkv), of_queries,
        mutable_data<T>(grads.qkv));
    copy_nodes<T>(batch.sessions, product(grads.qkv, inputs.qkv_weight), grads.nodes);
    grads.norm_weight = residual_backward<T>(batch.sessions, inputs, grads);
  }
};

}  // namespace
}  // namespace tagnn_fast::cuda

TAGNN_FAST_CUDA_LIBRARY(library) {
  tagnn_fast::register_session_attention<tagnn_fast::cuda::CudaSessionAttention>(library);
}
