// Scores and cross-entropy over the whole catalogue, and their gradients. A block walks a chunk of rows over a part of
// the items, or, for gradients of items, a tile of items over all chunks; sums over parts are added up in order.

#include "target_attention.h"

#include <tuple>

namespace tagnn_fast {
namespace {

template <class Mode, class Item>
__global__ void __launch_bounds__(kBlockThreads) write_scores(
    AttentionPlan<typename Mode::Value> plan, const typename Mode::Stored* rows, int width, ItemTable<Item> table,
    int64_t part_size, typename Mode::Value* scores) {
  using T = typename Mode::Value;
  const int chunk = static_cast<int>(blockIdx.x);
  if (chunk >= *plan.chunks || plan.group_chunks[chunk] == 0) return;
  TileWork<Mode, Item> work(plan, rows, width, table);
  const int64_t begin = blockIdx.y * part_size, end = smaller(begin + part_size, table.count);
  for_scores(
      work, chunk, plan.group_chunks[chunk], begin, end,
      [&](int, int64_t session, int64_t first, const T(&values)[kLaneItems]) {
        for (int i = 0; i < kLaneItems; ++i) {
          const int64_t item = first + lane() + i * kWarpLanes;
          if (item < end) scores[session * table.count + item] = values[i];
        }
      });
}

// Of each session, over a part of the items: the largest score, and the sum of exp(score - largest).
template <class Mode>
__global__ void __launch_bounds__(kBlockThreads) sum_exponentials(
    AttentionPlan<typename Mode::Value> plan, const typename Mode::Stored* rows, int width,
    ItemTable<typename Mode::Value> table, int64_t part_size, int64_t sessions, const int64_t* targets,
    typename Mode::Value* target_scores, typename Mode::Value* partial) {
  using T = typename Mode::Value;
  __shared__ T largest[kTileRows], sum[kTileRows];
  const int chunk = static_cast<int>(blockIdx.x);
  if (chunk >= *plan.chunks || plan.group_chunks[chunk] == 0) return;
  TileWork<Mode, T> work(plan, rows, width, table);
  for (int s = static_cast<int>(threadIdx.x); s < kTileRows; s += kBlockThreads) {
    largest[s] = kLowest<T>;
    sum[s] = 0;
  }
  const int64_t begin = blockIdx.y * part_size, end = smaller(begin + part_size, table.count);
  for_scores(
      work, chunk, plan.group_chunks[chunk], begin, end,
      [&](int s, int64_t session, int64_t first, const T(&scores)[kLaneItems]) {
        const int64_t target = targets[session];
        T most = largest[s];
        for (int i = 0; i < kLaneItems; ++i) {
          const int64_t item = first + lane() + i * kWarpLanes;
          if (item < end) most = larger(scores[i], most);
          if (item < end && item == target) target_scores[session] = scores[i];
        }
        most = warp_max(most);
        T terms = 0;
        for (int i = 0; i < kLaneItems; ++i) {
          if (first + lane() + i * kWarpLanes < end) terms += exponential(scores[i] - most);
        }
        terms = warp_sum(terms);
        if (lane() == 0) {
          sum[s] = sum[s] * exponential(largest[s] - most) + terms;
          largest[s] = most;
        }
        __syncwarp();
      });
  for (int s = warp(); s < work.segment_count && begin < end; s += warps()) {
    if (lane() != 0) continue;
    T* result = partial + 2 * (blockIdx.y * sessions + work.segments[s].session);
    result[0] = largest[s];
    result[1] = sum[s];
  }
}

template <class T>
__global__ void combine_parts(
    const T* partial, const T* target_scores, int64_t sessions, int64_t parts, T* losses, T* normalizer) {
  const int64_t session = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (session >= sessions) return;
  T largest = kLowest<T>;
  for (int64_t part = 0; part < parts; ++part) largest = larger(partial[2 * (part * sessions + session)], largest);
  double sum = 0;
  for (int64_t part = 0; part < parts; ++part) {
    const T* of_part = partial + 2 * (part * sessions + session);
    sum += of_part[1] * exponential(static_cast<double>(of_part[0]) - largest);
  }
  normalizer[2 * session] = largest;
  normalizer[2 * session + 1] = static_cast<T>(logarithm(sum));
  losses[session] = (largest - target_scores[session]) + normalizer[2 * session + 1];
}

// The gradient of a score: given, or that of a cross-entropy.
template <class T>
struct ScoreGradients {
  const T* given;  // (sessions, items); null for cross-entropy
  const T* losses;
  const int64_t* targets;
  const T* normalizer;
  int64_t items;

