// Target attention with the operands of its products rounded to bfloat16, or split into two such numbers; sums, softmax
// and gradients are float32. Rows are packed once per call, items once per tile, and gradients of products twice
// between the products that make and take them: along items and along rows.

#include "bfloat16_operands.h"
#include "bfloat16_products.h"
#include "target_attention_items.h"
#include "target_attention_kernel.h"
#include "target_attention_softmax.h"

namespace tagnn_fast::cpu {
namespace {

template <int kPlanes>
void pack_rows(
    const float* scaled, const float* unscaled, int64_t rows, int64_t hidden, uint16_t* lines, uint16_t* unit_lines) {
  const int64_t all_rows = filled_up(rows, 16), all_units = filled_up(hidden, 16);
  for (int plane = 0; plane < kPlanes; ++plane) {
    for (int64_t unit = 0; unit < hidden; unit += kLineSteps) {
      for (int64_t row = 0; row < all_rows; ++row, lines += kLineSteps) {
        store_line(lines, load_plane(scaled + row * hidden + unit, row < rows ? hidden - unit : 0, plane));
      }
    }
    if (unit_lines == nullptr) continue;
    for (int64_t row = 0; row < rows; row += kLineSteps, unit_lines += all_units * kLineSteps) {
      for (int64_t unit = 0; unit < all_units; unit += 16) {
        Halves square[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          const int64_t first = row + 2 * i, units = smaller(16, hidden - unit);
          const auto load = [&](int64_t of) __attribute__((always_inline)) {
            return load_plane(unscaled + of * hidden + unit, of < rows ? units : 0, plane);
          };
          square[i] = first_pairs(load(first), load(first + 1));
        }
        transpose_pairs(square);
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) store_line(unit_lines + (unit + i) * kLineSteps, square[i]);
      }
    }
  }
}

template <int kPlanes, class Item>
void pack(const Item* const* vectors, const TargetTile<float>& tile) {
  const int64_t hidden = tile.hidden, all_units = filled_up(hidden, 16);
  uint16_t *pairs = tile.pairs, *item_pairs = tile.item_pairs;
  for (int plane = 0; plane < kPlanes; ++plane) {
    for (int64_t unit = 0; unit < hidden; unit += kLineSteps, pairs += kTileItems * kLineSteps) {
      for (int64_t item = 0; item < kTileItems; item += 16) {
        if (plane == 0) {
          const int64_t fetched = smaller((unit + kLineSteps) * 16 / hidden, 16);
          fetch_ahead(vectors + item + kTileItems, unit * 16 / hidden, fetched, hidden);
        }
        Halves square[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) square[i] = load_plane(vectors[item + i] + unit, hidden - unit, plane);
        transpose_pairs(square);
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) store_line(pairs + (i * kTileItems + item) * 2, square[i]);
      }
    }
    if (item_pairs == nullptr) continue;
    for (int64_t item = 0; item < kTileItems; item += 2) {
      for (int64_t unit = 0; unit < all_units; unit += 16, item_pairs += 32) {
        const int64_t units = smaller(16, hidden - unit);
        const Halves first = load_plane(vectors[item] + unit, units, plane);
        store_line(item_pairs, first_pairs(first, load_plane(vectors[item + 1] + unit, units, plane)));
      }
    }
  }
}

template <int kPlanes>
inline void multiply_rows_by_items(const TargetBlock<float>& block, const TargetTile<float>& tile) {
  const int64_t hidden = tile.hidden;
  multiply<kPlanes>(
      hidden, {block.lines, block.rows, plane_size(hidden, block.rows)},
      {tile.pairs, kTileItems, plane_size(hidden, kTileItems)}, tile.products, kTileItems, false);
}

// Lines and pairs of the gradients of products, which are zero beyond the tile's items.
template <int kPlanes>
inline void round_gradients(int64_t rows, const TargetTile<float>& tile) {
  for (int64_t item = filled_up(tile.items, 16); item < kTileItems; item += 16) {
    for (int64_t row = 0; row < rows; ++row) store(tile.products + row * kTileItems + item, Vector<float>{});
  }
  const int64_t all_lines = filled_up(rows, 16);
  uint16_t *lines = tile.grad_lines, *pairs = tile.grad_pairs;
  for (int plane = 0; plane < kPlanes; ++plane) {
    for (int64_t row = 0; row < filled_up(rows, kLineSteps); row += 2) {
      for (int64_t item = 0; item < kTileItems; item += kLineSteps, pairs += 2 * kLineSteps) {
        const auto load = [&](int64_t of) __attribute__((always_inline)) {
          return of < rows ? load_plane(tile.products + of * kTileItems + item, kLineSteps, plane)
                           : _mm512_setzero_si512();
        };
        const Halves first = load(row), second = load(row + 1);
        if (row < all_lines) {
          uint16_t* line = lines + (item / kLineSteps * all_lines + row) * kLineSteps;
          store_line(line, first);
          store_line(line + kLineSteps, second);
        }
        store_line(pairs, first_pairs(first, second));
        store_line(pairs + kLineSteps, last_pairs(first, second));
      }
    }
    lines += plane_size(kTileItems, rows);
  }
}

template <int kPlanes>
void score(const TargetBlock<float>& block, const TargetTile<float>& tile) {
  {
    const ProductScope scope;
    multiply_rows_by_items<kPlanes>(block, tile);
  }
  attend(block, tile);
}

template <int kPlanes>
void backward(
    const TargetBlock<float>& block, const TargetTile<float>& tile, const CrossEntropyPart<float>& loss,
    float* grad_rows) {
  const ProductScope scope;
  const int64_t rows = block.rows, hidden = tile.hidden;
  multiply_rows_by_items<kPlanes>(block, tile);
  differentiate(block, tile, loss);
  round_gradients<kPlanes>(rows, tile);
  multiply<kPlanes>(
      kTileItems, {tile.grad_lines, rows, plane_size(kTileItems, rows)},
      {tile.item_pairs, hidden, plane_size(kTileItems, hidden)}, grad_rows, filled_up(hidden, 16), true);
  multiply<kPlanes>(
      rows, {block.unit_lines, hidden, plane_size(rows, hidden)},
      {tile.grad_pairs, kTileItems, plane_size(rows, kTileItems)}, tile.grad_transposed, kTileItems, true);
}

template <int kPlanes>
constexpr TargetAttentionLoops<float> loops() {
  return {
      pack<kPlanes, float>,
      pack<kPlanes, uint16_t>,
      score<kPlanes>,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      log_sum_exp<float>,
      exceeds<float>,
      backward<kPlanes>,
      unpack<float, kTileItems>,
      0,
      kLanes<float>,
      kPlanes,
      pack_rows<kPlanes>};
}

}  // namespace

extern const TargetAttentionBFloat16Kernels TAGNN_FAST_THIS_TABLE(target_attention_bfloat16){
    loops<1>(),
#if defined(TAGNN_FAST_TILES)
    loops<2>(),
#else
    {},  // three products at twice the rate take longer than one in float32
#endif
};

}  // namespace tagnn_fast::cpu
