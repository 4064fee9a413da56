// What scores, top-k and cross-entropy share: sessions as rows, the walk over tiles and blocks.
#pragma once

#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <optional>

#include "../constants.h"
#include "../target_attention.h"
#include "bfloat16_operands.h"
#include "sessions.h"
#include "target_attention_kernel.h"

namespace tagnn_fast::cpu {

// Memory that vectors never straddle a cache line of.
template <class T>
class AlignedBuffer {
 public:
  explicit AlignedBuffer(int64_t size) {
    const size_t bytes = (std::max<int64_t>(1, size) * sizeof(T) + 63) / 64 * 64;
    memory_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (memory_ == nullptr) throw std::bad_alloc();
  }
  T* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T, Free> memory_;
};

// The loops for products of that precision. Those of few rows are bound by reading items: nothing is to be gained
// there.
template <class T>
const TargetAttentionLoops<T>& loops_of_precision([[maybe_unused]] int64_t precision, [[maybe_unused]] int64_t rows) {
#if defined(__x86_64__)
  if constexpr (std::is_same_v<T, float>) {
    if (precision > 0 && rows > kFewRows && cpu_capability() >= CpuCapability::kAvx512Bf16) {
      const auto& kernels = cpu_capability() == CpuCapability::kAmx ? target_attention_bfloat16_amx
                                                                    : target_attention_bfloat16_avx512_bf16;
      const auto& loops = precision == 1 ? kernels.two : kernels.one;
      if (loops.planes > 0) return loops;
    }
  }
#endif
  return loops_for<T>(TAGNN_FAST_KERNELS(target_attention));
}

// The sessions as rows; see target_attention_kernel.h.
template <class T>
class TargetRows {
 public:
  static constexpr int64_t kBlockRows = 96;

  // Blocks of a session, and of more as long as these have no more rows together.
  TargetRows(const TargetAttentionInputs& inputs, bool for_backward, int64_t block_rows = kBlockRows)
      : inputs_(inputs),
        for_backward_(for_backward),
        first_row_(find_entries()),
        loops_(loops_of_precision<T>(inputs.precision, rows())),
        lines_(cut_blocks(block_rows) * loops_.planes * filled_up(inputs.hidden, kLineSteps)),
        unit_lines_(for_backward ? filled_rows(blocks()) * loops_.planes * filled_up(inputs.hidden, 16) : 0) {
    if (loops_.planes == 0) panels_.resize(rows() * inputs.hidden);
    if (loops_.planes == 0 && for_backward) row_major_.resize(panels_.size());
    for_balanced_chunks(
        num_chunks(rows() * inputs.hidden), blocks(), [&](int64_t block) { return first_row_[cuts_[block]]; },
        [&](int64_t, int64_t begin, int64_t end) {
          for (int64_t block = begin; block < end; ++block) fill_block(block);
        });
  }

  const TargetAttentionLoops<T>& loops() const { return loops_; }
  int64_t rows() const { return first_row_.back(); }
  int64_t blocks() const { return cuts_.size() - 1; }
  int64_t first_session(int64_t block) const { return cuts_[block]; }
  int64_t first_row(int64_t session) const { return first_row_[session]; }
  int64_t padded_hidden() const { return (inputs_.hidden + loops_.lanes - 1) / loops_.lanes * loops_.lanes; }
  int64_t most_rows() const { return most_rows_; }
  int64_t most_sessions() const { return most_sessions_; }

  TargetBlock<T> block(int64_t index) const {
    const int64_t first = first_session(index), row = first_row(first);
    const size_t start = row * inputs_.hidden;
    return {
        first_session(index + 1) - first,
        first_row(first_session(index + 1)) - row,
        block_rows_.data() + first + index,
        multiplicities_.data() + first_entry(first),
        panels_.empty() ? nullptr : panels_.data() + start,
        row_major_.empty() ? nullptr : row_major_.data() + start,
        lines(index),
        unit_lines(index)};
  }

