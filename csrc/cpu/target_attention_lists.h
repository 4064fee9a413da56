// Lists of the best items: each thread keeps a short one per session, which the kernel spares every tile without a
// score above the list's worst.
#pragma once

#include "target_rows.h"
#include "topk_choice.h"

namespace tagnn_fast::cpu {

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

  void append(const BestRows& others) { others.append_to(rows_); }
  void append_to(std::vector<ScoredRow<T>>& all) const { all.insert(all.end(), rows_.begin(), rows_.end()); }

 private:
  std::vector<ScoredRow<T>> rows_;
  T threshold_ = std::numeric_limits<T>::quiet_NaN();
};

// Which items the sessions of some blocks choose from.
struct ItemChoice {
  int64_t first_block, end_block;
  const int64_t* candidates;  // in rising order; null for all
  int64_t items;              // how many these are
};

// Adds a part of the items to the lists of the sessions.
template <class T>
void collect(
    const TargetAttentionInputs& inputs, const TargetRows<T>& rows, const ItemChoice& choice, size_t k,
    const ExcludedRows& excluded, int64_t begin, int64_t end, BestRows<T>* lists) {
  TargetTileWork<T> work(inputs, rows, false);
  std::vector<T> thresholds(rows.most_sessions());
  const std::unique_ptr<bool[]> exceeds(new bool[thresholds.size()]);
  for (int64_t item = begin; item < end; item += kTileItems) {
    work.take(item, end, choice.candidates);
    for (int64_t block = choice.first_block; block < choice.end_block; ++block) {
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
          const int64_t row = choice.candidates == nullptr ? item + i : choice.candidates[item + i];
          if (!excluded.has(rows.first_session(block) + b, row)) list[b].add(score, row, k);
        }
      }
    }
  }
}

// The same for all of them; lists has those of all sessions for each of item_parts(rows, choice.items, hidden).
template <class T>
void collect_all(
    const TargetAttentionInputs& inputs, const TargetRows<T>& rows, const ItemChoice& choice, size_t k,
    const ExcludedRows& excluded, BestRows<T>* lists) {
  if (choice.first_block == choice.end_block) return;
  const int64_t parts = item_parts(rows, choice.items, inputs.hidden);
  for_item_parts(parts, choice.items, [&](int64_t part, int64_t begin, int64_t end) {
    collect(inputs, rows, choice, k, excluded, begin, end, lists + part * inputs.sessions);
  });
}

}  // namespace tagnn_fast::cpu
