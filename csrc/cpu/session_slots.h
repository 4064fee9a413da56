#pragma once

#include <cstdint>

namespace tagnn_fast::cpu {

// A session owns slots [begin, end); its nodes are [begin, nodes_end), the rest are empty. Where only nodes are kept,
// one after the other, they are rows [row, row + nodes()).
struct SessionSlots {
  int64_t begin, nodes_end, end, row;
  int64_t nodes() const { return nodes_end - begin; }
};

}  // namespace tagnn_fast::cpu