  // Takes the gradients of the rows, (rows, padded hidden), to those of the inputs they were made of.
  void scatter(const T* grad_rows, T* grad_session, T* grad_keys, T* grad_values) const {
    const int64_t hidden = inputs_.hidden, width = padded_hidden();
    for (int64_t b = 0; b < inputs_.sessions; ++b) {
      const int64_t* slots = slots_.data() + first_entry(b);
      const int64_t others = entries(b) - 1;
      const T* row = grad_rows + first_row(b) * width;
      T* __restrict__ session = grad_session + b * hidden;
      std::fill_n(session, hidden, T(0));
      for (int64_t e = 0; e <= others; ++e, row += width) {
        for (int64_t c = 0; c < hidden; ++c) session[c] += row[c];
        if (slots[e] != kNoSlot) std::copy_n(row, hidden, grad_values + slots[e] * hidden);
      }
      for (int64_t e = 1; e <= others; ++e, row += width) {
        std::copy_n(row, hidden, grad_keys + slots[e] * hidden);
        if (slots[0] == kNoSlot) continue;
        T* __restrict__ reference = grad_keys + slots[0] * hidden;
        for (int64_t c = 0; c < hidden; ++c) reference[c] -= row[c];
      }
    }
  }

 private:
  int64_t first_entry(int64_t session) const { return (first_row(session) + session) / 2; }  // E + 1 of 2E + 1 rows
  int64_t entries(int64_t session) const { return first_entry(session + 1) - first_entry(session); }

  std::vector<int64_t> find_entries() {
    const auto offsets = clamped_offsets(data<int64_t>(inputs_.slot_offsets), inputs_.sessions, inputs_.slots);
    const int64_t *clicks = data<int64_t>(inputs_.clicks), *padding = data<int64_t>(inputs_.padding);
    std::vector<int64_t> first_row{0};
    first_row.reserve(inputs_.sessions + 1);
    for (int64_t b = 0; b < inputs_.sessions; ++b) {
      const size_t before = slots_.size();
      if (padding[b] > 0) add_entry(kNoSlot, padding[b]);
      for (int64_t slot = offsets[b]; slot < offsets[b + 1]; ++slot) {
        if (clicks[slot] > 0) add_entry(slot, clicks[slot]);
      }
      if (slots_.size() == before) add_entry(kNoSlot, 1);
      first_row.push_back(first_row.back() + 2 * (slots_.size() - before) - 1);
    }
    return first_row;
  }

  void add_entry(int64_t slot, int64_t multiplicity) {
    slots_.push_back(slot);
    multiplicities_.push_back(multiplicity);
  }

  // Rows of blocks that are filled up with zeros.
  int64_t cut_blocks(int64_t block_rows) {
    cuts_.push_back(0);
    for (int64_t b = 1; b <= inputs_.sessions; ++b) {
      const int64_t rows = first_row(b) - first_row(cuts_.back());
      if (b < inputs_.sessions && first_row(b + 1) - first_row(cuts_.back()) <= block_rows) continue;
      for (int64_t s = cuts_.back(); s <= b; ++s) block_rows_.push_back(first_row(s) - first_row(cuts_.back()));
      most_rows_ = std::max(most_rows_, rows);
      most_sessions_ = std::max(most_sessions_, b - cuts_.back());
      cuts_.push_back(b);
    }
    return filled_rows(blocks());
  }

  // Where a block's rows begin, with room for all before it to be filled up.
  int64_t filled_rows(int64_t block) const {
    return filled_up(first_row(first_session(block)) + block * kLineSteps, kLineSteps);
  }

  uint16_t* lines(int64_t block) const {
    return lines_.data() + filled_rows(block) * loops_.planes * filled_up(inputs_.hidden, kLineSteps);
  }
  uint16_t* unit_lines(int64_t block) const {
    if (!for_backward_) return nullptr;
    return unit_lines_.data() + filled_rows(block) * loops_.planes * filled_up(inputs_.hidden, 16);
  }

