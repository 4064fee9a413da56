// Multi-head self-attention among the nodes of each session: projections by PyTorch's library, attention by the kernels
// of session_attention.h, then the residual, a layer norm of the input, by a warp per row.

#include "session_attention.h"

#include <optional>
#include <tuple>

#include "../matmul.h"
#include "../session_attention_checks.h"

namespace tagnn_fast {
namespace {

constexpr double kNormEpsilon = 1e-5;  // torch.nn.LayerNorm's

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
  const T mean = warp_sum(sum) / static_cast<T>(width);
  for (int64_t c = lane(); c < width; c += kWarpLanes) squares += (row[c] - mean) * (row[c] - mean);
  const T variance = warp_sum(squares) / static_cast<T>(width);
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
    const T inverse = of_row.inverse_deviation, grad_mean = warp_sum(sum) / static_cast<T>(hidden);
    const T slope = warp_sum(sum_centered) * inverse * inverse / static_cast<T>(hidden);
    for (int64_t c = lane(); c < hidden; c += kWarpLanes) {
      const T centered = row[c] - of_row.mean;
      grad_nodes[slot * hidden + c] += inverse * (g[c] - grad_mean - centered * slope);
      grad_norm_weights[slot * hidden + c] = grad[c] * centered * inverse;
    }
  });
}

struct AttentionOptions {
  int64_t heads;
  bool causal;
  double dropout;
  Tensor seed;  // undefined without dropout

  template <class T>
  AttentionBatch<T> batch(const Sessions& sessions, int64_t hidden) const {
    const T scale = T(1) / std::sqrt(static_cast<T>(hidden / heads));
    return {
        sessions.table,
        hidden,
        heads,
        causal,
        scale,
        optional_data<int64_t>(seed),
        static_cast<uint32_t>(dropout * 4294967296.0),
        static_cast<T>(1 / (1 - dropout))};
  }
};

