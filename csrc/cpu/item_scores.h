// Scores of the few items that a session's neighbours or rules speak of, and the lists made of them: best first, equal
// scores by popularity, then the most popular of the other items, which score 0.
#pragma once

#include <limits>
#include <utility>

#include "topk_choice.h"

namespace tagnn_fast::cpu {

// How a catalogue is ranked, and what a call asks for.
struct ItemRanking {
  Tensor popular, popularity_rank;  // rows, most popular first; the place of each row there
  TopkChoice choice;
  int64_t items = 0;

  // `choice` is checked for so many sessions.
  void check(int64_t sessions) {
    check_tensor(CpuOp::kBackend, popular, "popular", ScalarType::Long, {kAnySize});
    items = popular.size(0);
    check_value(items <= std::numeric_limits<int32_t>::max(), "popular", "fewer than 2^31 items", items);
    check_tensor(CpuOp::kBackend, popularity_rank, "popularity_rank", ScalarType::Int, {items});
    choice.check(CpuOp::kBackend, sessions);
    make_contiguous({&popular, &popularity_rank});
  }
};

struct RankedLists {
  Tensor scores, rows;  // float64 and int64 (sessions, k); -inf and -1 where fewer items are left

  RankedLists(const ItemRanking& ranking, int64_t sessions)
      : scores(empty_on_cpu({sessions, ranking.choice.k}, ScalarType::Double)),
        rows(empty_on_cpu({sessions, ranking.choice.k}, ScalarType::Long)) {}
};

// Values by row that are all zero between sessions. Each thread keeps the memory from call to call: a catalogue may be
// large, and a single session touches little of it.
template <class T>
class SparseValues {
 public:
  explicit SparseValues(int64_t rows) : values_(std::move(kept_)) {
    if (static_cast<int64_t>(values_.size()) < rows) values_.resize(rows);
  }
  SparseValues(const SparseValues&) = delete;
  SparseValues& operator=(const SparseValues&) = delete;
  ~SparseValues() {
    clear();
    kept_ = std::move(values_);
  }

  T operator[](int32_t row) const { return values_[row]; }

  // Adds a value above 0.
  void add(int32_t row, T value) {
    if (values_[row] == 0) touched_.push_back(row);
    values_[row] += value;
  }

  // Gives a row another value above 0.
  void set(int32_t row, T value) {
    if (values_[row] == 0) touched_.push_back(row);
    values_[row] = value;
  }

  const std::vector<int32_t>& touched() const { return touched_; }

  void clear() {
    for (const int32_t row : touched_) values_[row] = 0;
    touched_.clear();
  }

 private:
  static inline thread_local std::vector<T> kept_;
  std::vector<T> values_;
  std::vector<int32_t> touched_;
};

class ItemLists {
 public:
  ItemLists(const ItemRanking& ranking, int64_t sessions, RankedLists& lists)
      : items_(ranking.items),
        k_(ranking.choice.k),
        popular_(data<int64_t>(ranking.popular)),
        rank_(data<int32_t>(ranking.popularity_rank)),
        excluded_(sessions, ranking.choice),
        scores_(mutable_data<double>(lists.scores)),
        rows_(mutable_data<int64_t>(lists.rows)) {
    if (!ranking.choice.candidates) {
      others_ = popular_;
      others_count_ = items_;
      return;
    }
    candidates_ = sorted_candidates(*ranking.choice.candidates, items_);
    allowed_.resize(items_);
    for (const int64_t row : candidates_) allowed_[row] = true;
    std::sort(candidates_.begin(), candidates_.end(), [&](int64_t a, int64_t b) { return before(a, b); });
    others_ = candidates_.data();
    others_count_ = candidates_.size();
  }

  // Writes the list of a session; `found` is room to work in.
  void write(int64_t session, const SparseValues<double>& scores, std::vector<int32_t>& found) const {
    found.clear();
    for (const int32_t row : scores.touched()) {
      if (is_wanted(session, row)) found.push_back(row);
    }
    const int64_t own = std::min<int64_t>(k_, found.size());
    const auto is_better = [&](int32_t a, int32_t b) {
      return scores[a] != scores[b] ? scores[a] > scores[b] : before(a, b);
    };
    if (own < static_cast<int64_t>(found.size())) {
      std::nth_element(found.begin(), found.begin() + own, found.end(), is_better);
    }
    std::sort(found.begin(), found.begin() + own, is_better);
    double* score = scores_ + session * k_;
    int64_t* row = rows_ + session * k_;
    int64_t place = 0;
    for (; place < own; ++place) {
      score[place] = scores[found[place]];
      row[place] = found[place];
    }
    for (int64_t i = 0; i < others_count_ && place < k_; ++i) {
      const int64_t other = others_[i];
      if (other < 0 || other >= items_ || scores[other] > 0 || excluded_.has(session, other)) continue;
      if (others_ == popular_ && rank_[other] != i) continue;  // so that no item is listed twice
      score[place] = 0;
      row[place++] = other;
    }
    for (; place < k_; ++place) {
      score[place] = -std::numeric_limits<double>::infinity();
      row[place] = -1;
    }
  }

 private:
  bool is_wanted(int64_t session, int32_t row) const {
    return (allowed_.empty() || allowed_[row]) && !excluded_.has(session, row);
  }

  bool before(int64_t a, int64_t b) const { return rank_[a] != rank_[b] ? rank_[a] < rank_[b] : a < b; }

  int64_t items_, k_;
  const int64_t* popular_;
  const int32_t* rank_;
  ExcludedRows excluded_;
  double* scores_;
  int64_t* rows_;
  std::vector<int64_t> candidates_;
  std::vector<bool> allowed_;
  const int64_t* others_ = nullptr;
  int64_t others_count_ = 0;
};

// Calls body(begin, end) for parts of the sessions on PyTorch's threads, with about as much to do in each.
template <class Body>
void for_session_parts(const std::vector<int64_t>& offsets, int64_t work_per_click, const Body& body) {
  const int64_t sessions = offsets.size() - 1;
  const auto cumulative = [&](int64_t b) { return offsets[b] - offsets[0] + b; };
  for_balanced_chunks(
      num_chunks(cumulative(sessions) * work_per_click), sessions, cumulative,
      [&](int64_t, int64_t begin, int64_t end) { body(begin, end); });
}

}  // namespace tagnn_fast::cpu
