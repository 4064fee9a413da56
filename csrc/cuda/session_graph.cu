// Builds each session's graph with one warp, its lanes sharing out clicks. Ranks are counted instead of sorted:
// O(clicks squared) comparisons in a session, which at a handful of clicks is less than any sort, and right at any
// number.

#include "../session_graph.h"

#include "device.h"

namespace tagnn_fast::cuda {
namespace {

constexpr int kSessionsPerBlock = 4;

struct DeviceGraphArrays : SessionGraphArrays {
  int64_t *destinations, *edges;  // of a click's transition to the next: its end, whether it is the first of its kind
};

struct Edge {
  int64_t source, destination;
};

__device__ inline bool before(int64_t major, int64_t minor, int64_t other_major, int64_t other_minor) {
  return major < other_major || (major == other_major && minor < other_minor);
}

// Each real click's node: number of the distinct items before its own, by first click or by item.
__device__ void number_nodes(
    const int64_t* items, int64_t begin, int64_t end, bool by_item, int64_t first_slot, const DeviceGraphArrays& out) {
  for (int64_t t = begin + lane(); t < end; t += kWarpLanes) {
    int64_t first = begin;
    while (items[first] != items[t]) ++first;
    out.click_nodes[t] = items[t] == 0 ? kNoSlot : first;
  }
  __syncwarp();
  int64_t* slot_of_first = out.destinations;
  for (int64_t t = begin + lane(); t < end; t += kWarpLanes) {
    if (out.click_nodes[t] != t) continue;
    int64_t rank = 0;
    for (int64_t u = begin; u < end; ++u) {
      rank += out.click_nodes[u] == u && (by_item ? items[u] < items[t] : u < t);
    }
    slot_of_first[t] = first_slot + rank;
    out.node_items[first_slot + rank] = items[t];
  }
  __syncwarp();
  for (int64_t t = begin + lane(); t < end; t += kWarpLanes) {
    if (out.click_nodes[t] >= 0) out.click_nodes[t] = slot_of_first[out.click_nodes[t]];
  }
  __syncwarp();
}

// The transitions from each click to the next real one, repeated ones marked.
__device__ void find_edges(int64_t begin, int64_t end, const DeviceGraphArrays& out) {
  for (int64_t t = begin + lane(); t < end; t += kWarpLanes) {
    int64_t next = t + 1;
    while (next < end && out.click_nodes[next] < 0) ++next;
    out.destinations[t] = out.click_nodes[t] >= 0 && next < end ? out.click_nodes[next] : kNoSlot;
  }
  __syncwarp();
  for (int64_t t = begin + lane(); t < end; t += kWarpLanes) {
    bool is_first = out.destinations[t] >= 0;
    for (int64_t u = begin; is_first && u < t; ++u) {
      is_first = out.click_nodes[u] != out.click_nodes[t] || out.destinations[u] != out.destinations[t];
    }
    out.edges[t] = is_first;
  }
  __syncwarp();
}

__device__ void write_lists(
    int64_t begin, int64_t end, int64_t first_slot, int64_t end_slot, const DeviceGraphArrays& out) {
  for (int64_t t = begin + lane(); t < end; t += kWarpLanes) {
    if (!out.edges[t]) continue;
    const Edge edge{out.click_nodes[t], out.destinations[t]};
    int64_t in_place = begin, out_place = begin;
    for (int64_t u = begin; u < end; ++u) {
      if (!out.edges[u]) continue;
      const Edge other{out.click_nodes[u], out.destinations[u]};
      in_place += before(other.destination, other.source, edge.destination, edge.source);
      out_place += before(other.source, other.destination, edge.source, edge.destination);
    }
    out.in_neighbours[in_place] = edge.source;
    out.out_neighbours[out_place] = edge.destination;
  }
  for (int64_t slot = first_slot + lane(); slot < end_slot; slot += kWarpLanes) {
    int64_t clicks = 0, in_start = begin, in_count = 0, out_start = begin, out_count = 0;
    for (int64_t u = begin; u < end; ++u) {
      clicks += out.click_nodes[u] == slot;
      if (!out.edges[u]) continue;
      in_start += out.destinations[u] < slot;
      in_count += out.destinations[u] == slot;
      out_start += out.click_nodes[u] < slot;
      out_count += out.click_nodes[u] == slot;
    }
    out.clicks[slot] = clicks;
    out.in_start[slot] = in_start;
    out.in_count[slot] = in_count;
    out.out_start[slot] = out_start;
    out.out_count[slot] = out_count;
  }
}

// padded_length is negative for "clean".
__global__ void build_graphs(
    const int64_t* items, const int64_t* offsets, int64_t sessions, int64_t clicks, int64_t padded_length,
    DeviceGraphArrays out) {
  const int64_t session = static_cast<int64_t>(blockIdx.x) * kSessionsPerBlock + warp();
  if (session >= sessions) return;
  const bool published = padded_length >= 0;
  const auto [begin, end] = find_range(offsets, session, clicks);
  const int64_t base = begin + (published ? session : 0);

  int64_t real = 0, last = -1;
  for (int64_t t = begin + lane(); t < end; t += kWarpLanes) {
    if (items[t] == 0) continue;
    ++real;
    last = t;
  }
  real = warp_sum(real);
  last = warp_max(last);
  const int64_t padding = published && real > 0 ? larger(int64_t{0}, padded_length - real) : 0;
  const int64_t first_slot = base + (padding > 0 ? 1 : 0);  // the padding node comes first

  number_nodes(items, begin, end, published, first_slot, out);
  int64_t end_slot = first_slot;
  for (int64_t t = begin + lane(); t < end; t += kWarpLanes) end_slot = larger(end_slot, out.click_nodes[t] + 1);
  end_slot = warp_max(end_slot);
  find_edges(begin, end, out);
  write_lists(begin, end, base, end_slot, out);
  if (lane() != 0) return;
  out.slot_offsets[session] = base;
  if (session == sessions - 1) out.slot_offsets[sessions] = end + (published ? sessions : 0);
  out.num_nodes[session] = real > 0 ? end_slot - base : 0;
  out.last_node[session] = last >= 0 ? out.click_nodes[last] : kNoSlot;
  out.padding[session] = padding;
}

// The one offset of a batch without sessions, made to lie inside.
__global__ void clamp_offset(const int64_t* offsets, int64_t clicks, int64_t* slot_offsets) {
  const int64_t offset = rising_offset(offsets, 0, clicks);
  if (lane() == 0) slot_offsets[0] = offset;
}

struct CudaSessionGraph : CudaOp {
  static void compute(const SessionGraphInputs& inputs, const SessionGraphArrays& arrays) {
    Tensor scratch = make_empty(inputs.items, {2, inputs.clicks});
    int64_t* spare = mutable_data<int64_t>(scratch);
    const DeviceGraphArrays out{arrays, spare, spare + inputs.clicks};
    const int64_t *items = data<int64_t>(inputs.items), *offsets = data<int64_t>(inputs.offsets);
    if (inputs.sessions == 0) launch(clamp_offset, 1, kWarpLanes, 0, offsets, inputs.clicks, out.slot_offsets);
    launch(
        build_graphs, blocks_for(inputs.sessions, kSessionsPerBlock), kSessionsPerBlock * kWarpLanes, 0, items, offsets,
        inputs.sessions, inputs.clicks, inputs.padded_length.value_or(-1), out);
  }
};

}  // namespace
}  // namespace tagnn_fast::cuda

TAGNN_FAST_CUDA_LIBRARY(library) {
  library.impl("session_graph", TORCH_BOX(&tagnn_fast::session_graph<tagnn_fast::cuda::CudaSessionGraph>));
}
