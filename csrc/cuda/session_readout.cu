// Two products by PyTorch's library, the rest in two kernels each way: one with a warp per node, for its logit or its
// gradient; one with a block per session and 32 columns, whose warps share out nodes and add up at the end.

#include <tuple>

#include "../matmul.h"
#include "../session_readout_checks.h"
#include "nodes.h"

namespace tagnn_fast {
namespace {

constexpr int kWarps = 4;

// The session's first node is the padding node where padding[b] > 0.
struct ReadoutBatch {
  SessionTable sessions;
  const int64_t *clicks, *padding, *last_node;
  int64_t hidden;
  bool normalize;
};

// A node of the session with the state of its last click, or a negative value.
__device__ inline int64_t last_slot(const ReadoutBatch& batch, const DeviceSession& session) {
  const int64_t slot = batch.last_node[blockIdx.x];
  return slot >= session.begin && slot < session.nodes_end ? slot : -1;
}

__device__ inline bool is_padding(const ReadoutBatch& batch, const DeviceSession& session, int64_t slot) {
  return batch.padding[blockIdx.x] > 0 && slot == session.begin;
}

// How many positions share a node's logit.
template <class T>
__device__ inline T multiplicity(const ReadoutBatch& batch, const DeviceSession& session, int64_t slot) {
  const int64_t count = is_padding(batch, session, slot) ? batch.padding[blockIdx.x] : batch.clicks[slot];
  return static_cast<T>(larger(count, int64_t{0}));
}

// Sum over the block's warps, lane by lane; for the first warp.
template <class T>
__device__ inline T sum_over_warps(T value) {
  __shared__ T values[kWarps][kWarpLanes];
  values[warp()][lane()] = value;
  __syncthreads();
  T sum = 0;
  for (int other = 0; other < kWarps; ++other) sum += values[other][lane()];
  __syncthreads();
  return sum;
}

// By sessions and 32 columns.
dim3 column_grid(const ReadoutBatch& batch) {
  return {static_cast<unsigned>(batch.sessions.sessions), larger(blocks_for(batch.hidden, kWarpLanes), 1u)};
}

__device__ inline int64_t own_column() { return static_cast<int64_t>(blockIdx.y) * kWarpLanes + lane(); }

template <class T>
__global__ void copy_last_click(ReadoutBatch batch, const T* nodes, T* last_click) {
  const int64_t slot = last_slot(batch, find_session(batch.sessions, blockIdx.x)), hidden = batch.hidden;
  for (int64_t c = threadIdx.x; c < hidden; c += blockDim.x) {
    last_click[blockIdx.x * hidden + c] = slot >= 0 ? nodes[slot * hidden + c] : T(0);
  }
}

template <class T>
__global__ void activate(
    ReadoutBatch batch, const T* queries, const T* keys, const T* query_bias, const T* key_bias, const T* logit_weight,
    T* activations, T* logits) {
  const int64_t hidden = batch.hidden;
  const T* query = queries + blockIdx.x * hidden;
  for_warp_nodes(batch.sessions, [&](const DeviceSession&, int64_t slot) {
    T logit = 0;
    for (int64_t c = lane(); c < hidden; c += kWarpLanes) {
      const T activation = sigmoid(keys[slot * hidden + c] + query[c] + (query_bias[c] + key_bias[c]));
      activations[slot * hidden + c] = activation;
      logit += logit_weight[c] * activation;
    }
    logit = warp_sum(logit);
    if (lane() == 0) logits[slot] = logit;
  });
}

template <class T>
struct Softmax {
  T largest, sum;
};

// Over the session's positions; by a whole warp.
template <class T>
__device__ Softmax<T> softmax_over_clicks(const ReadoutBatch& batch, const DeviceSession& session, const T* logits) {
  T largest = kBelowAll<T>, sum = 0;
  for (int64_t slot = session.begin + lane(); slot < session.nodes_end; slot += kWarpLanes) {
    if (multiplicity<T>(batch, session, slot) > 0) largest = larger(largest, logits[slot]);
  }
  largest = warp_max(largest);
  for (int64_t slot = session.begin + lane(); slot < session.nodes_end; slot += kWarpLanes) {
    const T count = multiplicity<T>(batch, session, slot);
    if (count > 0) sum += count * softmax_term(logits[slot] - largest);
  }
  return {largest, warp_sum(sum)};
}

// coefficients: weight of each node in the pooled vector, clicks included; of the padding node, its share of the
// softmax.
template <class T>
__global__ void pool(ReadoutBatch batch, const T* nodes, const T* logits, T* coefficients, T* pooled) {
  const int64_t hidden = batch.hidden, column = own_column();
  const DeviceSession session = find_session(batch.sessions, blockIdx.x);
  const Softmax<T> softmax = batch.normalize ? softmax_over_clicks(batch, session, logits) : Softmax<T>{0, 0};
  T sum = 0;
  for (int64_t slot = session.begin + warp(); slot < session.nodes_end; slot += kWarps) {
    const T count = multiplicity<T>(batch, session, slot);
    T coefficient = 0;
    if (!batch.normalize) coefficient = count * logits[slot];
    else if (count > 0) coefficient = count * softmax_term(logits[slot] - softmax.largest) / softmax.sum;
    if (blockIdx.y == 0 && lane() == 0) coefficients[slot] = coefficient;
    if (column < hidden && !is_padding(batch, session, slot)) sum += coefficient * nodes[slot * hidden + column];
  }
  sum = sum_over_warps(sum);
  if (warp() == 0 && column < hidden) pooled[blockIdx.x * hidden + column] = sum;
}

template <class T>
__global__ void coefficients_backward(ReadoutBatch batch, const T* grad_pooled, const T* nodes, T* grad_coefficients) {
  const int64_t hidden = batch.hidden;
  for_warp_nodes(batch.sessions, [&](const DeviceSession& session, int64_t slot) {
    const T grad = warp_dot(grad_pooled + blockIdx.x * hidden, nodes + slot * hidden, hidden);
    if (lane() == 0) grad_coefficients[slot] = is_padding(batch, session, slot) ? T(0) : grad;
  });
}

// What the backward of pooling reads.
template <class T>
struct PoolGradients {
  const T *grad_pooled, *grad_coefficients, *activations, *coefficients, *logit_weight;
};

// grad_nodes: through the pooled values alone. grad_queries, grad_logit_weights: a row per session.
template <class T>
__global__ void pool_backward(
    ReadoutBatch batch, PoolGradients<T> in, T* grad_nodes, T* grad_keys, T* grad_queries, T* grad_logit_weights) {
  const int64_t hidden = batch.hidden, column = own_column();
  const DeviceSession session = find_session(batch.sessions, blockIdx.x);
  T mean = 0;
  for (int64_t slot = session.begin + lane(); slot < session.nodes_end; slot += kWarpLanes) {
    mean += in.coefficients[slot] * in.grad_coefficients[slot];
  }
  mean = warp_sum(mean);
  const T grad = column < hidden ? in.grad_pooled[blockIdx.x * hidden + column] : T(0);
  const T weight = column < hidden ? in.logit_weight[column] : T(0);
  T grad_query = 0, grad_weight = 0;
  for (int64_t slot = session.begin + warp(); slot < session.nodes_end; slot += kWarps) {
    const T coefficient = in.coefficients[slot], grad_coefficient = in.grad_coefficients[slot];
    const T grad_logit = batch.normalize ? coefficient * (grad_coefficient - mean)
                                         : multiplicity<T>(batch, session, slot) * grad_coefficient;
    if (column >= hidden) continue;
    const T activation = in.activations[slot * hidden + column];
    const T grad_key = grad_logit * weight * activation * (T(1) - activation);
    grad_nodes[slot * hidden + column] = is_padding(batch, session, slot) ? T(0) : coefficient * grad;
    grad_keys[slot * hidden + column] = grad_key;
    grad_query += grad_key;
    grad_weight += grad_logit * activation;
  }
  grad_query = sum_over_warps(grad_query);
  grad_weight = sum_over_warps(grad_weight);
  if (warp() != 0 || column >= hidden) return;
  grad_queries[blockIdx.x * hidden + column] = grad_query;
  grad_logit_weights[blockIdx.x * hidden + column] = grad_weight;
}

// Adds what reaches the nodes through the keys, and the last click's through the query and on its own.
template <class T>
__global__ void add_through_products(
    ReadoutBatch batch, const T* through_keys, const T* through_queries, const T* grad_last_click, T* grad_nodes) {
  const int64_t hidden = batch.hidden;
  for_block_nodes(batch.sessions, [&](const DeviceSession& session, int64_t slot) {
    const bool is_last = slot == last_slot(batch, session);
    for (int64_t c = threadIdx.x; c < hidden; c += blockDim.x) {
      const int64_t of_session = blockIdx.x * hidden + c;
      const T of_last = is_last ? grad_last_click[of_session] + through_queries[of_session] : T(0);
      grad_nodes[slot * hidden + c] += through_keys[slot * hidden + c] + of_last;
    }
  });
}

// The graph arrays that both directions read, checked, and kept alive while `batch` points at them.
struct ReadoutGraph {
  Sessions sessions;
  ReadoutTensors tensors;
  ReadoutBatch batch;

