// The best k items of each session. Blocks share the items out; each keeps a sorted list per session, into which a warp
// inserts what is better than its last. A block per session merges the lists.

#include <array>

#include "target_tiles.h"

namespace tagnn_fast::cuda {
namespace {

constexpr int kMostParts = kBlockThreads;  // a thread of the merge has one list

// No row comes last.
template <class T>
__device__ inline bool before(const ScoredRow<T>& a, const ScoredRow<T>& b) {
  if (a.row < 0 || b.row < 0) return b.row < 0 && a.row >= 0;
  return is_better(a, b);
}

// Lists of (parts, sessions, k), best first, and how long they are.
template <class T>
struct BestLists {
  T* scores;
  int64_t* rows;
  int32_t* lengths;
  int64_t sessions, k;

  __device__ int64_t number(int64_t part, int64_t session) const { return part * sessions + session; }
  __device__ ScoredRow<T> at(int64_t list, int64_t place) const {
    return {scores[list * k + place], rows[list * k + place]};
  }
};

// Rows that a session must not get; null for none.
struct DeviceExcludedRows {
  const int64_t *rows, *offsets;
  int64_t count;

  // By a whole warp.
  __device__ bool has(int64_t session, int64_t row) const {
    if (rows == nullptr) return false;
    const Range range = find_range(offsets, session, count);
    bool found = false;
    for (int64_t i = range.begin + lane(); i < range.end; i += kWarpLanes) found |= rows[i] == row;
    return __ballot_sync(kAllLanes, found) != 0;
  }
};

// Puts one row into a sorted list, by a whole warp; the last of a full list falls out.
template <class T>
__device__ inline void insert(const BestLists<T>& lists, int64_t list, const ScoredRow<T>& added) {
  const int length = lists.lengths[list];
  int place = 0;  // how many are before it
  for (int i = lane(); i < length; i += kWarpLanes) place += before(lists.at(list, i), added) ? 1 : 0;
  place = warp_sum(place);
  if (place >= lists.k) return;
  const int last = smaller(int64_t{length}, lists.k - 1);
  T* scores = lists.scores + list * lists.k;
  int64_t* rows = lists.rows + list * lists.k;
  // From the end, a warp's width at a time: what is read has not been written.
  for (int end = last; end > place; end -= kWarpLanes) {
    const int to = end - lane();
    const bool moves = to > place;
    const ScoredRow<T> moved = lists.at(list, moves ? to - 1 : 0);
    __syncwarp();
    if (moves) {
      scores[to] = moved.score;
      rows[to] = moved.row;
    }
    __syncwarp();
  }
  if (lane() == 0) {
    scores[place] = added.score;
    rows[place] = added.row;
    lists.lengths[list] = last + 1;
  }
  __syncwarp();
}

template <class Mode>
__global__ void __launch_bounds__(kBlockThreads, kBlocksAtOnce<Mode>) collect_best(
    TargetPlan<typename Mode::Value> plan, const typename Mode::Stored* rows, int width, TargetItems<Mode> items,
    int64_t part_size, DeviceExcludedRows excluded, BestLists<typename Mode::Value> lists) {
  using T = typename Mode::Value;
  const int chunk = blockIdx.x;
  if (chunk >= *plan.chunks || plan.group_chunks[chunk] == 0) return;
  DeviceTileWork<Mode, Walk::kItems> work(plan, rows, width, items);
  const int64_t begin = blockIdx.y * part_size, end = smaller(begin + part_size, items.count);
  for_scores(
      work, chunk, plan.group_chunks[chunk], begin, end,
      [&](int, int64_t session, int64_t first, const T(&scores)[kLaneItems]) {
        const int64_t list = lists.number(blockIdx.y, session);
        for (int i = 0; i < kLaneItems; ++i) {
          const int64_t item = first + lane() * kLaneItems + i;
          const ScoredRow<T> own{scores[i], item < end ? items.row(item) : -1};
          const bool full = lists.lengths[list] == lists.k;
          const bool wanted = own.row >= 0 && !(full && !before(own, lists.at(list, lists.k - 1)));
          for (unsigned left = __ballot_sync(kAllLanes, wanted); left != 0; left &= left - 1) {
            const int from = __ffs(left) - 1;
            const ScoredRow<T> added{__shfl_sync(kAllLanes, own.score, from), __shfl_sync(kAllLanes, own.row, from)};
            if (!excluded.has(session, added.row)) insert(lists, list, added);
          }
        }
      });
}

// The best of all threads' rows, and whose it is: by a whole block.
template <class T>
__device__ inline int find_best(const ScoredRow<T>& own, ScoredRow<T>& best) {
  struct Best {
    ScoredRow<T> of_warp[kBlockThreads / kWarpLanes];
    int owners[kBlockThreads / kWarpLanes];
  };
  auto& memory = static_shared<Best>();
  ScoredRow<T>* of_warp = memory.of_warp;
  int* owners = memory.owners;
  best = own;
  int owner = threadIdx.x;
  for (int bits = kWarpLanes / 2; bits > 0; bits /= 2) {
    const ScoredRow<T> other{__shfl_xor_sync(kAllLanes, best.score, bits), __shfl_xor_sync(kAllLanes, best.row, bits)};
    const int other_owner = __shfl_xor_sync(kAllLanes, owner, bits);
    if (!before(other, best)) continue;
    best = other;
    owner = other_owner;
  }
  if (lane() == 0) {
    of_warp[warp()] = best;
    owners[warp()] = owner;
  }
  __syncthreads();
  for (int w = 0; w < warps(); ++w) {
    if (w > 0 && !before(of_warp[w], best)) continue;
    best = of_warp[w];
    owner = owners[w];
  }
  __syncthreads();
  return owner;
}

template <class T>
__global__ void merge_lists(BestLists<T> lists, int64_t parts, T* best_scores, int64_t* best_rows) {
  const int64_t session = blockIdx.x, part = threadIdx.x;
  const int64_t list = lists.number(part < parts ? part : 0, session);
  const int64_t length = part < parts ? lists.lengths[list] : 0;
  int64_t next = 0;
  for (int64_t i = 0; i < lists.k; ++i) {
    const ScoredRow<T> own = next < length ? lists.at(list, next) : ScoredRow<T>{kBelowAll<T>, -1};
    ScoredRow<T> best;
    const int owner = find_best(own, best);
    if (owner == static_cast<int>(threadIdx.x) && best.row >= 0) ++next;
    if (threadIdx.x != 0) continue;
    best_scores[session * lists.k + i] = best.row >= 0 ? best.score : kBelowAll<T>;
    best_rows[session * lists.k + i] = best.row;
  }
}

// In rising order; duplicates and rows outside the table are left out by TargetItems.
Tensor sorted_candidates(const Tensor& candidates) {
  std::array<StableIValue, 3> stack{
      torch::stable::detail::from(candidates), torch::stable::detail::from(int64_t{0}),
      torch::stable::detail::from(false)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "", stack.data(), TORCH_ABI_VERSION));
  const Tensor order = torch::stable::detail::to<Tensor>(stack[1]);  // taken over, to be freed
  return torch::stable::detail::to<Tensor>(stack[0]);
}

DeviceExcludedRows excluded_rows(const TopkChoice& choice) {
  if (!choice.excluded) return {nullptr, nullptr, 0};
  return {data<int64_t>(*choice.excluded), data<int64_t>(*choice.excluded_offsets), choice.excluded->size(0)};
}

struct CudaTargetAttentionTopk : CudaOp {
  template <class T>
  static void topk(const TargetAttentionInputs& inputs, const TopkChoice& choice, TopkOutputs& best) {
    const int64_t k = choice.k, sessions = inputs.sessions;
    std::optional<Tensor> candidates;
    if (choice.candidates) candidates = sorted_candidates(*choice.candidates);
    with_mode<T>(inputs.precision, [&](auto mode) {
      using Mode = decltype(mode);
      DeviceTargetRows<T, Mode> rows(inputs);
      const DeviceTargetItems<T, Mode> items(inputs, rows.width(), candidates);
      const ItemParts parts(items.items().count, rows.most_chunks(), kMostParts);
      Tensor scores = make_empty(inputs.session, {parts.parts * sessions * k});
      Tensor list_rows = make_empty(inputs.slot_offsets, {parts.parts * sessions * k});
      Tensor lengths = make_zeros(inputs.session, {parts.parts * sessions}, ScalarType::Int);
      const BestLists<T> lists{
          mutable_data<T>(scores), mutable_data<int64_t>(list_rows), mutable_data<int32_t>(lengths), sessions, k};
      if (k == 0) return;
      launch_on_tiles<Mode>(
          collect_best<Mode>, chunk_grid(rows.most_chunks(), parts), rows, items.items(), parts.size,
          excluded_rows(choice), lists);
      launch(
          merge_lists<T>, sessions, kBlockThreads, 0, lists, parts.parts, mutable_data<T>(best.scores),
          mutable_data<int64_t>(best.rows));
    });
  }
};

}  // namespace
}  // namespace tagnn_fast::cuda

TAGNN_FAST_CUDA_LIBRARY(library) {
  tagnn_fast::register_target_attention_topk<tagnn_fast::cuda::CudaTargetAttentionTopk>(library);
}
