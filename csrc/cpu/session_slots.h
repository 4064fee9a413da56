#pragma once

#include <cstdint>

namespace tagnn_fast {

// Session b owns slots [begin, end); its nodes are [begin, nodes_end), the rest are empty.
struct SessionSlots {
  int64_t begin, nodes_end, end;
};

}  // namespace tagnn_fast
