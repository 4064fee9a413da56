// The best k items of each session. Threads share the items out; each keeps a short list per session, which the kernel
// spares every tile without a score above the list's worst. Lists are merged at the end.

#include <cmath>
#include <tuple>

#include "../registration.h"
#include "target_attention.h"

namespace tagnn_fast {
namespace {

template <class T>
struct ScoredRow {
  T score;
  int64_t row;
};

// Best first: what is not a number, then higher scores, then smaller rows.
template <class T>
bool before(const ScoredRow<T>& a, const ScoredRow<T>& b) {
  const bool a_is_nan = std::isnan(a.score), b_is_nan = std::isnan(b.score);
  if (a_is_nan != b_is_nan) return a_is_nan;
  if (!a_is_nan && a.score != b.score) return a.score > b.score;
  return a.row < b.row;
}

// The best k of what is added in rising row order; holds up to twice as many.
template <class T>
class BestRows {
 public:
  // Scores up to this one are not wanted; not a number while all are.
  T threshold() const { return threshold_; }

  void add(T score, int64_t row, size_t k) {
    rows_.push_back({score, row});
    if (rows_.size() >= 2 * k + 32) keep_best(k);
  }

  void keep_best(size_t k) {
    if (rows_.size() < k || k == 0) return;
    const auto worst = rows_.begin() + static_cast<int64_t>(k) - 1;
    std::nth_element(rows_.begin(), worst, rows_.end(), before<T>);
    threshold_ = worst->score;
    rows_.resize(k);
  }

  void append_to(std::vector<ScoredRow<T>>& all) const { all.insert(all.end(), rows_.begin(), rows_.end()); }

 private:
  std::vector<ScoredRow<T>> rows_;
  T threshold_ = std::numeric_limits<T>::quiet_NaN();
};

// Rows that a session must not get.
class Exclusion {
 public:
  Exclusion(int64_t sessions, const std::optional<Tensor>& excluded, const std::optional<Tensor>& offsets_in) {
    if (!excluded.has_value() && !offsets_in.has_value()) return;
    check_value(excluded.has_value() && offsets_in.has_value(), "excluded", "excluded_offsets with it", "one of them");
    check_tensor(*excluded, "excluded", ScalarType::Long, {kAnySize});
    check_tensor(*offsets_in, "excluded_offsets", ScalarType::Long, {sessions + 1});
    rows_ = as_contiguous(*excluded);
    const Tensor offsets = as_contiguous(*offsets_in);
    offsets_ = clamped_offsets(data<int64_t>(offsets), sessions, rows_->size(0));
  }

  bool has(int64_t session, int64_t row) const {
    if (offsets_.empty()) return false;
    const int64_t* rows = data<int64_t>(*rows_);
    const int64_t *begin = rows + offsets_[static_cast<size_t>(session)],
                  *end = rows + offsets_[static_cast<size_t>(session) + 1];
    return std::find(begin, end, row) != end;
  }

