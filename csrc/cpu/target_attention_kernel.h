// Loops of target attention, one table per instruction set.
//
// A session's softmax is over its entries: nodes, and the padded positions as one. Both the softmax and its weights'
// sum allow a shift, so one entry, the reference, has logit 0 and no key, and session vectors are added to the values.
// A session with E entries beside the reference takes 2E + 1 rows: values of the reference and of the others, then keys
// of the others. Its score for item vector v is
//
//     Σ_e β_e (value_e · v),  β_e ∝ multiplicity_e · 2^(key_e · v),  key_0 = 0
//
// Items are cut into tiles. A tile's products with a block of rows stay in the cache until they are used up.
#pragma once

#include <cstdint>

#include "capability.h"

namespace tagnn_fast::cpu {

constexpr int64_t kTileItems = 96;
constexpr int64_t kFewRows = 14;
constexpr int64_t kRowsTogether = 16;  // what products and row gradients have room for at the end of a block

// Consecutive sessions whose rows are processed together.
template <class T>
struct TargetBlock {
  int64_t sessions, rows;
  const int64_t* first_row;  // of each session, and the end; counted from the block's first
  const T* multiplicities;   // of all entries
  const T* panels;           // rows in panels of panel_rows, unit after unit; keys scaled to base 2
  const T* row_major;        // (rows, hidden), keys unscaled; for backward
  // In place of both for loops with planes of bfloat16 numbers (see bfloat16_operands.h):
  const uint16_t* lines;       // of units: rows, keys scaled to base 2
  const uint16_t* unit_lines;  // of rows: units, keys unscaled; for backward
};

// What one thread works with on one tile.
template <class T>
struct TargetTile {
  int64_t first, items;  // which of the catalogue; at most kTileItems
  int64_t hidden;
  T* transposed;       // panels of the tile's item vectors, unit after unit
  T* padded;           // (kTileItems, padded hidden); for backward
  T* grad_transposed;  // like transposed; for backward
  T* products;         // room for (rows, kTileItems), rows rounded up to kRowsTogether
  T* scores;           // (sessions of the block, kTileItems)
  // In place of the first two for loops with planes of bfloat16 numbers (see bfloat16_operands.h):
  uint16_t* pairs;       // of units: the tile's items
  uint16_t* item_pairs;  // of items: units; for backward
  uint16_t* grad_lines;  // of items: gradients of products; for backward
  uint16_t* grad_pairs;  // of rows: the same
};

// What turns scores into their gradients, from a block's first session on.
template <class T>
struct CrossEntropyPart {
  const T* grads;  // of each session's loss; null where tile.scores already holds the gradients
  const int64_t* targets;
  const T* normalizer;  // of each session: the largest score, and the logarithm of the sum of exp(score - largest)
};

template <class T>
struct TargetAttentionLoops {
  // Reads kTileItems item vectors, from wherever they lie; `padded` as well where it is not null.
  void (*pack)(const T* const* vectors, const TargetTile<T>& tile);
  void (*pack_bfloat16)(const uint16_t* const* vectors, const TargetTile<T>& tile);
  // Fills tile.scores.
  void (*score)(const TargetBlock<T>& block, const TargetTile<T>& tile);
  // The same for few rows, which are not worth packing items for: items are read where they lie, one after the other.
  // For 1 to kFewRows rows, and hidden units of 16 bytes or more.
  int64_t (*coefficients_size)(int64_t rows, int64_t hidden);
  void (*prepare_few)(const TargetBlock<T>& block, int64_t hidden, T* coefficients);
  void (*score_few)(const TargetBlock<T>& block, const TargetTile<T>& tile, const T* coefficients, const T* items);
  void (*score_few_bfloat16)(
      const TargetBlock<T>& block, const TargetTile<T>& tile, const T* coefficients, const uint16_t* items);
  // After either. Updates lane-wise maxima and sums of exp(score - maximum), (sessions, lanes) each.
  void (*log_sum_exp)(const TargetTile<T>& tile, int64_t sessions, T* maxima, T* sums);
  // After either. Whether each session has a score that is above its threshold or not a number.
  void (*exceeds)(const TargetTile<T>& tile, int64_t sessions, const T* thresholds, bool* result);
  // Adds to grad_rows (rows, padded hidden) and to tile.grad_transposed.
  void (*backward)(
      const TargetBlock<T>& block, const TargetTile<T>& tile, const CrossEntropyPart<T>& loss, T* grad_rows);
  // Writes the gradients of the tile's item vectors.
  void (*unpack)(const TargetTile<T>& tile, T* const* grads);
  int64_t panel_rows, lanes;
  // How many bfloat16 numbers stand for one; 0 where products are in the arithmetic of the inputs, and there are no
  // functions for few rows where not.
  int64_t planes = 0;
  // Fills lines of rows (rows, hidden), and unit_lines where there are any.
  void (*pack_rows)(
      const T* scaled, const T* unscaled, int64_t rows, int64_t hidden, uint16_t* lines,
      uint16_t* unit_lines) = nullptr;
};

struct TargetAttentionKernels {
  TargetAttentionLoops<float> float32;
  TargetAttentionLoops<double> float64;
};

TAGNN_FAST_DECLARE_KERNELS(TargetAttentionKernels, target_attention);

// Loops that round the operands of products to bfloat16.
struct TargetAttentionBFloat16Kernels {
  TargetAttentionLoops<float> one;  // one number for each float32
  TargetAttentionLoops<float> two;  // the sum of two, and three products
};

#if defined(__x86_64__)
extern const TargetAttentionBFloat16Kernels target_attention_bfloat16_avx512_bf16, target_attention_bfloat16_amx;
#endif

}  // namespace tagnn_fast::cpu
