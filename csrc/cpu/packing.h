// Nodes without the empty slots between sessions, so that dense products skip those.
#pragma once

#include "sessions.h"

namespace tagnn_fast {

// The first `rows` rows, which are in use, of a tensor with room for every slot.
inline Tensor used_rows(const Tensor& all, int64_t rows) {
  Tensor tensor = all;
  return torch::stable::narrow(tensor, 0, 0, rows);
}

// Tensors with room for every slot are outputs, so what is not in use is zeroed.
template <class T>
void zero_unused_rows(Tensor& all, int64_t rows) {
  const int64_t slots = all.size(0), width = all.size(1);
  std::fill(mutable_data<T>(all) + rows * width, mutable_data<T>(all) + slots * width, T(0));
}

template <class T>
void pack_nodes(const SlotRanges& ranges, const Tensor& nodes, Tensor& rows) {
  const int64_t width = nodes.size(1);
  for (const SessionSlots& session : ranges.sessions) {
    std::copy_n(
        data<T>(nodes) + session.begin * width, session.nodes() * width, mutable_data<T>(rows) + session.row * width);
  }
}

// Rows back to their slots; zeros everywhere else.
template <class T>
void unpack_nodes(const SlotRanges& ranges, const Tensor& rows, Tensor& nodes) {
  const int64_t width = nodes.size(1);
  zero_unowned(mutable_data<T>(nodes), ranges, width);
  for (const SessionSlots& session : ranges.sessions) {
    T* to = mutable_data<T>(nodes) + session.begin * width;
    std::copy_n(data<T>(rows) + session.row * width, session.nodes() * width, to);
    std::fill(to + session.nodes() * width, to + (session.end - session.begin) * width, T(0));
  }
}

}  // namespace tagnn_fast
