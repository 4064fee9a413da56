// What a call asks of lists of the best, made safe from whatever values came.
#pragma once

#include "../target_attention.h"
#include "sessions.h"

namespace tagnn_fast::cpu {

// Rows that a session must not get.
class ExcludedRows {
 public:
  ExcludedRows(int64_t sessions, const TopkChoice& choice) {
    if (!choice.excluded) return;
    rows_ = data<int64_t>(*choice.excluded);
    offsets_ = clamped_offsets(data<int64_t>(*choice.excluded_offsets), sessions, choice.excluded->size(0));
  }

  bool has(int64_t session, int64_t row) const {
    if (offsets_.empty()) return false;
    const int64_t *begin = rows_ + offsets_[session], *end = rows_ + offsets_[session + 1];
    return std::find(begin, end, row) != end;
  }

 private:
  const int64_t* rows_ = nullptr;
  std::vector<int64_t> offsets_;
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
