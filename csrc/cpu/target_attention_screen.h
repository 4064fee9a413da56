// Which items can be among the best of a session: those whose bound (item_screen_kernel.h) reaches the k-th best of
// some real scores. They are scored as candidates are, so that lists are those of all items, to the bit.
#pragma once

#include <atomic>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "item_screen_rows.h"
#include "target_attention_lists.h"
#include "vectors.h"

namespace tagnn_fast::cpu {

class ItemScreen {
 public:
  ItemScreen(
      const TargetAttentionInputs& inputs, const TargetRows<float>& rows, const TopkChoice& choice,
      const ExcludedRows& excluded)
      : inputs_(inputs),
        rows_(rows),
        scored_(inputs, false, rows.rows() <= kFewRows ? TargetRows<float>::kBlockRows : 1),
        excluded_(excluded),
        screen_(data<uint8_t>(*choice.screen)),
        k_(choice.k),
        tried_(tried(choice.k)) {}

  // Whether the machine has fast products of bytes and the table is large enough.
  static bool pays(const TargetAttentionInputs& inputs, const TopkChoice& choice) {
    return bounds_of_machine() != nullptr && inputs.items >= std::max(kScreenedItems, 64 * tried(choice.k));
  }

  // Adds to the lists of a block's sessions what may be among their best; false where that may be too much.
  bool collect(int64_t block, BestRows<float>* lists) const {
    const std::vector<ScreenedSession> sessions = screened_sessions(block);
    if (sessions.empty()) return false;
    // Real scores of what has the highest bounds: few items' bounds reach the k-th best of those.
    std::vector<float> largest(sessions.size() * screen_blocks(inputs_.items));
    const std::vector<Bounds> best = highest(block, sessions, largest.data());
    expect_of_table(best.front());
    const std::vector<Bounds> left = reaching(block, sessions, largest.data(), real_thresholds(block, best));
    if (left.empty()) return false;
    score(block, left, [&](int64_t) { return lists; });
    return true;
  }

 private:
  using Bounds = std::vector<ScoredRow<float>>;  // a session's items, each with its bound
  using Kernel = decltype(ItemScreenKernels::bounds);

  static Kernel bounds_of_machine() {
#if defined(__x86_64__)
    static const bool has_vnni = __builtin_cpu_supports("avx512vnni");
    if (cpu_capability() > CpuCapability::kAvx2 && !has_vnni) return item_screen_avx2.bounds;
#elif defined(__aarch64__)
    static const bool has_dot_products = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    if (!has_dot_products) return nullptr;
#endif
    return TAGNN_FAST_KERNELS(item_screen).bounds;
  }

  // Fewer are scored faster than screened.
  static constexpr int64_t kScreenedItems = 8192;

  static int64_t tried(int64_t k) { return k + k / 2 + 32; }

  // Nothing where a vector is so long, or not finite, that products may overflow.
  std::vector<ScreenedSession> screened_sessions(int64_t index) const {
    const TargetBlock<float> block = rows_.block(index);
    std::vector<ScreenedSession> sessions;
    for (int64_t i = 0; i < block.rows * inputs_.hidden; ++i) {
      if (!(std::fabs(block.panels[i]) <= kLargestScreenedNorm / kMostScreenedUnits)) return sessions;
    }
    for (int64_t b = 0; b < block.sessions; ++b) {
      const int64_t first = block.first_row[b], entries = (block.first_row[b + 1] - first) / 2 + 1;
      sessions.emplace_back(block, first, entries, rows_.loops().panel_rows, inputs_.hidden);
    }
    return sessions;
  }

