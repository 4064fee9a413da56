// What the kernels on nodes share: each block takes some nodes of one session. Tensors have a row for every slot;
// kernels write the rows of nodes alone, so that the others stay as they were made: zero.
#pragma once

#include "../session_graph.h"
#include "device.h"

namespace tagnn_fast::cuda {

inline SessionTable session_table(const GraphSlots& graph) {
  return {data<int64_t>(graph.slot_offsets), data<int64_t>(graph.num_nodes), graph.sessions, graph.slots};
}

// Blocks (session, part): small batches, whose sessions may be long, are spread over the GPU in parts.
inline dim3 node_grid(const SessionTable& table) {
  constexpr int64_t kEnoughBlocks = 1024, kMostParts = 32;
  const int64_t parts = (kEnoughBlocks + table.sessions - 1) / larger(table.sessions, int64_t{1});
  return {static_cast<unsigned>(table.sessions), static_cast<unsigned>(larger(smaller(parts, kMostParts), int64_t{1}))};
}

// Threads of a block that works along a row.
inline int threads_for(int64_t columns) {
  constexpr int64_t kMostThreads = 256;
  const int64_t whole_warps = (columns + kWarpLanes - 1) / kWarpLanes * kWarpLanes;
  return larger(smaller(whole_warps, kMostThreads), int64_t{kWarpLanes});
}

// Calls visit(session, slot) for the nodes of this block's part of its session, by the whole block for each.
template <class Visit>
__device__ inline void for_block_nodes(const SessionTable& table, const Visit& visit) {
  const DeviceSession session = find_session(table, blockIdx.x);
  for (int64_t slot = session.begin + blockIdx.y; slot < session.nodes_end; slot += gridDim.y) visit(session, slot);
}

// The same by a warp for each.
template <class Visit>
__device__ inline void for_warp_nodes(const SessionTable& table, const Visit& visit) {
  const DeviceSession session = find_session(table, blockIdx.x);
  const int64_t first = static_cast<int64_t>(blockIdx.y) * warps() + warp();
  const int64_t step = static_cast<int64_t>(gridDim.y) * warps();
  for (int64_t slot = session.begin + first; slot < session.nodes_end; slot += step) visit(session, slot);
}

template <class T>
__global__ void copy_node_rows(SessionTable table, int64_t columns, const T* from, T* to) {
  for_block_nodes(table, [&](const DeviceSession&, int64_t slot) {
    for (int64_t c = threadIdx.x; c < columns; c += blockDim.x) to[slot * columns + c] = from[slot * columns + c];
  });
}

template <class T>
__global__ void add_node_rows(SessionTable table, int64_t columns, const T* terms, T* sums) {
  for_block_nodes(table, [&](const DeviceSession&, int64_t slot) {
    for (int64_t c = threadIdx.x; c < columns; c += blockDim.x) sums[slot * columns + c] += terms[slot * columns + c];
  });
}

// Rows of nodes, into rows that are zero.
template <class T>
void copy_nodes(const SessionTable& table, const Tensor& from, Tensor& to) {
  const int64_t columns = from.size(1);
  launch(
      copy_node_rows<T>, node_grid(table), threads_for(columns), 0, table, columns, data<T>(from), mutable_data<T>(to));
}

// rows (slots, columns) of nodes, zeros everywhere else, whatever the input holds there.
template <class T>
Tensor node_rows(const SessionTable& table, const Tensor& from) {
  Tensor rows = make_zeros(from, {from.size(0), from.size(1)});
  copy_nodes<T>(table, from, rows);
  return rows;
}

}  // namespace tagnn_fast::cuda