  __device__ T at(int64_t session, int64_t item, T score) const {
    if (item >= items) return 0;
    if (given != nullptr) return given[session * items + item];
    const T probability = exponential((score - normalizer[2 * session]) - normalizer[2 * session + 1]);
    return losses[session] * (item == targets[session] ? probability - T(1) : probability);
  }
};

// Gradients of a chunk's rows over a part of the items, for a block of their units.
template <class Mode, int kWidth>
__global__ void __launch_bounds__(kBlockThreads) sum_row_gradients(
    AttentionPlan<typename Mode::Value> plan, const typename Mode::Stored* rows, int width,
    ItemTable<typename Mode::Value> table, int64_t part_size, ScoreGradients<typename Mode::Value> gradients,
    int64_t result_size, typename Mode::Value* result) {
  using T = typename Mode::Value;
  const int chunk = static_cast<int>(blockIdx.x), column = static_cast<int>(blockIdx.z);
  if (chunk >= *plan.chunks) return;
  const int group_first = plan.group_first[chunk], group = plan.group_chunks[group_first];
  TileWork<Mode, T> work(plan, rows, width, table);
  TileSum<Mode, kWidth> sum;
  const int64_t begin = blockIdx.y * part_size, end = smaller(begin + part_size, table.count);
  for (int64_t first = begin; first < end; first += kTileItems) {
    if (group > 1) work.add_group(group_first, group, first, 0);
    work.multiply_rows_by_items(chunk, first);
    work.make_gradients(
        group > 1, [&](int64_t session, int item, T score) { return gradients.at(session, first + item, score); });
    work.add_row_gradients(sum, first, column);
  }
  sum.for_each([&](int row, int unit, T value) {
    const int64_t place = (int64_t{chunk} * kTileRows + row) * width + column * kWidth + unit;
    if (column * kWidth + unit < width) result[blockIdx.y * result_size + place] = value;
  });
}

// Gradients of a tile of items, for a block of their units.
template <class Mode, int kWidth>
__global__ void __launch_bounds__(kBlockThreads) sum_item_gradients(
    AttentionPlan<typename Mode::Value> plan, const typename Mode::Stored* rows, int width,
    ItemTable<typename Mode::Value> table, ScoreGradients<typename Mode::Value> gradients,
    typename Mode::Value* result) {
  using T = typename Mode::Value;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTileItems;
  const int column = static_cast<int>(blockIdx.z), chunks = *plan.chunks;
  TileWork<Mode, T> work(plan, rows, width, table);
  TileSum<Mode, kWidth> sum;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const int group_first = plan.group_first[chunk], group = plan.group_chunks[group_first];
    if (group > 1 && chunk == group_first) work.add_group(chunk, group, first, 0);
    work.multiply_rows_by_items(chunk, first);
    work.make_gradients(
        group > 1, [&](int64_t session, int item, T score) { return gradients.at(session, first + item, score); });
    work.add_item_gradients(sum, chunk, column);
  }
  sum.for_each([&](int item, int unit_of_block, T value) {
    const int unit = column * kWidth + unit_of_block;
    if (first + item < table.count && unit < table.hidden) result[(first + item) * table.hidden + unit] = value;
  });
}

template <class Item>
ItemTable<Item> whole_table(const AttentionInputs& inputs) {
  return {data<Item>(inputs.table), nullptr, inputs.items, inputs.items, static_cast<int>(inputs.hidden)};
}

Tensor target_attention_scores(
    const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks, const Tensor& padding,
    const Tensor& slot_offsets, const Tensor& table, int64_t precision) {
  const OnDevice device(session);
  const AttentionInputs inputs(session, keys, values, clicks, padding, slot_offsets, table, true);
  Tensor scores = torch::stable::new_empty(inputs.session, {inputs.sessions, inputs.items});
  with_mode(session.scalar_type(), precision, [&](auto mode) {
    using Mode = decltype(mode);
    using T = typename Mode::Value;
    AttentionRows<T, Mode> rows(inputs);
    const ItemParts parts(inputs.items, rows.most_chunks(), 65535);
    const dim3 grid(static_cast<unsigned>(rows.most_chunks()), static_cast<unsigned>(parts.parts));
    const auto run = [&](auto item) {
      using Item = decltype(item);
      launch(
          write_scores<Mode, Item>, grid, kBlockThreads, TileWork<Mode, Item>::kBytes, rows.plan(), rows.rows(),
          rows.width(), whole_table<Item>(inputs), parts.size, mutable_data<T>(scores));
    };
    inputs.bfloat16_table ? run(uint16_t()) : run(T());
  });
  return scores;
}

using AttentionGradients = std::tuple<Tensor, Tensor, Tensor, Tensor>;

// Calls run(width) with the narrowest of the compiled widths of gradients that holds `width` units, or one block of it.
template <class Mode, class Run>
void with_width(int width, const Run& run) {
  if constexpr (kStageUnits<Mode> == 32) run(std::integral_constant<int, 32>());
  else if (width <= 64) run(std::integral_constant<int, 64>());
  else if (width <= 112) run(std::integral_constant<int, 112>());
  else run(std::integral_constant<int, 128>());
}

// `given` are gradients of the scores, the other three what makes them those of a cross-entropy.
AttentionGradients backward(
    const AttentionInputs& inputs, int64_t precision, const Tensor& given, const Tensor& losses, const Tensor& targets,
    const Tensor& normalizer) {
  Tensor grad_session = torch::stable::new_zeros(inputs.session, {inputs.sessions, inputs.hidden});
  Tensor grad_keys = torch::stable::new_zeros(inputs.keys, {inputs.slots, inputs.hidden});
  Tensor grad_values = torch::stable::new_zeros(inputs.keys, {inputs.slots, inputs.hidden});
  Tensor grad_table = torch::stable::new_zeros(inputs.table, {inputs.items, inputs.hidden});
  if (inputs.sessions == 0 || inputs.items == 0) return {grad_session, grad_keys, grad_values, grad_table};
  with_mode(inputs.session.scalar_type(), precision, [&](auto mode) {
    using Mode = decltype(mode);
    using T = typename Mode::Value;
    const ScoreGradients<T> gradients{
        optional_data<T>(given), optional_data<T>(losses), optional_data<int64_t>(targets),
        optional_data<T>(normalizer), inputs.items};
    AttentionRows<T, Mode> rows(inputs);
    constexpr int64_t kMostParts = 8;  // of memory for the gradients of all rows
    const ItemParts parts(inputs.items, rows.most_chunks(), kMostParts);
    Tensor partial = torch::stable::new_empty(inputs.session, {parts.parts * rows.size()});
    with_width<Mode>(rows.width(), [&](auto constant) {
      constexpr int kWidth = decltype(constant)::value;
      const unsigned columns = blocks_for(rows.width(), kWidth);
      const size_t shared = TileWork<Mode, T>::kBytes;
      launch(
          sum_row_gradients<Mode, kWidth>,
          dim3(static_cast<unsigned>(rows.most_chunks()), static_cast<unsigned>(parts.parts), columns), kBlockThreads,
          shared, rows.plan(), rows.rows(), rows.width(), whole_table<T>(inputs), parts.size, gradients, rows.size(),
          mutable_data<T>(partial));
      launch(
          sum_item_gradients<Mode, kWidth>, dim3(blocks_for(inputs.items, kTileItems), 1, columns), kBlockThreads,
          shared, rows.plan(), rows.rows(), rows.width(), whole_table<T>(inputs), gradients,
          mutable_data<T>(grad_table));
    });
    rows.scatter(
        data<T>(partial), static_cast<int>(parts.parts), mutable_data<T>(grad_session), mutable_data<T>(grad_keys),
        mutable_data<T>(grad_values));
  });
  return {grad_session, grad_keys, grad_values, grad_table};
}

AttentionGradients target_attention_scores_backward(
    const Tensor& grad_in, const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks,
    const Tensor& padding, const Tensor& slot_offsets, const Tensor& table, int64_t precision) {
  const OnDevice device(session);
  const AttentionInputs inputs(session, keys, values, clicks, padding, slot_offsets, table, false);
  check_tensor(grad_in, "grad", session.scalar_type(), {inputs.sessions, inputs.items});
  return backward(inputs, precision, as_contiguous(grad_in), Tensor(), Tensor(), Tensor());
}

std::tuple<Tensor, Tensor> target_attention_cross_entropy(
    const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks, const Tensor& padding,
    const Tensor& slot_offsets, const Tensor& table, const Tensor& targets_in, int64_t precision) {
  const OnDevice device(session);
  const AttentionInputs inputs(session, keys, values, clicks, padding, slot_offsets, table, false);
  check_tensor(targets_in, "targets", ScalarType::Long, {inputs.sessions});
  const Tensor targets = as_contiguous(targets_in);
  Tensor losses = torch::stable::new_empty(inputs.session, {inputs.sessions});
  Tensor normalizer = torch::stable::new_empty(inputs.session, {inputs.sessions, 2});
  Tensor target_scores = torch::stable::fill_(
      torch::stable::new_empty(inputs.session, {inputs.sessions}), std::numeric_limits<double>::quiet_NaN());
  with_mode(session.scalar_type(), precision, [&](auto mode) {
    using Mode = decltype(mode);
    using T = typename Mode::Value;
    AttentionRows<T, Mode> rows(inputs);
    const ItemParts parts(inputs.items, rows.most_chunks(), 256);
    Tensor partial = torch::stable::new_empty(inputs.session, {parts.parts * inputs.sessions * 2});
    launch(
        sum_exponentials<Mode>, dim3(static_cast<unsigned>(rows.most_chunks()), static_cast<unsigned>(parts.parts)),
        kBlockThreads, TileWork<Mode, T>::kBytes, rows.plan(), rows.rows(), rows.width(), whole_table<T>(inputs),
        parts.size, inputs.sessions, data<int64_t>(targets), mutable_data<T>(target_scores), mutable_data<T>(partial));
    launch(
        combine_parts<T>, blocks_for(inputs.sessions, kBlockThreads), kBlockThreads, 0, data<T>(partial),
        data<T>(target_scores), inputs.sessions, parts.parts, mutable_data<T>(losses), mutable_data<T>(normalizer));
  });
  return {losses, normalizer};
}

AttentionGradients target_attention_cross_entropy_backward(
    const Tensor& grad_in, const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks,
    const Tensor& padding, const Tensor& slot_offsets, const Tensor& table, const Tensor& targets_in,
    const Tensor& normalizer_in, int64_t precision) {
  const OnDevice device(session);
  const AttentionInputs inputs(session, keys, values, clicks, padding, slot_offsets, table, false);
  const ScalarType dtype = session.scalar_type();
  check_tensor(grad_in, "grad", dtype, {inputs.sessions});
  check_tensor(targets_in, "targets", ScalarType::Long, {inputs.sessions});
  check_tensor(normalizer_in, "normalizer", dtype, {inputs.sessions, 2});
  return backward(
      inputs, precision, Tensor(), as_contiguous(grad_in), as_contiguous(targets_in), as_contiguous(normalizer_in));
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_CUDA_LIBRARY(library) {
  library.impl("target_attention_scores", TORCH_BOX(&tagnn_fast::target_attention_scores));
  library.impl("target_attention_scores_backward", TORCH_BOX(&tagnn_fast::target_attention_scores_backward));
  library.impl("target_attention_cross_entropy", TORCH_BOX(&tagnn_fast::target_attention_cross_entropy));
  library.impl(
      "target_attention_cross_entropy_backward", TORCH_BOX(&tagnn_fast::target_attention_cross_entropy_backward));
}