  // Of each session those that have the highest bounds, and the largest bound of each block of items, session after
  // session.
  std::vector<Bounds> highest(int64_t block, const std::vector<ScreenedSession>& sessions, float* largest) const {
    const int64_t size = screen_block_bytes(inputs_.hidden), blocks = screen_blocks(inputs_.items);
    const int64_t parts = item_parts(rows_, inputs_.items, inputs_.hidden), count = sessions.size();
    std::vector<BestRows<float>> lists(parts * count);
    for_item_parts(parts, inputs_.items, [&](int64_t part, int64_t begin, int64_t end) {
      float bounds[kScreenChunk * kScreenItems];
      const int64_t end_block = screen_blocks(end);
      for (int64_t first = begin / kScreenItems; first < end_block; first += kScreenChunk) {
        const int64_t chunk = std::min(kScreenChunk, end_block - first);
        for (int64_t b = 0; b < count; ++b) {
          float* tops = largest + b * blocks + first;
          bounds_(sessions[b].rows(), screen_ + first * size, chunk, bounds, tops);
          BestRows<float>& list = lists[part * count + b];
          for (int64_t i = 0; i < chunk; ++i) {
            if (tops[i] <= list.threshold()) continue;
            const int64_t item = (first + i) * kScreenItems;
            for (int64_t j = 0; j < std::min(kScreenItems, end - item); ++j) {
              const float bound = bounds[i * kScreenItems + j];
              if (bound <= list.threshold() || excluded_.has(rows_.first_session(block) + b, item + j)) continue;
              list.add(bound, item + j, tried_);
            }
          }
        }
      }
    });
    std::vector<Bounds> best(count);
    for (int64_t i = 0; i < parts * count; ++i) lists[i].append_to(best[i % count]);
    for (Bounds& bounds : best) keep_highest(bounds);
    return best;
  }

  void keep_highest(Bounds& bounds) const {
    if (static_cast<int64_t>(bounds.size()) <= tried_) return;
    std::nth_element(bounds.begin(), bounds.begin() + tried_, bounds.end(), BestFirst());
    bounds.resize(tried_);
  }

  // Scores items of each session of a block, together where the kernel does; lists(items) are what they are added to.
  template <class Lists>
  void score(int64_t block, const std::vector<Bounds>& of_sessions, const Lists& lists) const {
    const int64_t begin = rows_.first_session(block), end = rows_.first_session(block + 1);
    for (int64_t scored = 0; scored < scored_.blocks(); ++scored) {
      const int64_t first = scored_.first_session(scored);
      if (first < begin || first >= end) continue;
      std::vector<int64_t> items;
      for (int64_t b = first; b < scored_.first_session(scored + 1); ++b) {
        for (const ScoredRow<float>& bound : of_sessions[b - begin]) items.push_back(bound.row);
      }
      std::sort(items.begin(), items.end());
      items.erase(std::unique(items.begin(), items.end()), items.end());
      const int64_t count = items.size();
      collect_all(inputs_, scored_, {scored, scored + 1, items.data(), count}, k_, excluded_, lists(count));
    }
  }

  // The k-th best score of each session among some items; not a number where there are no k.
  std::vector<float> real_thresholds(int64_t block, const std::vector<Bounds>& of_sessions) const {
    std::vector<BestRows<float>> lists;
    score(block, of_sessions, [&](int64_t items) {
      lists.resize(std::max<size_t>(lists.size(), item_parts(scored_, items, inputs_.hidden) * inputs_.sessions));
      return lists.data();
    });
    std::vector<float> thresholds;
    for (size_t b = 0; b < of_sessions.size(); ++b) {
      BestRows<float> all;
      for (size_t i = rows_.first_session(block) + b; i < lists.size(); i += inputs_.sessions) all.append(lists[i]);
      all.keep_best(k_);
      thresholds.push_back(all.threshold());
    }
    return thresholds;
  }

