// What a call asks of lists of the best, made safe from whatever values came.
#pragma once

#include "../target_attention.h"
#include "sessions.h"

namespace tagnn_fast::cpu {

// Rows that a session must not get: often its few own ones, sometimes thousands that are out of stock.
class ExcludedRows {
 public:
  ExcludedRows(int64_t sessions, const TopkChoice& choice) {
    if (choice.repeat_rows) {
      repeats_ = data<int64_t>(*choice.repeat_rows);
      repeats_of_each_ = choice.repeat_rows->size(1);
    }
    if (!choice.excluded) return;
    const int64_t *rows = data<int64_t>(*choice.excluded), size = choice.excluded->size(0);
    offsets_ = clamped_offsets(data<int64_t>(*choice.excluded_offsets), sessions, size);
    rows_.assign(rows, rows + size);
    for (int64_t b = 0; b < sessions; ++b) {
      if (is_long(b)) std::sort(rows_.begin() + offsets_[b], rows_.begin() + offsets_[b + 1]);
    }
  }

  // Rows whose scores something is added to are not to be found with the others, either.
  bool has(int64_t session, int64_t row) const {
    const int64_t *repeats = repeats_ + session * repeats_of_each_, *end = repeats + repeats_of_each_;
    return std::find(repeats, end, row) != end || is_given(session, row);
  }

  bool is_given(int64_t session, int64_t row) const {
    if (offsets_.empty()) return false;
    const auto begin = rows_.begin() + offsets_[session], end = rows_.begin() + offsets_[session + 1];
    return is_long(session) ? std::binary_search(begin, end, row) : std::find(begin, end, row) != end;
  }

 private:
  bool is_long(int64_t session) const { return offsets_[session + 1] - offsets_[session] > 16; }

  std::vector<int64_t> rows_, offsets_;
  const int64_t* repeats_ = nullptr;
  int64_t repeats_of_each_ = 0;
};

// Rows of the table in rising order, each once; those outside it are left out.
inline std::vector<int64_t> sorted_candidates(const Tensor& candidates, int64_t items) {
  const int64_t* rows = data<int64_t>(candidates);
  std::vector<int64_t> sorted(rows, rows + candidates.size(0));
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  const auto inside = std::lower_bound(sorted.begin(), sorted.end(), 0);
  return {inside, std::lower_bound(inside, sorted.end(), items)};
}

}  // namespace tagnn_fast::cpu
