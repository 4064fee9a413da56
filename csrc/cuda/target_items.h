// Item vectors as products take them: of the table's rows, or of candidates.
#pragma once

#include "../target_attention.h"
#include "tile_products.h"

namespace tagnn_fast::cuda {

// Vectors of `units` elements, rounded to what products take, a multiple of 16 bytes apart. Invalid ones are zeros and
// have no row.
template <class Mode>
struct TargetItems {
  const typename Mode::Stored* vectors;
  int step, units;            // from a vector to the next; and how many of those are its own
  const int64_t* candidates;  // in rising order; null for all rows
  int64_t rows, count;        // of the table; and how many there are to score
  int hidden;

  // Row of item `index`, -1 for none: outside the table, or the same as the one before.
  __device__ int64_t row(int64_t index) const {
    if (index >= count) return -1;
    if (candidates == nullptr) return index;
    const int64_t row = candidates[index];
    if (row < 0 || row >= rows || (index > 0 && candidates[index - 1] == row)) return -1;
    return row;
  }
};

// Writes the vectors, (count, step): a warp writes one.
template <class Mode, class Item>
__global__ void pack_items(const Item* table, TargetItems<Mode> items, typename Mode::Stored* packed) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * warps() + warp();
  if (index >= items.count) return;
  const int64_t row = items.row(index);
  const Item* from = table + larger(row, int64_t{0}) * items.hidden;
  for (int unit = lane(); unit < items.step; unit += kWarpLanes) {
    const bool inside = row >= 0 && unit < items.hidden;
    packed[index * items.step + unit] = inside ? Mode::store(to_value(from[unit])) : typename Mode::Stored(0);
  }
}

inline ScalarType stored_type(size_t bytes) {
  return bytes == 2 ? ScalarType::BFloat16 : bytes == 4 ? ScalarType::Float : ScalarType::Double;
}

// A launch's item vectors: the table itself where products can take them from there, or a packed copy.
template <class T, class Mode>
class DeviceTargetItems {
 public:
  using Stored = typename Mode::Stored;

  DeviceTargetItems(const TargetAttentionInputs& inputs, int width, const std::optional<Tensor>& candidates = {})
      : items_{
            nullptr,
            width,
            width,
            optional_data<int64_t>(candidates),
            inputs.items,
            candidates ? candidates->size(0) : inputs.items,
            static_cast<int>(inputs.hidden)} {
    if (!candidates && !inputs.bfloat16_table && std::is_same_v<Mode, Exact<T>>) {
      const void* table = inputs.table.const_data_ptr();
      if (inputs.hidden * sizeof(T) % 16 == 0 && reinterpret_cast<uintptr_t>(table) % 16 == 0) {
        items_.vectors = static_cast<const Stored*>(table);
        items_.step = items_.units = items_.hidden;
        return;
      }
    }
    packed_ = make_empty(inputs.session, {items_.count * width}, stored_type(sizeof(Stored)));
    auto* packed = static_cast<Stored*>(packed_->mutable_data_ptr());
    items_.vectors = packed;
    const auto pack = [&](auto item) {
      using Item = decltype(item);
      launch(
          pack_items<Mode, Item>, blocks_for(items_.count, kBlockThreads / kWarpLanes), kBlockThreads, 0,
          data<Item>(inputs.table), items_, packed);
    };
    inputs.bfloat16_table ? pack(uint16_t()) : pack(T());
  }

  const TargetItems<Mode>& items() const { return items_; }

 private:
  TargetItems<Mode> items_;
  std::optional<Tensor> packed_;
};

}  // namespace tagnn_fast::cuda