  void fill_block(int64_t index) {
    const int64_t hidden = inputs_.hidden, first = first_session(index), end = first_session(index + 1);
    const int64_t rows = first_row(end) - first_row(first);
    T* panels = panels_.data() + first_row(first) * hidden;
    std::vector<T> scaled, unscaled;  // of the block, for loops that pack rows themselves
    if (loops_.planes > 0) scaled.resize(rows * hidden);
    if (loops_.planes > 0 && for_backward_) unscaled.resize(rows * hidden);
    int64_t row = 0;
    const auto add = [&](const T* x, const T* y, T sign, T scale) {
      const int64_t panel_rows = loops_.planes > 0 ? 1 : loops_.panel_rows;
      const int64_t panel = row / panel_rows * panel_rows, width = std::min(panel_rows, rows - panel);
      T* to = scaled.empty() ? panels + panel * hidden + (row - panel) : scaled.data() + row * hidden;
      T* plain = nullptr;
      if (!row_major_.empty()) plain = row_major_.data() + (first_row(first) + row) * hidden;
      if (!unscaled.empty()) plain = unscaled.data() + row * hidden;
      for (int64_t c = 0; c < hidden; ++c) {
        const T value = (x == nullptr ? T(0) : x[c]) + (y == nullptr ? T(0) : sign * y[c]);
        to[c * width] = scale * value;
        if (plain != nullptr) plain[c] = value;
      }
      ++row;
    };
    const auto vector = [&](const Tensor& rows_of, int64_t slot) {
      return slot == kNoSlot ? nullptr : data<T>(rows_of) + slot * hidden;
    };
    for (int64_t b = first; b < end; ++b) {
      const int64_t* slots = slots_.data() + first_entry(b);
      const int64_t count = entries(b);
      for (int64_t e = 0; e < count; ++e) add(vector(inputs_.values, slots[e]), vector(inputs_.session, b), 1, 1);
      for (int64_t e = 1; e < count; ++e) {
        add(vector(inputs_.keys, slots[e]), vector(inputs_.keys, slots[0]), -1, kLog2E);
      }
    }
    if (loops_.planes == 0) return;
    loops_.pack_rows(
        scaled.data(), unscaled.empty() ? nullptr : unscaled.data(), rows, hidden, lines(index), unit_lines(index));
  }

  // In the order that they are found in.
  const TargetAttentionInputs& inputs_;
  const bool for_backward_;
  std::vector<int64_t> slots_;            // of each entry; the reference comes first
  std::vector<T> multiplicities_;         // of each entry
  const std::vector<int64_t> first_row_;  // of each session, and the end
  const TargetAttentionLoops<T>& loops_;
  std::vector<int64_t> cuts_;        // first session of each block, and the end
  std::vector<int64_t> block_rows_;  // first rows of a block's sessions, counted from the block's, and the end
  int64_t most_rows_ = 0, most_sessions_ = 0;
  std::vector<T> panels_, row_major_;  // or, of loops with bfloat16 planes, which fill up a block with zeros:
  const AlignedBuffer<uint16_t> lines_, unit_lines_;
};

// One thread's memory for a tile, and where its item vectors lie.
template <class T>
class TargetTileWork {
 public:
  TargetTileWork(const TargetAttentionInputs& inputs, const TargetRows<T>& rows, bool for_backward)
      : inputs_(inputs),
        rows_(rows),
        planes_(rows.loops().planes),
        transposed_(planes_ > 0 ? 0 : kTileItems * inputs.hidden),
        padded_(planes_ == 0 && for_backward ? kTileItems * rows.padded_hidden() : 0),
        grad_transposed_(for_backward ? kTileItems * rows.padded_hidden() : 0),
        products_(filled_up(rows.most_rows(), kRowsTogether) * kTileItems),
        pairs_(planes_ * plane_size(inputs.hidden, kTileItems)),
        item_pairs_(for_backward ? planes_ * plane_size(kTileItems, inputs.hidden) : 0),
        grad_lines_(for_backward ? planes_ * plane_size(kTileItems, rows.most_rows()) : 0),
        grad_pairs_(for_backward ? planes_ * plane_size(rows.most_rows(), kTileItems) : 0),
        scores_(rows.most_sessions() * kTileItems),
        zeros_(inputs.hidden),
        few_(!for_backward && rows.rows() <= kFewRows && inputs.hidden * int64_t{sizeof(T)} >= 16),
        coefficients_(few_ ? rows.loops().coefficients_size(rows.rows(), inputs.hidden) : 0) {
    if (few_ && rows.blocks() > 0) rows.loops().prepare_few(rows.block(0), inputs.hidden, coefficients_.data());
    tile = {
        0,
        0,
        inputs.hidden,
        transposed_.data(),
        for_backward ? padded_.data() : nullptr,
        grad_transposed_.data(),
        products_.data(),
        scores_.data(),
        pairs_.data(),
        for_backward ? item_pairs_.data() : nullptr,
        grad_lines_.data(),
        grad_pairs_.data()};
  }

