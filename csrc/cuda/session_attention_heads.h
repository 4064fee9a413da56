// Attention inside sessions by a warp per query and head, or per key and head in the gradient of keys and values: no
// two warps add to the same row. Rows of the other side are taken in tiles of 32, one per lane.
#pragma once

#include <cmath>

#include "../philox.h"
#include "nodes.h"

namespace tagnn_fast::cuda {
namespace {

constexpr int kWarps = 4;

template <class T>
struct DeviceSessionAttentionBatch {
  SessionTable sessions;
  int64_t hidden, heads;
  bool causal;
  T scale;  // of the logits

  // Dropout: a weight is dropped where its random word is below the threshold. No seed, no dropout.
  const int64_t* seed;
  uint32_t threshold;
  T kept_factor;

  __host__ __device__ int64_t width() const { return hidden / heads; }
};

// What one head of a session reads: rows of its columns, from the session's first node on.
template <class T>
struct HeadRows {
  const T *queries, *keys, *values;
  int64_t row;

  __device__ HeadRows(const DeviceSessionAttentionBatch<T>& batch, const T* qkv, int64_t first_slot, int64_t head)
      : row(3 * batch.hidden) {
    queries = qkv + first_slot * row + head * batch.width();
    keys = queries + batch.hidden;
    values = keys + batch.hidden;
  }
};

// A row of the session, counted from its first node, and a head.
struct RowOfHead {
  int64_t begin, nodes, index, head;

  __device__ int64_t slot() const { return begin + index; }
};

// Calls visit(RowOfHead) for every row and head of this block's part of its session, by a warp for each.
template <class T, class Visit>
__device__ inline void for_warp_heads(const DeviceSessionAttentionBatch<T>& batch, const Visit& visit) {
  const DeviceSession session = find_session(batch.sessions, blockIdx.x);
  const int64_t nodes = session.nodes_end - session.begin;
  const int64_t step = static_cast<int64_t>(gridDim.y) * warps();
  for (int64_t i = static_cast<int64_t>(blockIdx.y) * warps() + warp(); i < nodes * batch.heads; i += step) {
    visit(RowOfHead{session.begin, nodes, i / batch.heads, i % batch.heads});
  }
}

// In a tile's dot products, 8 lanes share a row, so that they read 8 neighbouring columns, and 4 rows go at a time; a
// lane ends up with one of the rows that it took part in.
constexpr int kLanesPerDot = 8, kDotsAtOnce = kWarpLanes / kLanesPerDot;
__device__ inline int tile_row() { return lane() % kLanesPerDot * kDotsAtOnce + lane() / kLanesPerDot; }

// fixed · rows[tile_row()]; 0 from `count` rows on.
template <class T>
__device__ inline T tile_dots(const T* fixed, const T* rows, int64_t row_size, int64_t count, int64_t width) {
  const int part = lane() % kLanesPerDot;
  T result = 0;
  for (int round = 0; round * kDotsAtOnce < count; ++round) {
    const int64_t row = round * kDotsAtOnce + lane() / kLanesPerDot;
    T sum = 0;
    if (row < count) {
      for (int64_t c = part; c < width; c += kLanesPerDot) sum += fixed[c] * rows[row * row_size + c];
    }
    for (int bits = kLanesPerDot / 2; bits > 0; bits /= 2) sum += __shfl_xor_sync(kAllLanes, sum, bits);
    if (part == round) result = sum;
  }
  return result;
}

// sums += Σ coefficient rows[tile_row()], over the tile's first `count` rows; sums start from zero in the first tile.
template <class T>
__device__ inline void tile_add(
    T coefficient, const T* rows, int64_t row_size, int64_t count, int64_t width, bool first, T* sums) {
  struct Coefficients {
    T of_lanes[kWarps][kWarpLanes];
  };
  T* own = static_shared<Coefficients>().of_lanes[warp()];
  own[tile_row()] = coefficient;
  __syncwarp();
  for (int64_t c = lane(); c < width; c += kWarpLanes) {
    T sum = first ? T(0) : sums[c];
    for (int64_t i = 0; i < count; ++i) sum += own[i] * rows[i * row_size + c];
    sums[c] = sum;
  }
  __syncwarp();
}

// 0 or 1 / (1 − rate): see apply_dropout in ../cpu/session_attention_kernel.cpp. `slot` is the query's; one Philox call
// serves four neighbouring keys.
template <class T>
__device__ inline T dropout_factor(
    const DeviceSessionAttentionBatch<T>& batch, int64_t slot, int64_t head, int64_t key) {
  if (batch.seed == nullptr) return 1;
  const PhiloxWords words = philox(*batch.seed, slot, key / 4, head, slot >> 32);
  const uint32_t low = key % 2 == 0 ? words.word[0] : words.word[1];
  const uint32_t high = key % 2 == 0 ? words.word[2] : words.word[3];
  return (key % 4 < 2 ? low : high) < batch.threshold ? T(0) : batch.kept_factor;
}

template <class T>
struct QuerySoftmax {
  T largest, inverse_sum;
  T logit;  // the lane's in the last tile

