// Scores and cross-entropy over the whole catalogue.
// Threads share the items out; row gradients are kept per thread and summed in order, so that results are repeatable.

#include <cmath>

#include "target_rows.h"

namespace tagnn_fast::cpu {
namespace {

// Gradients of all inputs. prepare(first session, end, tile) fills tile.scores with gradients of the scores, or says
// what makes them of the scores.
template <class T, class Prepare>
void backward(const TargetAttentionInputs& inputs, TargetAttentionGradients& grads, const Prepare& prepare) {
  const TargetRows<T> rows(inputs, true);
  const int64_t parts = item_parts(rows, inputs.items, inputs.hidden), width = rows.padded_hidden();
  const int64_t size = (rows.rows() + kRowsTogether) * width;
  const AlignedBuffer<T> grad_rows(parts * size);
  std::fill_n(grad_rows.data(), parts * size, T(0));
  for_item_parts(parts, inputs.items, [&](int64_t part, int64_t begin, int64_t end) {
    TargetTileWork<T> work(inputs, rows, true);
    T* grad_part = grad_rows.data() + part * size;
    for (int64_t item = begin; item < end; item += kTileItems) {
      work.take(item, end);
      std::fill_n(work.tile.grad_transposed, kTileItems * width, T(0));
      for (int64_t block = 0; block < rows.blocks(); ++block) {
        const int64_t first = rows.first_session(block);
        const CrossEntropyPart<T> loss = prepare(first, rows.first_session(block + 1), work.tile);
        rows.loops().backward(rows.block(block), work.tile, loss, grad_part + rows.first_row(first) * width);
      }
      T *of_items[kTileItems], *first = mutable_data<T>(grads.table) + item * inputs.hidden;
      for (int64_t i = 0; i < work.tile.items; ++i) of_items[i] = first + i * inputs.hidden;
      rows.loops().unpack(work.tile, of_items);
    }
  });
  for (int64_t part = 1; part < parts; ++part) {
    const T* __restrict__ from = grad_rows.data() + part * size;
    T* __restrict__ to = grad_rows.data();
    for (int64_t i = 0; i < rows.rows() * width; ++i) to[i] += from[i];
  }
  rows.scatter(
      grad_rows.data(), mutable_data<T>(grads.session), mutable_data<T>(grads.keys), mutable_data<T>(grads.values));
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
    normalizer[2 * b + 1] = std::log(sum);
  }
}

struct CpuTargetAttention : CpuOp {
  template <class T>
  static void scores(const TargetAttentionInputs& inputs, Tensor& scores) {
    const TargetRows<T> rows(inputs, false);
    T* out = mutable_data<T>(scores);
    const int64_t parts = item_parts(rows, inputs.items, inputs.hidden);
    for_item_parts(parts, inputs.items, [&](int64_t, int64_t begin, int64_t end) {
      TargetTileWork<T> work(inputs, rows, false);
      for (int64_t item = begin; item < end; item += kTileItems) {
        work.take(item, end);
        for (int64_t block = 0; block < rows.blocks(); ++block) {
          const TargetBlock<T> sessions = rows.block(block);
          work.score(sessions);
          for (int64_t b = 0; b < sessions.sessions; ++b) {
            std::copy_n(
                work.tile.scores + b * kTileItems, work.tile.items,
                out + (rows.first_session(block) + b) * inputs.items + item);
          }
        }
      }
    });
  }

  template <class T>
  static void scores_backward(
      const TargetAttentionInputs& inputs, const Tensor& grad, TargetAttentionGradients& grads) {
    backward<T>(inputs, grads, [&](int64_t first, int64_t end, const TargetTile<T>& tile) {
      for (int64_t b = first; b < end; ++b) {
        const T* from = data<T>(grad) + b * inputs.items + tile.first;
        std::copy_n(from, tile.items, tile.scores + (b - first) * kTileItems);
      }
      return CrossEntropyPart<T>{};
    });
  }

  template <class T>
  static void cross_entropy(const TargetAttentionInputs& inputs, const Tensor& targets, CrossEntropyOutputs& outputs) {
    const TargetRows<T> rows(inputs, false);
    const int64_t parts = item_parts(rows, inputs.items, inputs.hidden), lanes = rows.loops().lanes;
    const int64_t size = parts * inputs.sessions * lanes;
    const AlignedBuffer<T> maxima(size), sums(size);
    std::fill_n(maxima.data(), size, std::numeric_limits<T>::lowest());
    std::fill_n(sums.data(), size, T(0));
    std::vector<T> target_scores(inputs.sessions, std::numeric_limits<T>::quiet_NaN());
    for_item_parts(parts, inputs.items, [&](int64_t part, int64_t begin, int64_t end) {
      TargetTileWork<T> work(inputs, rows, false);
      for (int64_t item = begin; item < end; item += kTileItems) {
        work.take(item, end);
        for (int64_t block = 0; block < rows.blocks(); ++block) {
          const TargetBlock<T> sessions = rows.block(block);
          const int64_t first = rows.first_session(block), lane = (part * inputs.sessions + first) * lanes;
          work.score(sessions);
          for (int64_t b = 0; b < sessions.sessions; ++b) {
            const int64_t target = data<int64_t>(targets)[first + b];
            if (target < item || target >= item + work.tile.items) continue;
            target_scores[first + b] = work.tile.scores[b * kTileItems + target - item];
          }
          rows.loops().log_sum_exp(work.tile, sessions.sessions, maxima.data() + lane, sums.data() + lane);
        }
      }
    });
    T *loss = mutable_data<T>(outputs.losses), *normal = mutable_data<T>(outputs.normalizer);
    combine(maxima.data(), sums.data(), inputs.sessions, parts, lanes, normal);
    for (int64_t b = 0; b < inputs.sessions; ++b) {
      loss[b] = (normal[2 * b] - target_scores[b]) + normal[2 * b + 1];
    }
  }

  template <class T>
  static void cross_entropy_backward(
      const TargetAttentionInputs& inputs, const CrossEntropyBackwardInputs& loss, TargetAttentionGradients& grads) {
    backward<T>(inputs, grads, [&](int64_t first, int64_t, const TargetTile<T>&) {
      return CrossEntropyPart<T>{
          data<T>(loss.grad) + first, data<int64_t>(loss.targets) + first, data<T>(loss.normalizer) + 2 * first};
    });
  }
};

}  // namespace
}  // namespace tagnn_fast::cpu

TAGNN_FAST_REGISTER(CPU, library) {
  tagnn_fast::register_target_attention<tagnn_fast::cpu::CpuTargetAttention>(library);
}