  // Goes to items `first` on, or to those that `candidates` holds there.
  void take(int64_t first, int64_t end, const int64_t* candidates = nullptr) {
    tile.first = first;
    tile.items = std::min(kTileItems, end - first);
    if (few_) {
      if (inputs_.bfloat16_table) bfloat16_items_ = few_items(bfloat16_copy_, candidates);
      else items_ = few_items(copy_, candidates);
    } else {
      if (inputs_.bfloat16_table) pack<uint16_t>(rows_.loops().pack_bfloat16, end, candidates);
      else pack<T>(rows_.loops().pack, end, candidates);
    }
  }

  // Fills tile.scores.
  void score(const TargetBlock<T>& block) {
    const auto& loops = rows_.loops();
    if (!few_) loops.score(block, tile);
    else if (inputs_.bfloat16_table) loops.score_few_bfloat16(block, tile, coefficients_.data(), bfloat16_items_);
    else loops.score_few(block, tile, coefficients_.data(), items_);
  }

  TargetTile<T> tile;

 private:
  int64_t row(int64_t item, const int64_t* candidates) const { return candidates == nullptr ? item : candidates[item]; }

  // The tile's vectors and those of the next one; zeros beyond the end.
  template <class Item, class Pack>
  void pack(const Pack& pack_vectors, int64_t end, const int64_t* candidates) {
    const Item* vectors[2 * kTileItems];
    for (int64_t i = 0; i < 2 * kTileItems; ++i) {
      vectors[i] = tile.first + i < end ? data<Item>(inputs_.table) + row(tile.first + i, candidates) * inputs_.hidden
                                        : reinterpret_cast<const Item*>(zeros_.data());
    }
    pack_vectors(vectors, tile);
  }

  // The tile's vectors one after the other: where they lie, or a copy of what does not lie so or ends early.
  template <class Item>
  const Item* few_items(std::vector<Item>& copy, const int64_t* candidates) {
    const Item* table = data<Item>(inputs_.table);
    if (candidates == nullptr && tile.items == kTileItems) return table + tile.first * inputs_.hidden;
    copy.assign(kTileItems * inputs_.hidden, Item(0));
    for (int64_t i = 0; i < tile.items; ++i) {
      const Item* from = table + row(tile.first + i, candidates) * inputs_.hidden;
      std::copy_n(from, inputs_.hidden, copy.data() + i * inputs_.hidden);
    }
    return copy.data();
  }

  const TargetAttentionInputs& inputs_;
  const TargetRows<T>& rows_;
  const int64_t planes_;
  AlignedBuffer<T> transposed_, padded_, grad_transposed_, products_;
  AlignedBuffer<uint16_t> pairs_, item_pairs_, grad_lines_, grad_pairs_;
  AlignedBuffer<T> scores_;
  std::vector<T> zeros_;
  bool few_;  // rows: then items are not packed
  AlignedBuffer<T> coefficients_;
  const T* items_ = nullptr;
  const uint16_t* bfloat16_items_ = nullptr;
  std::vector<T> copy_;
  std::vector<uint16_t> bfloat16_copy_;
};

// How many parts the items are cut into, and calls body(part, first item, end) for each; parts are whole tiles.
template <class T>
int64_t item_parts(const TargetRows<T>& rows, int64_t items, int64_t hidden) {
  const int64_t tiles = (items + kTileItems - 1) / kTileItems;
  return std::clamp<int64_t>(num_chunks(items * hidden * (rows.rows() + 1)), 1, std::max<int64_t>(1, tiles));
}

template <class Body>
void for_item_parts(int64_t parts, int64_t items, const Body& body) {
  for_balanced_chunks(
      parts, (items + kTileItems - 1) / kTileItems, [](int64_t tile) { return tile; },
      [&](int64_t part, int64_t begin, int64_t end) {
        body(part, begin * kTileItems, std::min(items, end * kTileItems));
      });
}

}  // namespace tagnn_fast::cpu