  __device__ T weight(T of_logit) const { return softmax_term(of_logit - largest) * inverse_sum; }
};

// Over the first `count` keys.
template <class T>
__device__ QuerySoftmax<T> query_softmax(
    const DeviceSessionAttentionBatch<T>& batch, const HeadRows<T>& rows, const T* query, int64_t count) {
  T largest = kBelowAll<T>, sum = 0, logit = 0;
  for (int64_t first = 0; first < count; first += kWarpLanes) {
    const int64_t tile = smaller<int64_t>(kWarpLanes, count - first);
    logit = batch.scale * tile_dots(query, rows.keys + first * rows.row, rows.row, tile, batch.width());
    if (tile_row() >= tile) continue;
    const T before = largest;
    largest = larger(before, logit);
    sum = sum * softmax_term(before - largest) + softmax_term(logit - largest);
  }
  const T of_all = warp_max(largest);
  return {of_all, T(1) / warp_sum(sum * softmax_term(largest - of_all)), logit};
}

// Calls visit(first key, keys, the lane's logit) for the tiles of a query's keys, with logits that query_softmax has
// just computed where there is one tile alone.
template <class T, class Visit>
__device__ inline void for_key_tiles(
    const DeviceSessionAttentionBatch<T>& batch, const HeadRows<T>& rows, const T* query, int64_t count,
    const QuerySoftmax<T>& softmax, const Visit& visit) {
  for (int64_t first = 0; first < count; first += kWarpLanes) {
    const int64_t tile = smaller<int64_t>(kWarpLanes, count - first);
    const T* keys = rows.keys + first * rows.row;
    const T logit =
        count <= kWarpLanes ? softmax.logit : batch.scale * tile_dots(query, keys, rows.row, tile, batch.width());
    visit(first, tile, logit);
  }
}

template <class T>
__global__ void attend(DeviceSessionAttentionBatch<T> batch, const T* qkv, T* attended) {
  const int64_t width = batch.width();
  for_warp_heads(batch, [&](const RowOfHead& at) {
    const HeadRows<T> rows(batch, qkv, at.begin, at.head);
    const T* query = rows.queries + at.index * rows.row;
    const int64_t count = batch.causal ? at.index + 1 : at.nodes;
    const QuerySoftmax<T> softmax = query_softmax(batch, rows, query, count);
    T* out = attended + at.slot() * batch.hidden + at.head * width;
    for_key_tiles(batch, rows, query, count, softmax, [&](int64_t first, int64_t tile, T logit) {
      const T factor = dropout_factor(batch, at.slot(), at.head, first + tile_row());
      tile_add(softmax.weight(logit) * factor, rows.values + first * rows.row, rows.row, tile, width, first == 0, out);
    });
  });
}

// Of a query and head: what the gradient of its logits needs. grad_logit = weight (grad_weight − mean).
template <class T>
struct QueryStatistics {
  T largest, inverse_sum, mean;
};

// Gradients of the queries, scaled as the logits are, and each one's statistics (slots, heads). With dropout factors f,
// out = Σ f w v: the gradient of w is f (grad · v), and its mean Σ w f (grad · v) is grad · out.
template <class T>
__global__ void queries_backward(
    DeviceSessionAttentionBatch<T> batch, const T* grad, const T* qkv, const T* attended,
    QueryStatistics<T>* statistics, T* grad_qkv) {
  const int64_t width = batch.width();
  for_warp_heads(batch, [&](const RowOfHead& at) {
    const HeadRows<T> rows(batch, qkv, at.begin, at.head);
    const T* query = rows.queries + at.index * rows.row;
    const int64_t count = batch.causal ? at.index + 1 : at.nodes, column = at.head * width;
    const T* own_grad = grad + at.slot() * batch.hidden + column;
    const QuerySoftmax<T> softmax = query_softmax(batch, rows, query, count);
    const T mean = warp_dot(own_grad, attended + at.slot() * batch.hidden + column, width);
    if (lane() == 0) statistics[at.slot() * batch.heads + at.head] = {softmax.largest, softmax.inverse_sum, mean};
    T* grad_query = grad_qkv + at.slot() * rows.row + column;
    for_key_tiles(batch, rows, query, count, softmax, [&](int64_t first, int64_t tile, T logit) {
      const T factor = dropout_factor(batch, at.slot(), at.head, first + tile_row());
      const T grad_weight = factor * tile_dots(own_grad, rows.values + first * rows.row, rows.row, tile, width);
      const T grad_logit = batch.scale * softmax.weight(logit) * (grad_weight - mean);
      tile_add(grad_logit, rows.keys + first * rows.row, rows.row, tile, width, first == 0, grad_query);
    });
  });
}

// Gradients of keys and values, from the queries that see them.
template <class T>
__global__ void keys_values_backward(
    DeviceSessionAttentionBatch<T> batch, const T* grad, const T* qkv, const QueryStatistics<T>* statistics,
    T* grad_qkv) {
  const int64_t width = batch.width(), hidden = batch.hidden;
  for_warp_heads(batch, [&](const RowOfHead& at) {
    const HeadRows<T> rows(batch, qkv, at.begin, at.head);
    const T *key = rows.keys + at.index * rows.row, *value = rows.values + at.index * rows.row;
    T* grad_key = grad_qkv + at.slot() * rows.row + hidden + at.head * width;
    const int64_t first_query = batch.causal ? at.index : 0;
    for (int64_t first = first_query; first < at.nodes; first += kWarpLanes) {
      const int64_t tile = smaller<int64_t>(kWarpLanes, at.nodes - first);
      const T *queries = rows.queries + first * rows.row, *grads = grad + (at.begin + first) * hidden + at.head * width;
      const T logit = batch.scale * tile_dots(key, queries, rows.row, tile, width);
      const T grad_dot = tile_dots(value, grads, hidden, tile, width);
      const int64_t slot = at.begin + first + smaller<int64_t>(tile_row(), tile - 1);
      const QueryStatistics<T> of_query = statistics[slot * batch.heads + at.head];
      const T weight = softmax_term(logit - of_query.largest) * of_query.inverse_sum;
      const T factor = dropout_factor(batch, slot, at.head, at.index);
      const T grad_logit = batch.scale * weight * (factor * grad_dot - of_query.mean);
      const bool is_first = first == first_query;
      tile_add(grad_logit, queries, rows.row, tile, width, is_first, grad_key);
      tile_add(weight * factor, grads, hidden, tile, width, is_first, grad_key + hidden);
    }
  });
}

}  // namespace
}  // namespace tagnn_fast::cuda
