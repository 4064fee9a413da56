// Scores and cross-entropy over the whole catalogue, in the arithmetic of the inputs whatever precision is asked for.
// Threads share the items out; row gradients are kept per thread and
// summed in order, so that results are repeatable.

#include "target_attention.h"

#include <cmath>
#include <tuple>

#include "../registration.h"

namespace tagnn_fast {
namespace {

Tensor target_attention_scores(
    const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks, const Tensor& padding,
    const Tensor& slot_offsets, const Tensor& table, int64_t) {
  const AttentionInputs inputs(session, keys, values, clicks, padding, slot_offsets, table, true);
  Tensor scores = torch::stable::new_empty(inputs.session, {inputs.sessions, inputs.items});
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    const AttentionRows<T> rows(inputs, false);
    T* out = mutable_data<T>(scores);
    const int64_t parts = item_parts(rows, inputs.items, inputs.hidden);
    for_item_parts(parts, inputs.items, [&](int64_t, int64_t begin, int64_t end) {
      TileWork<T> work(inputs, rows, false);
      for (int64_t item = begin; item < end; item += kTileItems) {
        work.take(item, end);
        for (int64_t block = 0; block < rows.blocks(); ++block) {
          const AttentionBlock<T> sessions = rows.block(block);
          work.score(sessions);
          for (int64_t b = 0; b < sessions.sessions; ++b) {
            std::copy_n(
                work.tile.scores + b * kTileItems, work.tile.items,
                out + (rows.first_session(block) + b) * inputs.items + item);
          }
        }
      }
    });
  };
  session.scalar_type() == ScalarType::Float ? run(float()) : run(double());
  return scores;
}

using AttentionGradients = std::tuple<Tensor, Tensor, Tensor, Tensor>;

// Gradients of all inputs. prepare(first session, end, tile) fills tile.scores with gradients of the scores, or says
// what makes them of the scores.
template <class T, class Prepare>
AttentionGradients backward(const AttentionInputs& inputs, const Prepare& prepare) {
  Tensor grad_session = torch::stable::new_empty(inputs.session, {inputs.sessions, inputs.hidden});
  Tensor grad_keys = torch::stable::new_zeros(inputs.keys, {inputs.slots, inputs.hidden});
  Tensor grad_values = torch::stable::new_zeros(inputs.keys, {inputs.slots, inputs.hidden});
  Tensor grad_table = torch::stable::new_empty(inputs.table, {inputs.items, inputs.hidden});
  const AttentionRows<T> rows(inputs, true);
  const int64_t parts = item_parts(rows, inputs.items, inputs.hidden), width = rows.padded_hidden();
  const int64_t size = rows.rows() * width;
  const AlignedBuffer<T> grad_rows(parts * size);
  std::fill_n(grad_rows.data(), parts * size, T(0));
  for_item_parts(parts, inputs.items, [&](int64_t part, int64_t begin, int64_t end) {
    TileWork<T> work(inputs, rows, true);
    T* grad_part = grad_rows.data() + part * size;
    for (int64_t item = begin; item < end; item += kTileItems) {
      work.take(item, end);
      std::fill_n(work.tile.grad_transposed, kTileItems * inputs.hidden, T(0));
      for (int64_t block = 0; block < rows.blocks(); ++block) {
        const int64_t first = rows.first_session(block);
        const CrossEntropyPart<T> loss = prepare(first, rows.first_session(block + 1), work.tile);
        rows.loops().backward(rows.block(block), work.tile, loss, grad_part + rows.first_row(first) * width);
      }
      T* grads[kTileItems];
      for (int64_t i = 0; i < work.tile.items; ++i) grads[i] = mutable_data<T>(grad_table) + (item + i) * inputs.hidden;
      rows.loops().unpack(work.tile, grads);
    }
  });
  for (int64_t part = 1; part < parts; ++part) {
    const T* __restrict__ from = grad_rows.data() + part * size;
    T* __restrict__ to = grad_rows.data();
    for (int64_t i = 0; i < size; ++i) to[i] += from[i];
  }
  rows.scatter(
      grad_rows.data(), mutable_data<T>(grad_session), mutable_data<T>(grad_keys), mutable_data<T>(grad_values));
  return {grad_session, grad_keys, grad_values, grad_table};
}

AttentionGradients target_attention_scores_backward(
    const Tensor& grad_in, const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks,
    const Tensor& padding, const Tensor& slot_offsets, const Tensor& table, int64_t) {
  const AttentionInputs inputs(session, keys, values, clicks, padding, slot_offsets, table, false);
  check_tensor(grad_in, "grad", session.scalar_type(), {inputs.sessions, inputs.items});
  const Tensor grad = as_contiguous(grad_in);
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    return backward<T>(inputs, [&](int64_t first, int64_t end, const AttentionTile<T>& tile) {
      for (int64_t b = first; b < end; ++b) {
        const T* from = data<T>(grad) + b * inputs.items + tile.first;
        std::copy_n(from, tile.items, tile.scores + (b - first) * kTileItems);
      }
      return CrossEntropyPart<T>{};
    });
  };
  return session.scalar_type() == ScalarType::Float ? run(float()) : run(double());
}

