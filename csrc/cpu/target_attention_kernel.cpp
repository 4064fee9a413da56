// Target attention in the arithmetic of the inputs: one register-blocked product serves scores and both gradients.

#include "target_attention_kernel.h"

#include "target_attention_few_rows.h"
#include "target_attention_items.h"
#include "target_attention_products.h"
#include "target_attention_softmax.h"
#include "vectors.h"

namespace tagnn_fast::cpu {
namespace {

template <class T>
void score(const TargetBlock<T>& block, const TargetTile<T>& tile) {
  multiply_rows_by_items(block, tile);
  attend(block, tile);
}

template <class T, class Item>
void score_few(const TargetBlock<T>& block, const TargetTile<T>& tile, const T* coefficients, const Item* items) {
  const int64_t at_once = few_at_once(block.rows), size = steps<T>(tile.hidden) * kLanes<T>;
  for (int64_t item = 0; item < tile.items; item += kLanes<T>) {
    for (int64_t row = 0; row < block.rows; row += at_once) {
      multiply_few_rows<T>(
          smaller(at_once, block.rows - row), coefficients + row * size, items + item * tile.hidden, tile.hidden,
          tile.products + row * kTileItems + item);
    }
  }
  attend(block, tile);
}

template <class T>
void backward(const TargetBlock<T>& block, const TargetTile<T>& tile, const CrossEntropyPart<T>& loss, T* grad_rows) {
  multiply_rows_by_items(block, tile);
  differentiate(block, tile, loss);
  add_row_gradients(block, tile, grad_rows);
  add_item_gradients(block, tile);
}

template <class T>
inline Vector<T> load_item(const T* from) {
  return load(from);
}
template <class T>
inline Vector<T> load_item(const uint16_t* from) {
  Vector<T> result;
  for (int l = 0; l < kLanes<T>; ++l) result[l] = from_bfloat16<T>(from[l]);
  return result;
}

template <class T, class Item>
void pack(const Item* const* vectors, const TargetTile<T>& tile) {
  constexpr int kSize = kLanes<T>;
  const int64_t hidden = tile.hidden, width = padded_hidden<T>(hidden);
  for (int64_t item = 0; item < kTileItems; item += kSize) {
    T* to = tile.transposed + item / kPanelItems<T> * kPanelItems<T> * hidden + item % kPanelItems<T>;
    int64_t unit = 0;
    while (hidden >= kSize && unit < hidden) {
      const int64_t fetched = smaller((unit + kSize) * kSize / hidden, kSize);
      fetch_ahead(vectors + item + kTileItems, unit * kSize / hidden, fetched, hidden);
      unit = smaller(unit, hidden - kSize);  // the last square may overlap the one before
      Vector<T> square[kSize];
#pragma GCC unroll 16
      for (int i = 0; i < kSize; ++i) square[i] = load_item<T>(vectors[item + i] + unit);
      transpose_square<T>(square);
#pragma GCC unroll 16
      for (int i = 0; i < kSize; ++i) store(to + (unit + i) * kPanelItems<T>, square[i]);
      unit += kSize;
    }
    for (; unit < hidden; ++unit) {
      for (int i = 0; i < kSize; ++i) {
        T one[kSize] = {};
        Item from[kSize] = {vectors[item + i][unit]};
        store(one, load_item<T>(from));
        to[unit * kPanelItems<T> + i] = one[0];
      }
    }
  }
  if (tile.padded == nullptr) return;
  for (int64_t item = 0; item < tile.items; ++item) {
    for (int64_t unit = 0; unit < hidden; ++unit) {
      if constexpr (sizeof(Item) == sizeof(T)) tile.padded[item * width + unit] = vectors[item][unit];
    }
    for (int64_t unit = hidden; unit < width; ++unit) tile.padded[item * width + unit] = 0;
  }
}

}  // namespace

extern const TargetAttentionKernels TAGNN_FAST_THIS_TABLE(target_attention){
    {pack<float, float>, pack<float, uint16_t>, score<float>, coefficients_size<float>, prepare_few<float>,
     score_few<float, float>, score_few<float, uint16_t>, log_sum_exp<float>, exceeds<float>, backward<float>,
     unpack<float, kPanelItems<float>>, kRows, kLanes<float>},
    {pack<double, double>, pack<double, uint16_t>, score<double>, coefficients_size<double>, prepare_few<double>,
     score_few<double, double>, score_few<double, uint16_t>, log_sum_exp<double>, exceeds<double>, backward<double>,
     unpack<double, kPanelItems<double>>, kRows, kLanes<double>}};

}  // namespace tagnn_fast::cpu
