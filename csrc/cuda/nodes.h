// What the kernels on nodes share: each block takes some nodes of one session. Tensors have a row for every slot;
// kernels write the rows of nodes alone, so that the others stay as they were made: zero.
#pragma once

#include "device.h"

namespace tagnn_fast {

// slot_offsets and num_nodes, checked, and kept alive while `table` points at them.
struct Sessions {
  Tensor slot_offsets, num_nodes;
  SessionTable table;

  // Blocks (session, part): small batches, whose sessions may be long, are spread over the GPU in parts.
  dim3 grid() const {
    constexpr int64_t kEnoughBlocks = 1024, kMostParts = 32;
    const int64_t parts = (kEnoughBlocks + table.sessions - 1) / larger(table.sessions, int64_t{1});
    return {
        static_cast<unsigned>(table.sessions), static_cast<unsigned>(larger(smaller(parts, kMostParts), int64_t{1}))};
  }
};

inline Sessions check_sessions(const Tensor& slot_offsets_in, const Tensor& num_nodes_in, int64_t slots) {
  check_tensor(num_nodes_in, "num_nodes", ScalarType::Long, {kAnySize});
  const int64_t sessions = num_nodes_in.size(0);
  check_tensor(slot_offsets_in, "slot_offsets", ScalarType::Long, {sessions + 1});
  const Tensor slot_offsets = as_contiguous(slot_offsets_in), num_nodes = as_contiguous(num_nodes_in);
  return {slot_offsets, num_nodes, {data<int64_t>(slot_offsets), data<int64_t>(num_nodes), sessions, slots}};
}

// Threads of a block that works along a row.
inline int threads_for(int64_t columns) {
  constexpr int64_t kMostThreads = 256;
  const int64_t whole_warps = (columns + kWarpLanes - 1) / kWarpLanes * kWarpLanes;
  return static_cast<int>(larger(smaller(whole_warps, kMostThreads), int64_t{kWarpLanes}));
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

// rows (slots, columns) of nodes, zeros everywhere else, whatever the input holds there.
template <class T>
Tensor node_rows(const Sessions& sessions, const Tensor& from) {
  const int64_t columns = from.size(1);
  Tensor rows = torch::stable::new_zeros(from, {from.size(0), columns});
  launch(
      copy_node_rows<T>, sessions.grid(), threads_for(columns), 0, sessions.table, columns, data<T>(from),
      mutable_data<T>(rows));
  return rows;
}

}  // namespace tagnn_fast