 private:
  std::optional<Tensor> rows_;
  std::vector<int64_t> offsets_;
};

// Rows of the table in rising order, each once; those outside it are left out.
std::vector<int64_t> sorted_candidates(const Tensor& candidates_in, int64_t items) {
  check_tensor(candidates_in, "candidates", ScalarType::Long, {kAnySize});
  const Tensor candidates = as_contiguous(candidates_in);
  const int64_t* rows = data<int64_t>(candidates);
  std::vector<int64_t> sorted(rows, rows + candidates.size(0));
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  const auto inside = std::lower_bound(sorted.begin(), sorted.end(), 0);
  return {inside, std::lower_bound(inside, sorted.end(), items)};
}

template <class T>
void collect(
    const AttentionInputs& inputs, const AttentionRows<T>& rows, size_t k, const int64_t* candidates,
    const Exclusion& exclusion, int64_t begin, int64_t end, BestRows<T>* lists) {
  TileWork<T> work(inputs, rows, false);
  std::vector<T> thresholds(static_cast<size_t>(rows.most_sessions()));
  const std::unique_ptr<bool[]> exceeds(new bool[thresholds.size()]);
  for (int64_t item = begin; item < end; item += kTileItems) {
    work.take(item, end, candidates);
    for (int64_t block = 0; block < rows.blocks(); ++block) {
      const AttentionBlock<T> sessions = rows.block(block);
      BestRows<T>* list = lists + rows.first_session(block);
      for (int64_t b = 0; b < sessions.sessions; ++b) thresholds[static_cast<size_t>(b)] = list[b].threshold();
      work.score(sessions);
      rows.loops().exceeds(work.tile, sessions.sessions, thresholds.data(), exceeds.get());
      for (int64_t b = 0; b < sessions.sessions; ++b) {
        if (!exceeds[static_cast<size_t>(b)]) continue;
        for (int64_t i = 0; i < work.tile.items; ++i) {
          const T score = work.tile.scores[b * kTileItems + i];
          if (score <= list[b].threshold()) continue;
          const int64_t row = candidates == nullptr ? item + i : candidates[item + i];
          if (!exclusion.has(rows.first_session(block) + b, row)) list[b].add(score, row, k);
        }
      }
    }
  }
}

std::tuple<Tensor, Tensor> target_attention_topk(
    const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks, const Tensor& padding,
    const Tensor& slot_offsets, const Tensor& table, int64_t k, const std::optional<Tensor>& candidates_in,
    const std::optional<Tensor>& excluded, const std::optional<Tensor>& excluded_offsets, int64_t) {
  const AttentionInputs inputs(session, keys, values, clicks, padding, slot_offsets, table, true);
  check_value(k >= 0, "k", "0 or more", k);
  const Exclusion exclusion(inputs.sessions, excluded, excluded_offsets);
  std::vector<int64_t> candidates;
  if (candidates_in.has_value()) candidates = sorted_candidates(*candidates_in, inputs.items);
  const int64_t* chosen = candidates_in.has_value() ? candidates.data() : nullptr;
  const int64_t items = candidates_in.has_value() ? static_cast<int64_t>(candidates.size()) : inputs.items;

  Tensor best = torch::stable::new_empty(inputs.session, {inputs.sessions, k});
  Tensor best_rows = torch::stable::new_empty(inputs.slot_offsets, {inputs.sessions, k});
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    const AttentionRows<T> rows(inputs, false);
    const int64_t parts = item_parts(rows, items, inputs.hidden);
    std::vector<BestRows<T>> lists(static_cast<size_t>(parts * inputs.sessions));
    if (k > 0) {
      for_item_parts(parts, items, [&](int64_t part, int64_t begin, int64_t end) {
        BestRows<T>* part_lists = lists.data() + part * inputs.sessions;
        collect(inputs, rows, static_cast<size_t>(k), chosen, exclusion, begin, end, part_lists);
      });
    }
    std::vector<ScoredRow<T>> all;
    for (int64_t b = 0; b < inputs.sessions; ++b) {
      all.clear();
      for (int64_t part = 0; part < parts; ++part) {
        lists[static_cast<size_t>(part * inputs.sessions + b)].append_to(all);
      }
      const int64_t found = std::min(k, static_cast<int64_t>(all.size()));
      std::partial_sort(all.begin(), all.begin() + found, all.end(), before<T>);
      all.resize(static_cast<size_t>(k), {-std::numeric_limits<T>::infinity(), -1});
      for (int64_t i = 0; i < k; ++i) {
        mutable_data<T>(best)[b * k + i] = all[static_cast<size_t>(i)].score;
        mutable_data<int64_t>(best_rows)[b * k + i] = all[static_cast<size_t>(i)].row;
      }
    }
  };
  session.scalar_type() == ScalarType::Float ? run(float()) : run(double());
  return {best, best_rows};
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_REGISTER(CPU, library) {
  library.impl("target_attention_topk", TORCH_BOX(&tagnn_fast::target_attention_topk));
}
