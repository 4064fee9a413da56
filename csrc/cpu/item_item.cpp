// Item-item models: a session's scores are a weighted sum of its items' rows in a sparse matrix. Threads share the
// sessions out; a session costs what its rows hold. See tagnn_fast/ops/item_item.py.

#include "item_scores.h"

namespace tagnn_fast::cpu {
namespace {

struct ItemItemInputs {
  Tensor items, offsets, click_weights, row_offsets, columns, values;
  ItemRanking ranking;
  int64_t sessions = 0;

  void check() {
    constexpr Backend backend = CpuOp::kBackend;
    check_tensor(backend, items, "items", ScalarType::Long, {kAnySize});
    check_tensor(backend, offsets, "offsets", ScalarType::Long, {kAnySize});
    check_value(offsets.size(0) >= 1, "offsets", "at least one value", offsets.size(0));
    sessions = offsets.size(0) - 1;
    ranking.check(sessions);
    check_tensor(backend, click_weights, "click_weights", ScalarType::Double, {items.size(0)});
    check_tensor(backend, row_offsets, "row_offsets", ScalarType::Long, {ranking.items + 1});
    check_tensor(backend, columns, "columns", ScalarType::Int, {kAnySize});
    check_tensor(backend, values, "values", ScalarType::Float, {columns.size(0)});
    make_contiguous({&items, &offsets, &click_weights, &row_offsets, &columns, &values});
  }
};

std::tuple<Tensor, Tensor> item_item_topk(
    const Tensor& items, const Tensor& offsets, const Tensor& click_weights, const Tensor& row_offsets,
    const Tensor& columns, const Tensor& values, const Tensor& popular, const Tensor& popularity_rank, int64_t k,
    std::optional<Tensor> candidates, std::optional<Tensor> excluded, std::optional<Tensor> excluded_offsets) {
  ItemItemInputs inputs{
      items,
      offsets,
      click_weights,
      row_offsets,
      columns,
      values,
      {popular, popularity_rank, {k, candidates, excluded, excluded_offsets}}};
  inputs.check();
  const int64_t sessions = inputs.sessions, count = inputs.ranking.items;
  RankedLists lists(inputs.ranking, sessions);
  const ItemLists writer(inputs.ranking, sessions, lists);
  const auto first_click = clamped_offsets(data<int64_t>(inputs.offsets), sessions, inputs.items.size(0));
  const int64_t *item = data<int64_t>(inputs.items), *row_offset = data<int64_t>(inputs.row_offsets);
  const double* weight = data<double>(inputs.click_weights);
  const int32_t* column = data<int32_t>(inputs.columns);
  const float* value = data<float>(inputs.values);
  const int64_t entries = inputs.columns.size(0);
  constexpr int64_t kWorkPerClick = 256;
  for_session_parts(first_click, kWorkPerClick, [&](int64_t begin, int64_t end) {
    SparseValues<double> scores(count);
    std::vector<int32_t> found;
    for (int64_t b = begin; b < end; ++b) {
      for (int64_t t = first_click[b]; t < first_click[b + 1]; ++t) {
        if (item[t] < 1 || item[t] > count || weight[t] == 0) continue;
        const int64_t first = std::clamp<int64_t>(row_offset[item[t] - 1], 0, entries);
        const int64_t last = std::clamp<int64_t>(row_offset[item[t]], first, entries);
        for (int64_t i = first; i < last; ++i) {
          const double product = weight[t] * value[i];
          if (column[i] >= 0 && column[i] < count && product > 0) scores.add(column[i], product);
        }
      }
      writer.write(b, scores, found);
      scores.clear();
    }
  });
  return {lists.scores, lists.rows};
}

}  // namespace
}  // namespace tagnn_fast::cpu

// For every device, to refuse others than the CPU in our own words.
TAGNN_FAST_REGISTER(CompositeExplicitAutograd, library) {
  library.impl("item_item_topk", TORCH_BOX(&tagnn_fast::cpu::item_item_topk));
}
