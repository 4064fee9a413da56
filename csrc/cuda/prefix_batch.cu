// Cuts a batch of training examples out of whole sessions in three steps: a thread per example finds its prefix, one
// block adds up lengths, a warp per example copies. The host is never asked: it gives the size.

#include "../prefix_batch.h"

#include "device.h"

namespace tagnn_fast::cuda {
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
  struct Totals {
    int64_t of_warps[kScanThreads / kWarpLanes];
  };
  auto& warp_totals = static_shared<Totals>().of_warps;
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

struct CudaPrefixBatch : CudaOp {
  static void compute(const PrefixBatchInputs& inputs, PrefixBatchOutputs& outputs) {
    const WholeSessions whole(inputs);
    const int64_t count = inputs.count;
    Tensor scratch = make_empty(inputs.examples, {2, count});
    int64_t* bounds = mutable_data<int64_t>(outputs.batch_offsets);
    const Prefixes prefixes{mutable_data<int64_t>(scratch), mutable_data<int64_t>(scratch) + count, count};
    launch(
        find_prefixes, blocks_for(count, kThreads), kThreads, 0, data<int64_t>(inputs.examples), whole, prefixes,
        mutable_data<int64_t>(outputs.targets));
    launch(add_lengths, 1, kScanThreads, 0, prefixes, inputs.most_clicks(), bounds);
#if defined(TAGNN_FAST_EMULATED)
    outputs.allocate_items(kBackend, inputs, bounds[count]);  // as the CPU's kernel, which needs no capacity
#else
    outputs.allocate_items(kBackend, inputs, *inputs.capacity);
#endif
    launch(
        copy_clicks, blocks_for(count, kThreads / kWarpLanes), kThreads, 0, whole.clicks, prefixes, bounds,
        mutable_data<int64_t>(outputs.items));
  }
};

}  // namespace
}  // namespace tagnn_fast::cuda

TAGNN_FAST_CUDA_LIBRARY(library) {
  library.impl("prefix_batch", TORCH_BOX(&tagnn_fast::prefix_batch<tagnn_fast::cuda::CudaPrefixBatch>));
}
