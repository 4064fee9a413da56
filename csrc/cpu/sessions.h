// A batch's sessions as ranges of slots, made safe from whatever offsets came, and loops over them on PyTorch's
// threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <vector>

#include "../session_graph.h"
#include "backend.h"
#include "session_slots.h"

namespace tagnn_fast::cpu {

// Rows before the first and after the last session belong to nobody.
struct SlotRanges {
  std::vector<SessionSlots> sessions;
  int64_t slots;
  int64_t size() const { return sessions.size(); }
  int64_t first() const { return sessions.empty() ? slots : sessions.front().begin; }
  int64_t last() const { return sessions.empty() ? slots : sessions.back().end; }
  int64_t nodes() const { return sessions.empty() ? 0 : sessions.back().row + sessions.back().nodes(); }
};

// Offsets that fall or leave [0, slots] are clamped so that ranges never overlap: writes stay disjoint and in bounds.
inline std::vector<int64_t> clamped_offsets(const int64_t* offsets, int64_t sessions, int64_t slots) {
  std::vector<int64_t> clean(sessions + 1);
  int64_t floor = 0;
  for (int64_t b = 0; b <= sessions; ++b) {
    floor = std::max(floor, std::min(offsets[b], slots));
    clean[b] = floor;
  }
  return clean;
}

inline SlotRanges slot_ranges(const int64_t* slot_offsets, const int64_t* num_nodes, int64_t sessions, int64_t slots) {
  const auto offsets = clamped_offsets(slot_offsets, sessions, slots);
  SlotRanges ranges{std::vector<SessionSlots>(sessions), slots};
  int64_t row = 0;
  for (int64_t b = 0; b < sessions; ++b) {
    const int64_t begin = offsets[b], end = offsets[b + 1];
    const SessionSlots session{begin, begin + std::clamp<int64_t>(num_nodes[b], 0, end - begin), end, row};
    ranges.sessions[b] = session;
    row += session.nodes();
  }
  return ranges;
}

inline SlotRanges slot_ranges(const GraphSlots& graph) {
  return slot_ranges(data<int64_t>(graph.slot_offsets), data<int64_t>(graph.num_nodes), graph.sessions, graph.slots);
}

// How many equal parts to cut `work` (in multiply-adds or so) into: one per thread if a part is worth waking a thread.
inline int64_t num_chunks(int64_t work) {
  constexpr int64_t kWorthAThread = 16384;
  return std::clamp<int64_t>(work / kWorthAThread, 1, torch::stable::get_num_threads());
}

// Calls body(chunk, begin, end) for `chunks` parts of [0, size), cut so that parts have equal cumulative(end).
// Which part does what depends on `chunks` alone, so sums kept per chunk are repeatable.
template <class Cumulative, class Body>
inline void for_balanced_chunks(int64_t chunks, int64_t size, const Cumulative& cumulative, const Body& body) {
  if (chunks <= 1) {
    body(0, 0, size);
    return;
  }
  const int64_t first = cumulative(0), total = cumulative(size) - first;
  std::vector<int64_t> cuts(chunks + 1, size);
  cuts[0] = 0;
  for (int64_t chunk = 1; chunk < chunks; ++chunk) {
    int64_t low = cuts[chunk - 1], high = size;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if ((cumulative(middle) - first) * chunks < total * chunk) low = middle + 1;
      else high = middle;
    }
    cuts[chunk] = low;
  }
  // An exception that left a thread would arrive without its message.
  std::exception_ptr error;
  std::mutex first_error;
  torch::stable::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    try {
      for (int64_t chunk = begin; chunk < end; ++chunk) body(chunk, cuts[chunk], cuts[chunk + 1]);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(first_error);
      if (!error) error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

template <class Body>
inline void for_session_chunks(const SlotRanges& ranges, int64_t chunks, const Body& body) {
  const auto cumulative = [&](int64_t b) { return b < ranges.size() ? ranges.sessions[b].begin : ranges.last(); };
  for_balanced_chunks(chunks, ranges.size(), cumulative, body);
}

// Zeroes the rows that belong to no session.
template <class T>
inline void zero_unowned(T* rows, const SlotRanges& ranges, int64_t row_size) {
  std::fill(rows, rows + ranges.first() * row_size, T(0));
  std::fill(rows + ranges.last() * row_size, rows + ranges.slots * row_size, T(0));
}

}  // namespace tagnn_fast::cpu