// Per session, over the lanes of all parts: the largest score, and the logarithm of the sum of exp(score - largest).
template <class T>
void combine(const T* maxima, const T* sums, int64_t sessions, int64_t parts, int64_t lanes, T* normalizer) {
  for (int64_t b = 0; b < sessions; ++b) {
    T largest = std::numeric_limits<T>::lowest();
    double sum = 0;
    const auto for_lanes = [&](const auto& visit) {
      for (int64_t part = 0; part < parts; ++part) {
        for (int64_t lane = 0; lane < lanes; ++lane) visit((part * sessions + b) * lanes + lane);
      }
    };
    for_lanes([&](int64_t i) { largest = std::max(largest, maxima[i]); });
    for_lanes([&](int64_t i) { sum += sums[i] * std::exp(static_cast<double>(maxima[i]) - largest); });
    normalizer[2 * b] = largest;
    normalizer[2 * b + 1] = static_cast<T>(std::log(sum));
  }
}

std::tuple<Tensor, Tensor> target_attention_cross_entropy(
    const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks, const Tensor& padding,
    const Tensor& slot_offsets, const Tensor& table, const Tensor& targets_in, int64_t) {
  const AttentionInputs inputs(session, keys, values, clicks, padding, slot_offsets, table, false);
  check_tensor(targets_in, "targets", ScalarType::Long, {inputs.sessions});
  const Tensor targets = as_contiguous(targets_in);
  Tensor losses = torch::stable::new_empty(inputs.session, {inputs.sessions});
  Tensor normalizer = torch::stable::new_empty(inputs.session, {inputs.sessions, 2});
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    const AttentionRows<T> rows(inputs, false);
    const int64_t parts = item_parts(rows, inputs.items, inputs.hidden), lanes = rows.loops().lanes;
    const int64_t size = parts * inputs.sessions * lanes;
    const AlignedBuffer<T> maxima(size), sums(size);
    std::fill_n(maxima.data(), size, std::numeric_limits<T>::lowest());
    std::fill_n(sums.data(), size, T(0));
    std::vector<T> target_scores(static_cast<size_t>(inputs.sessions), std::numeric_limits<T>::quiet_NaN());
    for_item_parts(parts, inputs.items, [&](int64_t part, int64_t begin, int64_t end) {
      TileWork<T> work(inputs, rows, false);
      for (int64_t item = begin; item < end; item += kTileItems) {
        work.take(item, end);
        for (int64_t block = 0; block < rows.blocks(); ++block) {
          const AttentionBlock<T> sessions = rows.block(block);
          const int64_t first = rows.first_session(block), lane = (part * inputs.sessions + first) * lanes;
          work.score(sessions);
          for (int64_t b = 0; b < sessions.sessions; ++b) {
            const int64_t target = data<int64_t>(targets)[first + b];
            if (target < item || target >= item + work.tile.items) continue;
            target_scores[static_cast<size_t>(first + b)] = work.tile.scores[b * kTileItems + target - item];
          }
          rows.loops().log_sum_exp(work.tile, sessions.sessions, maxima.data() + lane, sums.data() + lane);
        }
      }
    });
    T *loss = mutable_data<T>(losses), *normal = mutable_data<T>(normalizer);
    combine(maxima.data(), sums.data(), inputs.sessions, parts, lanes, normal);
    for (int64_t b = 0; b < inputs.sessions; ++b) {
      loss[b] = (normal[2 * b] - target_scores[static_cast<size_t>(b)]) + normal[2 * b + 1];
    }
  };
  session.scalar_type() == ScalarType::Float ? run(float()) : run(double());
  return {losses, normalizer};
}

AttentionGradients target_attention_cross_entropy_backward(
    const Tensor& grad_in, const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks,
    const Tensor& padding, const Tensor& slot_offsets, const Tensor& table, const Tensor& targets_in,
    const Tensor& normalizer_in, int64_t) {
  const AttentionInputs inputs(session, keys, values, clicks, padding, slot_offsets, table, false);
  const ScalarType dtype = session.scalar_type();
  check_tensor(grad_in, "grad", dtype, {inputs.sessions});
  check_tensor(targets_in, "targets", ScalarType::Long, {inputs.sessions});
  check_tensor(normalizer_in, "normalizer", dtype, {inputs.sessions, 2});
  const Tensor grad = as_contiguous(grad_in), targets = as_contiguous(targets_in);
  const Tensor normalizer = as_contiguous(normalizer_in);
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    return backward<T>(inputs, [&](int64_t first, int64_t, const AttentionTile<T>&) {
      return CrossEntropyPart<T>{
          data<T>(grad) + first, data<int64_t>(targets) + first, data<T>(normalizer) + 2 * first};
    });
  };
  return dtype == ScalarType::Float ? run(float()) : run(double());
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_REGISTER(CPU, library) {
  library.impl("target_attention_scores", TORCH_BOX(&tagnn_fast::target_attention_scores));
  library.impl("target_attention_scores_backward", TORCH_BOX(&tagnn_fast::target_attention_scores_backward));
  library.impl("target_attention_cross_entropy", TORCH_BOX(&tagnn_fast::target_attention_cross_entropy));
  library.impl(
      "target_attention_cross_entropy_backward", TORCH_BOX(&tagnn_fast::target_attention_cross_entropy_backward));
}