  ReadoutGraph(
      const Tensor& nodes, const Tensor& clicks_in, const Tensor& slot_offsets, const Tensor& num_nodes,
      const Tensor& last_node_in, const Tensor& padding_in, bool normalize)
      : sessions(check_sessions(slot_offsets, num_nodes, nodes.size(0))),
        tensors(nodes.size(0), sessions.table.sessions, clicks_in, last_node_in, padding_in) {
    batch = {
        sessions.table,
        data<int64_t>(tensors.clicks),
        data<int64_t>(tensors.padding),
        data<int64_t>(tensors.last_node),
        nodes.size(1),
        normalize};
  }

  unsigned count() const { return static_cast<unsigned>(sessions.table.sessions); }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> session_readout(
    const Tensor& nodes_in, const Tensor& clicks, const Tensor& slot_offsets, const Tensor& num_nodes,
    const Tensor& last_node, const Tensor& padding, const Tensor& query_weight, const Tensor& query_bias_in,
    const Tensor& key_weight, const Tensor& key_bias_in, const Tensor& logit_weight_in, bool normalize) {
  const OnDevice device(nodes_in);
  const NoGradient no_gradient;
  const ReadoutSizes sizes =
      check_readout(nodes_in, query_weight, query_bias_in, key_weight, key_bias_in, logit_weight_in);
  const int64_t slots = sizes.slots, hidden = sizes.hidden;
  const ReadoutGraph graph(nodes_in, clicks, slot_offsets, num_nodes, last_node, padding, normalize);

  const Tensor nodes = as_contiguous(nodes_in);
  const Tensor query_bias = as_contiguous(query_bias_in);
  const Tensor key_bias = as_contiguous(key_bias_in);
  const Tensor logit_weight = as_contiguous(logit_weight_in);
  Tensor last_click = torch::stable::new_empty(nodes, {graph.count(), hidden});
  Tensor pooled = torch::stable::new_empty(nodes, {graph.count(), hidden});
  Tensor activations = torch::stable::new_zeros(nodes, {slots, hidden});
  Tensor coefficients = torch::stable::new_zeros(nodes, {slots});
  Tensor logits = torch::stable::new_empty(nodes, {slots});

  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    launch(
        copy_last_click<T>, graph.count(), threads_for(hidden), 0, graph.batch, data<T>(nodes),
        mutable_data<T>(last_click));
    const Tensor queries = product(last_click, transposed(query_weight));  // (sessions, hidden)
    const Tensor keys = product(nodes, transposed(key_weight));            // (slots, hidden)
    launch(
        activate<T>, graph.sessions.grid(), kWarps * kWarpLanes, 0, graph.batch, data<T>(queries), data<T>(keys),
        data<T>(query_bias), data<T>(key_bias), data<T>(logit_weight), mutable_data<T>(activations),
        mutable_data<T>(logits));
    launch(
        pool<T>, column_grid(graph.batch), kWarps * kWarpLanes, 0, graph.batch, data<T>(nodes), data<T>(logits),
        mutable_data<T>(coefficients), mutable_data<T>(pooled));
  };
  sizes.dtype == ScalarType::Float ? run(float()) : run(double());
  return {pooled, last_click, activations, coefficients};
}

using ReadoutGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

ReadoutGradients session_readout_backward(
    const Tensor& grad_pooled_in, const Tensor& grad_last_click_in, const Tensor& nodes_in, const Tensor& clicks,
    const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& last_node, const Tensor& padding,
    const Tensor& query_weight, const Tensor& key_weight, const Tensor& logit_weight_in, bool normalize,
    const Tensor& last_click, const Tensor& activations_in, const Tensor& coefficients_in) {
  const OnDevice device(nodes_in);
  const NoGradient no_gradient;
  const ReadoutSizes sizes = check_readout_nodes(nodes_in);
  const int64_t slots = sizes.slots, hidden = sizes.hidden;
  const ReadoutGraph graph(nodes_in, clicks, slot_offsets, num_nodes, last_node, padding, normalize);
  check_readout_backward(
      sizes, graph.count(), grad_pooled_in, grad_last_click_in, query_weight, key_weight, logit_weight_in, last_click,
      activations_in, coefficients_in);

  const Tensor grad_pooled = as_contiguous(grad_pooled_in);
  const Tensor grad_last_click = as_contiguous(grad_last_click_in);
  const Tensor nodes = as_contiguous(nodes_in);
  const Tensor logit_weight = as_contiguous(logit_weight_in);
  const Tensor activations = as_contiguous(activations_in);
  const Tensor coefficients = as_contiguous(coefficients_in);
  Tensor grad_nodes = torch::stable::new_zeros(nodes, {slots, hidden});
  Tensor grad_keys = torch::stable::new_zeros(nodes, {slots, hidden});
  Tensor grad_queries = torch::stable::new_empty(nodes, {graph.count(), hidden});
  Tensor grad_logit_weights = torch::stable::new_empty(nodes, {graph.count(), hidden});
  Tensor grad_coefficients = torch::stable::new_empty(nodes, {slots});

  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    launch(
        coefficients_backward<T>, graph.sessions.grid(), kWarps * kWarpLanes, 0, graph.batch, data<T>(grad_pooled),
        data<T>(nodes), mutable_data<T>(grad_coefficients));
    const PoolGradients<T> in{
        data<T>(grad_pooled), data<T>(grad_coefficients), data<T>(activations), data<T>(coefficients),
        data<T>(logit_weight)};
    launch(
        pool_backward<T>, column_grid(graph.batch), kWarps * kWarpLanes, 0, graph.batch, in,
        mutable_data<T>(grad_nodes), mutable_data<T>(grad_keys), mutable_data<T>(grad_queries),
        mutable_data<T>(grad_logit_weights));
    const Tensor through_keys = product(grad_keys, key_weight);          // (slots, hidden)
    const Tensor through_queries = product(grad_queries, query_weight);  // (sessions, hidden)
    launch(
        add_through_products<T>, graph.sessions.grid(), threads_for(hidden), 0, graph.batch, data<T>(through_keys),
        data<T>(through_queries), data<T>(grad_last_click), mutable_data<T>(grad_nodes));
  };
  sizes.dtype == ScalarType::Float ? run(float()) : run(double());
  const Tensor grad_bias = column_sums(grad_queries);  // both biases are added to the same sums
  return {
      grad_nodes,
      product(transposed(grad_queries), last_click),
      grad_bias,
      product(transposed(grad_keys), nodes),
      torch::stable::clone(grad_bias),
      column_sums(grad_logit_weights)};
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_CUDA_LIBRARY(library) {
  library.impl("session_readout", TORCH_BOX(&tagnn_fast::session_readout));
  library.impl("session_readout_backward", TORCH_BOX(&tagnn_fast::session_readout_backward));
}
