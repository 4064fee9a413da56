// Cuts a batch of training examples out of whole sessions in three steps: a thread per example finds its prefix, one
// block adds up lengths, a warp per example copies. The host is never asked: it gives the size.

#include <optional>
#include <tuple>

#include "../prefixes.h"
#include "device.h"

namespace tagnn_fast {
namespace {

constexpr int kThreads = 256;
constexpr int kScanThreads = 512;

// Of each example: the first click and the length of its prefix.
struct Prefixes {
  int64_t *begin, *length;
  int64_t count;
};

__global__ void find_prefixes(const int64_t* examples, WholeSessions whole, Prefixes out, int64_t* targets) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= out.count) return;
  const Prefix prefix = find_prefix(examples[i], whole);
  out.begin[i] = prefix.begin;
  out.length[i] = prefix.length;
  targets[i] = prefix.length > 0 ? whole.clicks[prefix.begin + prefix.length] : 0;
}

// Sum of this and all lower lanes' values.
__device__ inline int64_t warp_scan(int64_t value) {
  for (int distance = 1; distance < kWarpLanes; distance *= 2) {
    const int64_t lower = __shfl_up_sync(kAllLanes, value, distance);
    if (lane() >= distance) value += lower;
  }
  return value;
}

// Offsets of the batch, none above `capacity`. One block goes over all examples.
__global__ void add_lengths(Prefixes prefixes, int64_t capacity, int64_t* batch_offsets) {
  __shared__ int64_t warp_totals[kScanThreads / kWarpLanes];
  if (threadIdx.x == 0) batch_offsets[0] = 0;
  int64_t before = 0;
  for (int64_t first = 0; first < prefixes.count; first += kScanThreads) {
    const int64_t i = first + threadIdx.x;
    int64_t sum = warp_scan(i < prefixes.count ? prefixes.length[i] : 0);
    if (lane() == kWarpLanes - 1) warp_totals[warp()] = sum;
    __syncthreads();
    int64_t total = 0;
    for (int w = 0; w < warps(); ++w) {
      if (w < warp()) sum += warp_totals[w];
      total += warp_totals[w];
    }
    if (i < prefixes.count) batch_offsets[i + 1] = smaller(before + sum, capacity);
    before += total;
    __syncthreads();
  }
}

__global__ void copy_clicks(const int32_t* clicks, Prefixes prefixes, const int64_t* batch_offsets, int64_t* items) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarpLanes) + warp();
  if (i >= prefixes.count) return;
  const int64_t first = batch_offsets[i], length = batch_offsets[i + 1] - first;
  for (int64_t j = lane(); j < length; j += kWarpLanes) items[first + j] = clicks[prefixes.begin[i] + j];
}

std::tuple<Tensor, Tensor, Tensor> prefix_batch(
    const Tensor& clicks, const Tensor& offsets, const Tensor& first_example, const Tensor& examples,
    std::optional<int64_t> capacity) {
  const OnDevice device(clicks);
  check_prefix_batch(clicks, offsets, first_example, examples, capacity);
  const int64_t sessions = offsets.size(0) - 1;
#if !defined(TAGNN_FAST_EMULATED)
  check_value(
      capacity.has_value(), "capacity", "a number of clicks on a GPU, where a size may not depend on values", "None");
#endif
  const Tensor clicks_in = as_contiguous(clicks), offsets_in = as_contiguous(offsets);
  const Tensor first_in = as_contiguous(first_example), examples_in = as_contiguous(examples);
  const int64_t count = examples.size(0);

  Tensor batch_offsets = torch::stable::new_empty(examples_in, {count + 1});
  Tensor targets = torch::stable::new_empty(examples_in, {count});
  Tensor scratch = torch::stable::new_empty(examples_in, {2, count});
  int64_t* bounds = mutable_data<int64_t>(batch_offsets);
  const WholeSessions whole{
      data<int32_t>(clicks_in), data<int64_t>(offsets_in), data<int64_t>(first_in), sessions, clicks.size(0)};
  const Prefixes prefixes{mutable_data<int64_t>(scratch), mutable_data<int64_t>(scratch) + count, count};
  launch(
      find_prefixes, blocks_for(count, kThreads), kThreads, 0, data<int64_t>(examples_in), whole, prefixes,
      mutable_data<int64_t>(targets));
  launch(add_lengths, 1, kScanThreads, 0, prefixes, capacity.value_or(std::numeric_limits<int64_t>::max()), bounds);
#if defined(TAGNN_FAST_EMULATED)
  const int64_t size = capacity.value_or(bounds[count]);  // in place of the CPU's kernel, which needs no capacity
#else
  const int64_t size = *capacity;
#endif
  Tensor items = torch::stable::new_zeros(examples_in, {size});
  launch(
      copy_clicks, blocks_for(count, kThreads / kWarpLanes), kThreads, 0, whole.clicks, prefixes, bounds,
      mutable_data<int64_t>(items));
  return {items, batch_offsets, targets};
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_CUDA_LIBRARY(library) { library.impl("prefix_batch", TORCH_BOX(&tagnn_fast::prefix_batch)); }
