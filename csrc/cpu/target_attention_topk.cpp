// The best k items of each session. Threads share the items out; their lists are merged at the end. With the item
// screen few items are left to be scored.

#include "repeated_rows.h"
#include "target_attention_lists.h"
#include "target_attention_screen.h"

namespace tagnn_fast::cpu {
namespace {

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
      const int64_t screened = collect_screened(inputs, rows, choice, excluded, lists.data());
      collect_all(inputs, rows, {screened, rows.blocks(), chosen, items}, k, excluded, lists.data());
    }
    const auto slots = clamped_offsets(data<int64_t>(inputs.slot_offsets), inputs.sessions, inputs.slots);
    std::vector<ScoredRow<T>> all;
    for (int64_t b = 0; b < inputs.sessions; ++b) {
      all.clear();
      for (int64_t part = 0; part < parts; ++part) {
        lists[part * inputs.sessions + b].append_to(all);
      }
      if (k > 0) add_repeats(inputs, choice, candidates, excluded, b, slots[b], slots[b + 1], all);
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
