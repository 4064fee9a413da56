// The best k items of each session. Threads share the items out; each keeps a short list per session, which the kernel
// spares every tile without a score above the list's worst. Lists are merged at the end.

#include "target_rows.h"
#include "topk_choice.h"

namespace tagnn_fast::cpu {
namespace {

// An object, so that sorting has it inlined.
struct BestFirst {
  template <class T>
  bool operator()(const ScoredRow<T>& a, const ScoredRow<T>& b) const {
    return is_better(a, b);
  }
};

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
    const auto worst = rows_.begin() + k - 1;
    std::nth_element(rows_.begin(), worst, rows_.end(), BestFirst());
    threshold_ = worst->score;
    rows_.resize(k);
  }

  void append_to(std::vector<ScoredRow<T>>& all) const { all.insert(all.end(), rows_.begin(), rows_.end()); }

 private:
  std::vector<ScoredRow<T>> rows_;
  T threshold_ = std::numeric_limits<T>::quiet_NaN();
};

template <class T>
void collect(
    const TargetAttentionInputs& inputs, const TargetRows<T>& rows, size_t k, const int64_t* candidates,
    const ExcludedRows& excluded, int64_t begin, int64_t end, BestRows<T>* lists) {
  TargetTileWork<T> work(inputs, rows, false);
  std::vector<T> thresholds(rows.most_sessions());
  const std::unique_ptr<bool[]> exceeds(new bool[thresholds.size()]);
  for (int64_t item = begin; item < end; item += kTileItems) {
    work.take(item, end, candidates);
    for (int64_t block = 0; block < rows.blocks(); ++block) {
      const TargetBlock<T> sessions = rows.block(block);
      BestRows<T>* list = lists + rows.first_session(block);
      for (int64_t b = 0; b < sessions.sessions; ++b) thresholds[b] = list[b].threshold();
      work.score(sessions);
      rows.loops().exceeds(work.tile, sessions.sessions, thresholds.data(), exceeds.get());
      for (int64_t b = 0; b < sessions.sessions; ++b) {
        if (!exceeds[b]) continue;
        for (int64_t i = 0; i < work.tile.items; ++i) {
          const T score = work.tile.scores[b * kTileItems + i];
          if (score <= list[b].threshold()) continue;
          const int64_t row = candidates == nullptr ? item + i : candidates[item + i];
          if (!excluded.has(rows.first_session(block) + b, row)) list[b].add(score, row, k);
        }
      }
    }
  }
}

struct CpuTargetAttentionTopk : CpuOp {
  template <class T>
  static void topk(const TargetAttentionInputs& inputs, const TopkChoice& choice, TopkOutputs& best) {
    const int64_t k = choice.k;
    const ExcludedRows excluded(inputs.sessions, choice);
    std::vector<int64_t> candidates;
    if (choice.candidates) candidates = sorted_candidates(*choice.candidates, inputs.items);
    const int64_t* chosen = choice.candidates ? candidates.data() : nullptr;
    const int64_t items = choice.candidates ? static_cast<int64_t>(candidates.size()) : inputs.items;
    const TargetRows<T> rows(inputs, false);
    const int64_t parts = item_parts(rows, items, inputs.hidden);
    std::vector<BestRows<T>> lists(parts * inputs.sessions);
    if (k > 0) {
      for_item_parts(parts, items, [&](int64_t part, int64_t begin, int64_t end) {
        BestRows<T>* part_lists = lists.data() + part * inputs.sessions;
        collect(inputs, rows, k, chosen, excluded, begin, end, part_lists);
      });
    }
    std::vector<ScoredRow<T>> all;
    for (int64_t b = 0; b < inputs.sessions; ++b) {
      all.clear();
      for (int64_t part = 0; part < parts; ++part) {
        lists[part * inputs.sessions + b].append_to(all);
      }
      const int64_t found = std::min(k, static_cast<int64_t>(all.size()));
      std::partial_sort(all.begin(), all.begin() + found, all.end(), BestFirst());
      all.resize(k, {-std::numeric_limits<T>::infinity(), -1});
      for (int64_t i = 0; i < k; ++i) {
        mutable_data<T>(best.scores)[b * k + i] = all[i].score;
        mutable_data<int64_t>(best.rows)[b * k + i] = all[i].row;
      }
    }
  }
};

}  // namespace
}  // namespace tagnn_fast::cpu

TAGNN_FAST_REGISTER(CPU, library) {
  tagnn_fast::register_target_attention_topk<tagnn_fast::cpu::CpuTargetAttentionTopk>(library);
}
