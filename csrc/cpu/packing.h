// Nodes without the empty slots between sessions, so that dense products skip those; sums of rows.
#pragma once

#include "sessions.h"

namespace tagnn_fast::cpu {

// What has room for every slot may be an output, so what is not in use is zeroed.
template <class T>
void zero_unused_rows(const SlotRanges& ranges, int64_t width, T* all) {
  std::fill(all + ranges.nodes() * width, all + ranges.slots * width, T(0));
}

template <class T>
void pack_nodes(const SlotRanges& ranges, int64_t width, const T* from, T* to) {
  for_session_chunks(ranges, num_chunks(ranges.nodes() * width), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const SessionSlots session = ranges.sessions[b];
      std::copy_n(from + session.begin * width, session.nodes() * width, to + session.row * width);
    }
  });
}

// The sum of two tensors of rows, back in its slots; zeros everywhere else.
template <class T>
void unpack_sum(const SlotRanges& ranges, const Tensor& rows, const Tensor& other_rows, Tensor& nodes) {
  const int64_t width = nodes.size(1);
  const T *first = data<T>(rows), *second = data<T>(other_rows);
  T* out = mutable_data<T>(nodes);
  zero_unowned(out, ranges, width);
  for_session_chunks(ranges, num_chunks(ranges.nodes() * width), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const SessionSlots session = ranges.sessions[b];
      const T* __restrict__ x = first + session.row * width;
      const T* __restrict__ y = second + session.row * width;
      T* __restrict__ to = out + session.begin * width;
      for (int64_t i = 0; i < session.nodes() * width; ++i) to[i] = x[i] + y[i];
      std::fill(to + session.nodes() * width, to + (session.end - session.begin) * width, T(0));
    }
  });
}

// sum += term. (The dispatcher of the stable ABI takes no Scalar arguments, so addmm with its own sum is out of reach.)
template <class T>
inline void add_in_place(Tensor& sum, const Tensor& term) {
  T* __restrict__ total = mutable_data<T>(sum);
  const T* __restrict__ values = data<T>(term);
  const int64_t rows = sum.size(0), width = sum.numel() / std::max<int64_t>(1, rows);
  for_balanced_chunks(
      num_chunks(sum.numel()), rows, [](int64_t row) { return row; },
      [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t i = begin * width; i < end * width; ++i) total[i] += values[i];
      });
}

}  // namespace tagnn_fast::cpu
