// Two products by PyTorch's library, the rest in two kernels each way: one with a warp per node, for its logit or its
// gradient; one with a block per session and 32 columns, whose warps share out nodes and add up at the end.

#include "../session_readout.h"

#include "nodes.h"

namespace tagnn_fast::cuda {
namespace {

constexpr int kWarps = 4;

// The session's first node is the padding node where padding[b] > 0.
struct DeviceReadoutBatch {
  SessionTable sessions;
  const int64_t *clicks, *padding, *last_node;
  int64_t hidden;
  bool normalize;
};

// A node of the session with the state of its last click, or a negative value.
__device__ inline int64_t last_slot(const DeviceReadoutBatch& batch, const DeviceSession& session) {
  const int64_t slot = batch.last_node[blockIdx.x];
  return slot >= session.begin && slot < session.nodes_end ? slot : -1;
}

__device__ inline bool is_padding(const DeviceReadoutBatch& batch, const DeviceSession& session, int64_t slot) {
  return batch.padding[blockIdx.x] > 0 && slot == session.begin;
}

// How many positions share a node's logit.
template <class T>
__device__ inline T multiplicity(const DeviceReadoutBatch& batch, const DeviceSession& session, int64_t slot) {
  const int64_t count = is_padding(batch, session, slot) ? batch.padding[blockIdx.x] : batch.clicks[slot];
  return larger(count, int64_t{0});
}

// Sum over the block's warps, lane by lane; for the first warp.
template <class T>
__device__ inline T sum_over_warps(T value) {
  struct OfLanes {
    T values[kWarps][kWarpLanes];
  };
  auto& values = static_shared<OfLanes>().values;
  values[warp()][lane()] = value;
  __syncthreads();
  T sum = 0;
  for (int other = 0; other < kWarps; ++other) sum += values[other][lane()];
  __syncthreads();
  return sum;
}

// By sessions and 32 columns.
dim3 column_grid(const DeviceReadoutBatch& batch) {
  return {static_cast<unsigned>(batch.sessions.sessions), larger(blocks_for(batch.hidden, kWarpLanes), 1u)};
}

__device__ inline int64_t own_column() { return static_cast<int64_t>(blockIdx.y) * kWarpLanes + lane(); }

template <class T>
__global__ void copy_last_click(DeviceReadoutBatch batch, const T* nodes, T* last_click) {
  const int64_t slot = last_slot(batch, find_session(batch.sessions, blockIdx.x)), hidden = batch.hidden;
  for (int64_t c = threadIdx.x; c < hidden; c += blockDim.x) {
    last_click[blockIdx.x * hidden + c] = slot >= 0 ? nodes[slot * hidden + c] : T(0);
  }
}

template <class T>
__global__ void activate(
    DeviceReadoutBatch batch, const T* queries, const T* keys, const T* query_bias, const T* key_bias,
    const T* logit_weight, T* activations, T* logits) {
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
struct ClickSoftmax {
  T largest, sum;
};

// Over the session's positions; by a whole warp.
template <class T>
__device__ ClickSoftmax<T> softmax_over_clicks(
    const DeviceReadoutBatch& batch, const DeviceSession& session, const T* logits) {
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
__global__ void pool(DeviceReadoutBatch batch, const T* nodes, const T* logits, T* coefficients, T* pooled) {
  const int64_t hidden = batch.hidden, column = own_column();
  const DeviceSession session = find_session(batch.sessions, blockIdx.x);
  const ClickSoftmax<T> softmax = batch.normalize ? softmax_over_clicks(batch, session, logits) : ClickSoftmax<T>{0, 0};
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
__global__ void coefficients_backward(
    DeviceReadoutBatch batch, const T* grad_pooled, const T* nodes, T* grad_coefficients) {
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
    DeviceReadoutBatch batch, PoolGradients<T> in, T* grad_nodes, T* grad_keys, T* grad_queries,
    T* grad_logit_weights) {
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
    DeviceReadoutBatch batch, const T* through_keys, const T* through_queries, const T* grad_last_click,
    T* grad_nodes) {
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

DeviceReadoutBatch batch_of(const ReadoutGraph& graph, int64_t hidden, bool normalize) {
  return {
      session_table(graph.slots),
      data<int64_t>(graph.clicks),
      data<int64_t>(graph.padding),
      data<int64_t>(graph.last_node),
      hidden,
      normalize};
}

struct CudaSessionReadout : CudaOp {
  template <class T>
  static void forward(const SessionReadoutInputs& inputs, SessionReadoutOutputs& outputs) {
    constexpr int kThreads = kWarps * kWarpLanes;
    const int64_t hidden = inputs.hidden;
    const DeviceReadoutBatch batch = batch_of(inputs.graph, hidden, inputs.normalize);
    Tensor logits = make_empty(inputs.nodes, {inputs.slots});
    launch(
        copy_last_click<T>, inputs.sessions, threads_for(hidden), 0, batch, data<T>(inputs.nodes),
        mutable_data<T>(outputs.last_click));
    const Tensor queries = product(outputs.last_click, transposed(inputs.query_weight));  // (sessions, hidden)
    const Tensor keys = product(inputs.nodes, transposed(inputs.key_weight));             // (slots, hidden)
    launch(
        activate<T>, node_grid(batch.sessions), kThreads, 0, batch, data<T>(queries), data<T>(keys),
        data<T>(inputs.query_bias), data<T>(inputs.key_bias), data<T>(inputs.logit_weight),
        mutable_data<T>(outputs.activations), mutable_data<T>(logits));
    launch(
        pool<T>, column_grid(batch), kThreads, 0, batch, data<T>(inputs.nodes), data<T>(logits),
        mutable_data<T>(outputs.coefficients), mutable_data<T>(outputs.pooled));
  }

  template <class T>
  static void backward(const SessionReadoutBackwardInputs& inputs, SessionReadoutGradients& grads) {
    constexpr int kThreads = kWarps * kWarpLanes;
    const int64_t hidden = inputs.hidden;
    const DeviceReadoutBatch batch = batch_of(inputs.graph, hidden, inputs.normalize);
    grads.logit_weights = make_empty(inputs.nodes, {inputs.sessions, hidden});
    Tensor grad_coefficients = make_empty(inputs.nodes, {inputs.slots});
    launch(
        coefficients_backward<T>, node_grid(batch.sessions), kThreads, 0, batch, data<T>(inputs.grad_pooled),
        data<T>(inputs.nodes), mutable_data<T>(grad_coefficients));
    const PoolGradients<T> in{
        data<T>(inputs.grad_pooled), data<T>(grad_coefficients), data<T>(inputs.activations),
        data<T>(inputs.coefficients), data<T>(inputs.logit_weight)};
    launch(
        pool_backward<T>, column_grid(batch), kThreads, 0, batch, in, mutable_data<T>(grads.nodes),
        mutable_data<T>(grads.keys), mutable_data<T>(grads.queries), mutable_data<T>(grads.logit_weights));
    const Tensor through_keys = product(grads.keys, inputs.key_weight);          // (slots, hidden)
    const Tensor through_queries = product(grads.queries, inputs.query_weight);  // (sessions, hidden)
    launch(
        add_through_products<T>, node_grid(batch.sessions), threads_for(hidden), 0, batch, data<T>(through_keys),
        data<T>(through_queries), data<T>(inputs.grad_last_click), mutable_data<T>(grads.nodes));
  }
};

}  // namespace
}  // namespace tagnn_fast::cuda

TAGNN_FAST_CUDA_LIBRARY(library) {
  tagnn_fast::register_session_readout<tagnn_fast::cuda::CudaSessionReadout>(library);
}
