// The best k items of each session. Blocks share the items out; each keeps a sorted list per session, into which a warp
// inserts what is better than its last. A block per session merges the lists.

#include <optional>
#include <tuple>

#include "target_attention.h"

namespace tagnn_fast {
namespace {

constexpr int kMostParts = kBlockThreads;  // a thread of the merge has one list

template <class T>
struct ScoredRow {
  T score;
  int64_t row;
};

// Best first: what is not a number, then higher scores, then smaller rows; no row comes last.
template <class T>
__device__ inline bool before(const ScoredRow<T>& a, const ScoredRow<T>& b) {
  if (a.row < 0 || b.row < 0) return b.row < 0 && a.row >= 0;
  const bool a_is_nan = a.score != a.score, b_is_nan = b.score != b.score;
  if (a_is_nan != b_is_nan) return a_is_nan;
  if (!a_is_nan && a.score != b.score) return a.score > b.score;
  return a.row < b.row;
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
struct Exclusion {
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
  const int last = static_cast<int>(smaller(int64_t{length}, lists.k - 1));
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

template <class Mode, class Item>
__global__ void __launch_bounds__(kBlockThreads) collect_best(
    AttentionPlan<typename Mode::Value> plan, const typename Mode::Stored* rows, int width, ItemTable<Item> table,
    int64_t part_size, Exclusion exclusion, BestLists<typename Mode::Value> lists) {
  using T = typename Mode::Value;
  const int chunk = static_cast<int>(blockIdx.x);
  if (chunk >= *plan.chunks || plan.group_chunks[chunk] == 0) return;
  TileWork<Mode, Item> work(plan, rows, width, table);
  const int64_t begin = blockIdx.y * part_size, end = smaller(begin + part_size, table.count);
  for_scores(
      work, chunk, plan.group_chunks[chunk], begin, end,
      [&](int, int64_t session, int64_t first, const T(&scores)[kLaneItems]) {
        const int64_t list = lists.number(blockIdx.y, session);
        for (int i = 0; i < kLaneItems; ++i) {
          const int64_t row = first + lane() + i * kWarpLanes < end ? table.row(first + lane() + i * kWarpLanes) : -1;
          const bool full = lists.lengths[list] == lists.k;
          const bool wanted = row >= 0 && !(full && scores[i] <= lists.scores[list * lists.k + lists.k - 1]);
          for (unsigned left = __ballot_sync(kAllLanes, wanted); left != 0; left &= left - 1) {
            const int from = __ffs(static_cast<int>(left)) - 1;
            const ScoredRow<T> added{__shfl_sync(kAllLanes, scores[i], from), __shfl_sync(kAllLanes, row, from)};
            if (!exclusion.has(session, added.row)) insert(lists, list, added);
          }
        }
      });
}

// The best of all threads' rows, and whose it is: by a whole block.
template <class T>
__device__ inline int find_best(const ScoredRow<T>& own, ScoredRow<T>& best) {
  __shared__ ScoredRow<T> of_warp[kBlockThreads / kWarpLanes];
  __shared__ int owners[kBlockThreads / kWarpLanes];
  best = own;
  int owner = static_cast<int>(threadIdx.x);
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

// In rising order; duplicates and rows outside the table are left out by ItemTable.
Tensor sorted_candidates(const Tensor& candidates_in) {
  check_tensor(candidates_in, "candidates", ScalarType::Long, {kAnySize});
  std::array<StableIValue, 3> stack{
      torch::stable::detail::from(candidates_in), torch::stable::detail::from(int64_t{0}),
      torch::stable::detail::from(false)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "", stack.data(), TORCH_ABI_VERSION));
  const Tensor order = torch::stable::detail::to<Tensor>(stack[1]);  // taken over, to be freed
  return torch::stable::detail::to<Tensor>(stack[0]);
}

struct ExclusionTensors {
  Tensor rows, offsets;

  ExclusionTensors(int64_t sessions, const std::optional<Tensor>& excluded, const std::optional<Tensor>& offsets_in) {
    if (!excluded.has_value() && !offsets_in.has_value()) return;
    check_value(excluded.has_value() && offsets_in.has_value(), "excluded", "excluded_offsets with it", "one of them");
    check_tensor(*excluded, "excluded", ScalarType::Long, {kAnySize});
    check_tensor(*offsets_in, "excluded_offsets", ScalarType::Long, {sessions + 1});
    rows = as_contiguous(*excluded);
    offsets = as_contiguous(*offsets_in);
  }

  Exclusion on_device() const {
    if (!rows.defined()) return {nullptr, nullptr, 0};
    return {data<int64_t>(rows), data<int64_t>(offsets), rows.size(0)};
  }
};

std::tuple<Tensor, Tensor> target_attention_topk(
    const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks, const Tensor& padding,
    const Tensor& slot_offsets, const Tensor& table_in, int64_t k, const std::optional<Tensor>& candidates_in,
    const std::optional<Tensor>& excluded, const std::optional<Tensor>& excluded_offsets, int64_t precision) {
  const OnDevice device(session);
  const AttentionInputs inputs(session, keys, values, clicks, padding, slot_offsets, table_in, true);
  check_value(k >= 0, "k", "0 or more", k);
  const ExclusionTensors exclusion(inputs.sessions, excluded, excluded_offsets);
  Tensor candidates;
  if (candidates_in.has_value()) candidates = sorted_candidates(*candidates_in);
  const int64_t count = candidates_in.has_value() ? candidates.size(0) : inputs.items;

  Tensor best = torch::stable::new_empty(inputs.session, {inputs.sessions, k});
  Tensor best_rows = torch::stable::new_empty(inputs.slot_offsets, {inputs.sessions, k});
  with_mode(session.scalar_type(), precision, [&](auto mode) {
    using Mode = decltype(mode);
    using T = typename Mode::Value;
    AttentionRows<T, Mode> rows(inputs);
    const ItemParts parts(count, rows.most_chunks(), kMostParts);
    Tensor scores = torch::stable::new_empty(inputs.session, {parts.parts * inputs.sessions * k});
    Tensor list_rows = torch::stable::new_empty(inputs.slot_offsets, {parts.parts * inputs.sessions * k});
    Tensor lengths = torch::stable::new_zeros(inputs.session, {parts.parts * inputs.sessions}, ScalarType::Int);
    const BestLists<T> lists{
        mutable_data<T>(scores), mutable_data<int64_t>(list_rows), mutable_data<int32_t>(lengths), inputs.sessions, k};
    const auto run = [&](auto item) {
      using Item = decltype(item);
      const ItemTable<Item> table{
          data<Item>(inputs.table), candidates_in.has_value() ? data<int64_t>(candidates) : nullptr, inputs.items,
          count, static_cast<int>(inputs.hidden)};
      launch(
          collect_best<Mode, Item>, dim3(static_cast<unsigned>(rows.most_chunks()), static_cast<unsigned>(parts.parts)),
          kBlockThreads, TileWork<Mode, Item>::kBytes, rows.plan(), rows.rows(), rows.width(), table, parts.size,
          exclusion.on_device(), lists);
    };
    if (k == 0) return;
    inputs.bfloat16_table ? run(uint16_t()) : run(T());
    launch(
        merge_lists<T>, static_cast<unsigned>(inputs.sessions), kBlockThreads, 0, lists, parts.parts,
        mutable_data<T>(best), mutable_data<int64_t>(best_rows));
  });
  return {best, best_rows};
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_CUDA_LIBRARY(library) {
  library.impl("target_attention_topk", TORCH_BOX(&tagnn_fast::target_attention_topk));
}
