// Scores and cross-entropy over the whole catalogue, and their gradients. A block walks a chunk of rows over a part of
// the items, or, for gradients of items, a tile of items over all chunks; sums over parts are added up in order.

#include "target_tiles.h"

namespace tagnn_fast::cuda {
namespace {

template <class Mode>
__global__ void __launch_bounds__(kBlockThreads, kBlocksAtOnce<Mode>) write_scores(
    TargetPlan<typename Mode::Value> plan, const typename Mode::Stored* rows, int width, TargetItems<Mode> items,
    int64_t part_size, typename Mode::Value* scores) {
  using T = typename Mode::Value;
  const int chunk = blockIdx.x;
  if (chunk >= *plan.chunks || plan.group_chunks[chunk] == 0) return;
  DeviceTileWork<Mode, Walk::kItems> work(plan, rows, width, items);
  const int64_t begin = blockIdx.y * part_size, end = smaller(begin + part_size, items.count);
  for_scores(
      work, chunk, plan.group_chunks[chunk], begin, end,
      [&](int, int64_t session, int64_t first, const T(&values)[kLaneItems]) {
        for (int i = 0; i < kLaneItems; ++i) {
          const int64_t item = first + lane() * kLaneItems + i;
          if (item < end) scores[session * items.count + item] = values[i];
        }
      });
}

// Of each session, over a part of the items: the largest score, and the sum of exp(score - largest).
template <class Mode>
__global__ void __launch_bounds__(kBlockThreads, kBlocksAtOnce<Mode>) sum_exponentials(
    TargetPlan<typename Mode::Value> plan, const typename Mode::Stored* rows, int width, TargetItems<Mode> items,
    int64_t part_size, int64_t sessions, const int64_t* targets, typename Mode::Value* target_scores,
    typename Mode::Value* partial) {
  using T = typename Mode::Value;
  struct Sums {
    T largest[kTileRows], sum[kTileRows];
  };
  auto& sums = static_shared<Sums>();
  T *largest = sums.largest, *sum = sums.sum;
  const int chunk = blockIdx.x;
  if (chunk >= *plan.chunks || plan.group_chunks[chunk] == 0) return;
  DeviceTileWork<Mode, Walk::kItems> work(plan, rows, width, items);
  for (int s = threadIdx.x; s < kTileRows; s += kBlockThreads) {
    largest[s] = kLowest<T>;
    sum[s] = 0;
  }
  const int64_t begin = blockIdx.y * part_size, end = smaller(begin + part_size, items.count);
  for_scores(
      work, chunk, plan.group_chunks[chunk], begin, end,
      [&](int s, int64_t session, int64_t first, const T(&scores)[kLaneItems]) {
        const int64_t target = targets[session];
        T most = largest[s];
        for (int i = 0; i < kLaneItems; ++i) {
          const int64_t item = first + lane() * kLaneItems + i;
          if (item < end) most = larger(scores[i], most);
          if (item < end && item == target) target_scores[session] = scores[i];
        }
        most = warp_max(most);
        T terms = 0;
        for (int i = 0; i < kLaneItems; ++i) {
          if (first + lane() * kLaneItems + i < end) terms += Mode::exponential(scores[i] - most);
        }
        terms = warp_sum(terms);
        if (lane() == 0) {
          sum[s] = sum[s] * Mode::exponential(largest[s] - most) + terms;
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
  normalizer[2 * session + 1] = logarithm(sum);
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

  template <class Mode>
  __device__ T at(int64_t session, int64_t item, T score) const {
    if (item >= items) return 0;
    if (given != nullptr) return given[session * items + item];
    const T probability = Mode::exponential((score - normalizer[2 * session]) - normalizer[2 * session + 1]);
    return losses[session] * (item == targets[session] ? probability - T(1) : probability);
  }
};

// Gradients of a chunk's rows over a part of the items, for a block of their units.
template <class Mode, int kWidth>
__global__ void __launch_bounds__(kBlockThreads, kBlocksAtOnce<Mode>) sum_row_gradients(
    TargetPlan<typename Mode::Value> plan, const typename Mode::Stored* rows, int width, TargetItems<Mode> items,
    int64_t part_size, ScoreGradients<typename Mode::Value> gradients, int64_t result_size,
    typename Mode::Value* result) {
  using T = typename Mode::Value;
  const int chunk = blockIdx.x, column = blockIdx.z;
  if (chunk >= *plan.chunks) return;
  const int group_first = plan.group_first[chunk], group = plan.group_chunks[group_first];
  DeviceTileWork<Mode, Walk::kItems> work(plan, rows, width, items);
  TileSum<Mode, kWidth> sum;
  const int64_t begin = blockIdx.y * part_size, end = smaller(begin + part_size, items.count);
  for (int64_t first = begin; first < end; first += kTileItems) {
    if (group > 1) work.add_group(group_first, group, first, 0);
    const int64_t next = first + kTileItems;
    work.multiply_rows_by_items(chunk, first, next < end ? next : -1);
    work.make_gradients(group > 1, [&](int64_t session, int item, T score) {
      return gradients.template at<Mode>(session, first + item, score);
    });
    work.add_row_gradients(sum, first, column);
  }
  sum.for_each([&](int row, int unit, T value) {
    const int64_t place = (int64_t{chunk} * kTileRows + row) * width + column * kWidth + unit;
    if (column * kWidth + unit < width) result[blockIdx.y * result_size + place] = value;
  });
}

// Gradients of a tile of items, for a block of their units.
template <class Mode, int kWidth>
__global__ void __launch_bounds__(kBlockThreads, kBlocksAtOnce<Mode>) sum_item_gradients(
    TargetPlan<typename Mode::Value> plan, const typename Mode::Stored* rows, int width, TargetItems<Mode> items,
    ScoreGradients<typename Mode::Value> gradients, typename Mode::Value* result) {
  using T = typename Mode::Value;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTileItems;
  const int column = blockIdx.z, chunks = *plan.chunks;
  DeviceTileWork<Mode, Walk::kRows> work(plan, rows, width, items);
  TileSum<Mode, kWidth> sum;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const int group_first = plan.group_first[chunk], group = plan.group_chunks[group_first];
    if (group > 1 && chunk == group_first) work.add_group(chunk, group, first, 0);
    work.multiply_rows_by_items(chunk, first, chunk + 1 < chunks ? chunk + 1 : -1);
    work.make_gradients(group > 1, [&](int64_t session, int item, T score) {
      return gradients.template at<Mode>(session, first + item, score);
    });
    work.add_item_gradients(sum, chunk, column);
  }
  sum.for_each([&](int item, int unit_of_block, T value) {
    const int unit = column * kWidth + unit_of_block;
    if (first + item < items.count && unit < items.hidden) result[(first + item) * items.hidden + unit] = value;
  });
}

// Calls run(width) with the compiled width.
template <class Mode, class Run>
void with_width(int width, const Run& run) {
  const int compiled = compiled_width<Mode>(width);
  if constexpr (kStageUnits<Mode> == 32) run(std::integral_constant<int, 32>());
  else if (compiled == 64) run(std::integral_constant<int, 64>());
  else if (compiled == 112) run(std::integral_constant<int, 112>());
  else run(std::integral_constant<int, 128>());
}

template <class T>
void backward(
    const TargetAttentionInputs& inputs, const ScoreGradients<T>& gradients, TargetAttentionGradients& grads) {
  if (inputs.sessions == 0 || inputs.items == 0) return;
  with_mode<T>(inputs.precision, [&](auto mode) {
    using Mode = decltype(mode);
    DeviceTargetRows<T, Mode> rows(inputs);
    const DeviceTargetItems<T, Mode> items(inputs, rows.width());
    constexpr int64_t kMostParts = 8;  // of memory for the gradients of all rows
    const ItemParts parts(inputs.items, rows.most_chunks(), kMostParts);
    Tensor partial = make_empty(inputs.session, {parts.parts * rows.size()});
    with_width<Mode>(rows.width(), [&](auto constant) {
      constexpr int kWidth = decltype(constant)::value;
      const unsigned columns = blocks_for(rows.width(), kWidth);
      launch_on_tiles<Mode>(
          sum_row_gradients<Mode, kWidth>, chunk_grid(rows.most_chunks(), parts, columns), rows, items.items(),
          parts.size, gradients, rows.size(), mutable_data<T>(partial));
      launch_on_tiles<Mode>(
          sum_item_gradients<Mode, kWidth>, dim3(blocks_for(inputs.items, kTileItems), 1, columns), rows, items.items(),
          gradients, mutable_data<T>(grads.table));
    });
    rows.scatter(
        data<T>(partial), parts.parts, mutable_data<T>(grads.session), mutable_data<T>(grads.keys),
        mutable_data<T>(grads.values));
  });
}

struct CudaTargetAttention : CudaOp {
  template <class T>
  static void scores(const TargetAttentionInputs& inputs, Tensor& scores) {
    with_mode<T>(inputs.precision, [&](auto mode) {
      using Mode = decltype(mode);
      DeviceTargetRows<T, Mode> rows(inputs);
      const DeviceTargetItems<T, Mode> items(inputs, rows.width());
      const ItemParts parts(inputs.items, rows.most_chunks(), 65535);
      launch_on_tiles<Mode>(
          write_scores<Mode>, chunk_grid(rows.most_chunks(), parts), rows, items.items(), parts.size,
          mutable_data<T>(scores));
    });
  }

  template <class T>
  static void scores_backward(
      const TargetAttentionInputs& inputs, const Tensor& grad, TargetAttentionGradients& grads) {
    backward<T>(inputs, {data<T>(grad), nullptr, nullptr, nullptr, inputs.items}, grads);
  }

  template <class T>
  static void cross_entropy(const TargetAttentionInputs& inputs, const Tensor& targets, CrossEntropyOutputs& outputs) {
    Tensor target_scores =
        torch::stable::fill_(make_empty(inputs.session, {inputs.sessions}), std::numeric_limits<double>::quiet_NaN());
    with_mode<T>(inputs.precision, [&](auto mode) {
      using Mode = decltype(mode);
      DeviceTargetRows<T, Mode> rows(inputs);
      const DeviceTargetItems<T, Mode> items(inputs, rows.width());
      const ItemParts parts(inputs.items, rows.most_chunks(), 256);
      Tensor partial = make_empty(inputs.session, {parts.parts * inputs.sessions * 2});
      launch_on_tiles<Mode>(
          sum_exponentials<Mode>, chunk_grid(rows.most_chunks(), parts), rows, items.items(), parts.size,
          inputs.sessions, data<int64_t>(targets), mutable_data<T>(target_scores), mutable_data<T>(partial));
      launch(
          combine_parts<T>, blocks_for(inputs.sessions, kBlockThreads), kBlockThreads, 0, data<T>(partial),
          data<T>(target_scores), inputs.sessions, parts.parts, mutable_data<T>(outputs.losses),
          mutable_data<T>(outputs.normalizer));
    });
  }

  template <class T>
  static void cross_entropy_backward(
      const TargetAttentionInputs& inputs, const CrossEntropyBackwardInputs& loss, TargetAttentionGradients& grads) {
    backward<T>(
        inputs, {nullptr, data<T>(loss.grad), data<int64_t>(loss.targets), data<T>(loss.normalizer), inputs.items},
        grads);
  }
};

}  // namespace
}  // namespace tagnn_fast::cuda

TAGNN_FAST_CUDA_LIBRARY(library) {
  tagnn_fast::register_target_attention<tagnn_fast::cuda::CudaTargetAttention>(library);
}