  // All items whose bounds reach a session's threshold; nothing where these are too many.
  std::vector<Bounds> reaching(
      int64_t block, const std::vector<ScreenedSession>& sessions, const float* largest,
      const std::vector<float>& thresholds) const {
    const int64_t size = screen_block_bytes(inputs_.hidden), blocks = screen_blocks(inputs_.items);
    const int64_t parts = item_parts(rows_, inputs_.items, inputs_.hidden), count = sessions.size();
    const int64_t* of_rows = rows_.block(block).first_row;
    const int64_t most = most_left() * of_rows[count];
    std::vector<Bounds> found(parts * count);
    std::atomic<int64_t> products{0};
    for_item_parts(parts, inputs_.items, [&](int64_t part, int64_t begin, int64_t end) {
      float bounds[kScreenItems], top;
      for (int64_t at = begin / kScreenItems; at < screen_blocks(end); ++at) {
        for (int64_t b = 0; b < count; ++b) {
          if (largest[b * blocks + at] < thresholds[b] || products.load(std::memory_order_relaxed) > most) continue;
          bounds_(sessions[b].rows(), screen_ + at * size, 1, bounds, &top);
          Bounds& left = found[part * count + b];
          const int64_t before = left.size(), item = at * kScreenItems;
          for (int64_t i = 0; i < std::min(kScreenItems, end - item); ++i) {
            if (!(bounds[i] < thresholds[b])) left.push_back({bounds[i], item + i});
          }
          products.fetch_add((left.size() - before) * (of_rows[b + 1] - of_rows[b]), std::memory_order_relaxed);
        }
      }
    });
    if (products > most) return {};
    for (int64_t i = count; i < parts * count; ++i) {
      found[i % count].insert(found[i % count].end(), found[i].begin(), found[i].end());
    }
    found.resize(count);
    return found;
  }

  // What can be left for a session, on average, for the screen to pay. Few rows are scored where the items lie; for
  // others each item is packed, for all sessions or for one.
  int64_t most_left() const { return 2 * tried_ + inputs_.items / (rows_.rows() <= kFewRows ? 8 : 32); }

  // Looks at a few items: a screen of other vectors would leave out what is best.
  void expect_of_table(const Bounds& bounds) const {
    for (size_t i = 0; i < bounds.size(); i += bounds.size() / 4 + 1) {
      check_value(
          is_screened(bounds[i].row), "screen", "what item_screen makes of this table", "that of other item vectors");
    }
  }

  bool is_screened(int64_t row) const {
    const uint8_t* block = screen_ + row / kScreenItems * screen_block_bytes(inputs_.hidden);
    const float* head = reinterpret_cast<const float*>(block) + row % kScreenItems;
    const uint8_t* bytes = block + kScreenHead + row % kScreenItems * kScreenUnits;
    double error = 0;
    for (int64_t c = 0; c < inputs_.hidden; ++c) {
      const int64_t place = row * inputs_.hidden + c;
      const float unit = inputs_.bfloat16_table ? from_bfloat16<float>(data<uint16_t>(inputs_.table)[place])
                                                : data<float>(inputs_.table)[place];
      const int number = bytes[c / kScreenUnits * kScreenStep + c % kScreenUnits] - kScreenZero;
      const double rest = unit - static_cast<double>(head[0]) * number;
      error += rest * rest;
    }
    const double most = head[kScreenItems];
    return std::isinf(most) || error <= most * most;
  }

  const TargetAttentionInputs& inputs_;
  const TargetRows<float>& rows_;
  const TargetRows<float> scored_;  // the same, in blocks that are scored together
  const ExcludedRows& excluded_;
  const uint8_t* screen_;
  int64_t k_, tried_;  // the k-th of so many real scores is the threshold
  const Kernel bounds_ = bounds_of_machine();
};

// Fills the lists of as many blocks, from the first, as the screen answers; gives their number.
template <class T>
int64_t collect_screened(
    const TargetAttentionInputs& inputs, const TargetRows<T>& rows, const TopkChoice& choice,
    const ExcludedRows& excluded, BestRows<T>* lists) {
  if (!choice.screen) return 0;
  check_tensor(
      CpuOp::kBackend, *choice.screen, "screen", ScalarType::Byte,
      {screen_blocks(inputs.items), screen_block_bytes(inputs.hidden)});
  if constexpr (std::is_same_v<T, float>) {
    // Bounds allow for the roundings of float32, not for those of bfloat16 products.
    if (choice.candidates || rows.loops().planes > 0 || !ItemScreen::pays(inputs, choice)) return 0;
    const ItemScreen screen(inputs, rows, choice, excluded);
    int64_t block = 0;
    while (block < rows.blocks() && screen.collect(block, lists)) ++block;
    return block;
  }
  return 0;
}

}  // namespace tagnn_fast::cpu
