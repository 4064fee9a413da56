// Items that something is added to the scores of: scored one by one, and put in with the best of all others.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "math.h"
#include "target_attention_lists.h"
#include "vectors.h"

namespace tagnn_fast::cpu {

// The score of one item, of this vector, for a session.
template <class T>
T score_of(const TargetAttentionInputs& inputs, int64_t session, int64_t begin, int64_t end, const T* item) {
  const int64_t hidden = inputs.hidden;
  const int64_t *clicks = data<int64_t>(inputs.clicks), padding = data<int64_t>(inputs.padding)[session];
  T largest = padding > 0 ? T{0} : -std::numeric_limits<T>::infinity();
  std::vector<T> logits(end - begin);
  for (int64_t slot = begin; slot < end; ++slot) {
    if (clicks[slot] <= 0) continue;
    logits[slot - begin] = dot(data<T>(inputs.keys) + slot * hidden, item, hidden);
    largest = std::max(largest, logits[slot - begin]);
  }
  T total = padding > 0 ? padding * std::exp(-largest) : T{0}, attended = 0;
  for (int64_t slot = begin; slot < end; ++slot) {
    if (clicks[slot] <= 0) continue;
    const T weight = clicks[slot] * std::exp(logits[slot - begin] - largest);
    total += weight;
    attended += weight * dot(data<T>(inputs.values) + slot * hidden, item, hidden);
  }
  const T direct = dot(data<T>(inputs.session) + session * hidden, item, hidden);
  return total > 0 || total != total ? direct + attended / total : direct;
}

// Adds a session's to what it chooses from; `candidates` are sorted.
template <class T>
void add_repeats(
    const TargetAttentionInputs& inputs, const TopkChoice& choice, const std::vector<int64_t>& candidates,
    const ExcludedRows& excluded, int64_t session, int64_t first_slot, int64_t end_slot,
    std::vector<ScoredRow<T>>& all) {
  if (!choice.repeat_rows) return;
  const int64_t count = choice.repeat_rows->size(1), hidden = inputs.hidden;
  const int64_t* rows = data<int64_t>(*choice.repeat_rows) + session * count;
  const T* logits = data<T>(*choice.repeat_logits) + session * count;
  std::vector<T> widened(inputs.bfloat16_table ? hidden : 0);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = rows[i];
    if (row < 0 || row >= inputs.items || std::find(rows, rows + i, row) != rows + i) continue;
    if (choice.candidates && !std::binary_search(candidates.begin(), candidates.end(), row)) continue;
    if (excluded.is_given(session, row)) continue;
    const T* item = widened.data();
    if (inputs.bfloat16_table) {
      const uint16_t* from = data<uint16_t>(inputs.table) + row * hidden;
      for (int64_t c = 0; c < hidden; ++c) widened[c] = from_bfloat16<T>(from[c]);
    } else {
      item = data<T>(inputs.table) + row * hidden;
    }
    all.push_back({score_of(inputs, session, first_slot, end_slot, item) + logits[i], row});
  }
}

}  // namespace tagnn_fast::cpu