AttentionOptions check_options(
    int64_t hidden, int64_t heads, bool causal, double dropout, const std::optional<Tensor>& seed) {
  return {heads, causal, dropout, check_attention_options(hidden, heads, dropout, seed)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> session_attention(
    const Tensor& nodes_in, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& qkv_weight,
    const Tensor& qkv_bias_in, const Tensor& out_weight, const Tensor& out_bias_in,
    const std::optional<Tensor>& norm_weight_in, const std::optional<Tensor>& norm_bias_in, int64_t heads, bool causal,
    double dropout, const std::optional<Tensor>& seed) {
  const OnDevice device(nodes_in);
  const NoGradient no_gradient;
  const AttentionArguments arguments =
      check_attention(nodes_in, qkv_weight, qkv_bias_in, out_weight, out_bias_in, norm_weight_in, norm_bias_in);
  const int64_t slots = arguments.slots, hidden = arguments.hidden;
  const Sessions sessions = check_sessions(slot_offsets, num_nodes, slots);
  const AttentionOptions options = check_options(hidden, heads, causal, dropout, seed);

  const Tensor nodes = as_contiguous(nodes_in);
  const Tensor qkv_bias = as_contiguous(qkv_bias_in), out_bias = as_contiguous(out_bias_in);
  Tensor out = torch::stable::new_zeros(nodes, {slots, hidden});
  Tensor qkv = torch::stable::new_empty(nodes, {slots, 3 * hidden});
  Tensor attended = torch::stable::new_zeros(nodes, {slots, hidden});
  Tensor rows;
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    rows = node_rows<T>(sessions, nodes);
    product_into(qkv, rows, transposed(qkv_weight));
    launch(
        add_bias<T>, sessions.grid(), threads_for(3 * hidden), 0, sessions.table, 3 * hidden, data<T>(qkv_bias),
        mutable_data<T>(qkv));
    launch(
        attend<T>, sessions.grid(), kWarps * kWarpLanes, 0, options.batch<T>(sessions, hidden), data<T>(qkv),
        mutable_data<T>(attended));
    const Tensor projected = product(attended, transposed(out_weight));  // (slots, hidden)
    launch(
        finish<T>, sessions.grid(), kWarps * kWarpLanes, 0, sessions.table, hidden, data<T>(projected),
        data<T>(out_bias), data<T>(rows), optional_data<T>(arguments.norm_weight),
        optional_data<T>(arguments.norm_bias), mutable_data<T>(out));
  };
  arguments.dtype == ScalarType::Float ? run(float()) : run(double());
  return {out, rows, qkv, attended};
}

// Through the layer norm: adds to grad_nodes, returns the gradient of the weight.
template <class T>
Tensor residual_backward(
    const Sessions& sessions, const Tensor& grad_rows, const Tensor& rows, const Tensor& norm_weight,
    Tensor& grad_nodes) {
  const int64_t slots = rows.size(0), hidden = rows.size(1);
  if (!norm_weight.defined()) return torch::stable::new_zeros(rows, {hidden});
  Tensor weighted = torch::stable::new_empty(rows, {slots, hidden});
  Tensor grad_norm_weights = torch::stable::new_zeros(rows, {slots, hidden});
  launch(
      layer_norm_backward<T>, sessions.grid(), kWarps * kWarpLanes, 0, sessions.table, hidden, data<T>(grad_rows),
      data<T>(rows), data<T>(norm_weight), mutable_data<T>(weighted), mutable_data<T>(grad_norm_weights),
      mutable_data<T>(grad_nodes));
  return column_sums(grad_norm_weights);
}

using AttentionGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

AttentionGradients session_attention_backward(
    const Tensor& grad_in, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& qkv_weight,
    const Tensor& out_weight, const std::optional<Tensor>& norm_weight_in, int64_t heads, bool causal, double dropout,
    const std::optional<Tensor>& seed, const Tensor& rows_in, const Tensor& qkv_in, const Tensor& attended_in) {
  const OnDevice device(grad_in);
  const NoGradient no_gradient;
  const AttentionArguments arguments =
      check_attention_backward(grad_in, qkv_weight, out_weight, norm_weight_in, rows_in, qkv_in, attended_in);
  const int64_t slots = arguments.slots, hidden = arguments.hidden;
  const Sessions sessions = check_sessions(slot_offsets, num_nodes, slots);
  const AttentionOptions options = check_options(hidden, heads, causal, dropout, seed);

  const Tensor grad = as_contiguous(grad_in), qkv = as_contiguous(qkv_in);
  const Tensor rows = as_contiguous(rows_in), attended = as_contiguous(attended_in);
  Tensor grad_qkv = torch::stable::new_zeros(grad, {slots, 3 * hidden});
  Tensor statistics = torch::stable::new_empty(grad, {slots, heads, 3});
  Tensor grad_rows, grad_nodes, grad_norm_weight;
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    const AttentionBatch<T> batch = options.batch<T>(sessions, hidden);
    auto* of_queries = static_cast<QueryStatistics<T>*>(statistics.mutable_data_ptr());
    grad_rows = node_rows<T>(sessions, grad);
    const Tensor grad_attended = product(grad_rows, out_weight);  // (slots, hidden)
    launch(
        queries_backward<T>, sessions.grid(), kWarps * kWarpLanes, 0, batch, data<T>(grad_attended), data<T>(qkv),
        data<T>(attended), of_queries, mutable_data<T>(grad_qkv));
    launch(
        keys_values_backward<T>, sessions.grid(), kWarps * kWarpLanes, 0, batch, data<T>(grad_attended), data<T>(qkv),
        of_queries, mutable_data<T>(grad_qkv));
    const Tensor through_attention = product(grad_qkv, qkv_weight);  // (slots, hidden)
    grad_nodes = node_rows<T>(sessions, through_attention);
    grad_norm_weight = residual_backward<T>(sessions, grad_rows, rows, arguments.norm_weight, grad_nodes);
  };
  arguments.dtype == ScalarType::Float ? run(float()) : run(double());
  const Tensor grad_bias = column_sums(grad_rows);  // both biases are added to the same rows
  return {
      grad_nodes,
      product(transposed(grad_qkv), rows),
      column_sums(grad_qkv),
      product(transposed(grad_rows), attended),
      grad_bias,
      grad_norm_weight,
      torch::stable::clone(grad_bias)};
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_CUDA_LIBRARY(library) {
  library.impl("session_attention", TORCH_BOX(&tagnn_fast::session_attention));
  library.impl("session_attention_backward", TORCH_BOX(&tagnn_fast::session_attention_backward));
}
