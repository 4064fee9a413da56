// Builds each session's graph in one pass over its clicks: number the distinct items (linear scan for short sessions,
// a hash table for long ones), then sort the edges by two counting passes. O(clicks); sessions run in parallel.

#include "../session_graph.h"

#include <array>

#include "encoder.h"

namespace tagnn_fast::cpu {
namespace {

constexpr int64_t kScanUpTo = 16;  // clicks up to which a scan beats hashing
constexpr size_t kSortUpTo = 64;   // nodes up to which std::sort beats radix sort

class GraphBuilder {
 public:
  GraphBuilder(const int64_t* items, std::optional<int64_t> padded_length, const SessionGraphArrays& out)
      : items_(items), padded_length_(padded_length), out_(out) {}

  // Session `session` has clicks [begin, end) and slots from begin, or begin + session where every session has one
  // more.
  void build(int64_t session, int64_t begin, int64_t end) {
    const int64_t base = begin + (padded_length_ ? session : 0);
    const int64_t capacity = end - begin + (padded_length_ ? 1 : 0);
    number_items(begin, end);
    if (padded_length_) sort_nodes();
    const int64_t clicks = local_.size();
    const int64_t padded = padded_length_ && clicks > 0 ? std::max<int64_t>(0, *padded_length_ - clicks) : 0;
    const int64_t shift = padded > 0 ? 1 : 0;  // the padding node comes first
    const int64_t nodes = distinct_.size();

    clear_slots(base, shift);
    for (int64_t node = 0; node < nodes; ++node) {
      out_.node_items[base + shift + node] = distinct_[node];
      out_.clicks[base + shift + node] = 0;
    }
    clear_slots(base + shift + nodes, capacity - shift - nodes);
    clear_edge_lists(begin, end);
    if (shift) out_.in_start[base] = out_.out_start[base] = begin;
    write_clicks(begin, end, base + shift);
    if (nodes == clicks) write_path(begin, base + shift);
    else write_edges(begin, base + shift);

    out_.num_nodes[session] = nodes + shift;
    out_.padding[session] = padded;
    out_.last_node[session] = clicks > 0 ? base + shift + local_.back() : kNoSlot;
  }

  void clear_slots(int64_t first, int64_t count) {
    for (int64_t slot = first; slot < first + count; ++slot) {
      out_.node_items[slot] = out_.clicks[slot] = 0;
      out_.in_start[slot] = out_.in_count[slot] = out_.out_start[slot] = out_.out_count[slot] = 0;
    }
  }

  void clear_clicks(int64_t begin, int64_t end) {
    clear_edge_lists(begin, end);
    std::fill(out_.click_nodes + begin, out_.click_nodes + end, kNoSlot);
  }

 private:
  void clear_edge_lists(int64_t begin, int64_t end) {
    std::fill(out_.in_neighbours + begin, out_.in_neighbours + end, 0);
    std::fill(out_.out_neighbours + begin, out_.out_neighbours + end, 0);
  }

  // distinct_: items in order of first click; local_: each real click's index into it.
  void number_items(int64_t begin, int64_t end) {
    distinct_.clear();
    local_.clear();
    if (end - begin <= kScanUpTo) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t item = items_[t];
        if (item == 0) continue;
        size_t node = 0;
        while (node < distinct_.size() && distinct_[node] != item) ++node;
        if (node == distinct_.size()) distinct_.push_back(item);
        local_.push_back(node);
      }
      return;
    }
    int bits = 5;
    while ((int64_t{1} << bits) < 2 * (end - begin)) ++bits;
    const size_t mask = (size_t{1} << bits) - 1;
    table_.assign(mask + 1, -1);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t item = items_[t];
      if (item == 0) continue;
      size_t place = (static_cast<uint64_t>(item) * 0x9E3779B97F4A7C15u) >> (64 - bits);
      while (table_[place] >= 0 && distinct_[table_[place]] != item) place = (place + 1) & mask;
      if (table_[place] < 0) {
        table_[place] = distinct_.size();
        distinct_.push_back(item);
      }
      local_.push_back(table_[place]);
    }
  }

  void sort_nodes() {
    const size_t nodes = distinct_.size();
    order_.resize(nodes);
    for (size_t i = 0; i < nodes; ++i) order_[i] = {distinct_[i], static_cast<int32_t>(i)};
    sort_order();
    rank_.resize(nodes);
    for (size_t i = 0; i < nodes; ++i) {
      rank_[order_[i].second] = i;
      distinct_[i] = order_[i].first;
    }
    for (int32_t& node : local_) node = rank_[node];
  }

  // By item. Long sessions by radix, a byte at a time: comparisons that no branch predictor can guess cost more.
  void sort_order() {
    if (order_.size() <= kSortUpTo) {
      std::sort(order_.begin(), order_.end());
      return;
    }
    uint64_t differing = 0;
    for (const auto& entry : order_) differing |= entry.first ^ order_.front().first;
    spare_.resize(order_.size());
    for (int shift = 0; shift < 64; shift += 8) {
      if (((differing >> shift) & 255) == 0) continue;
      const uint64_t sign = shift == 56 ? 128 : 0;  // negative items come first
      const auto digit = [&](int64_t item) { return ((static_cast<uint64_t>(item) >> shift) & 255) ^ sign; };
      std::array<size_t, 257> place{};
      for (const auto& entry : order_) ++place[digit(entry.first) + 1];
      for (size_t i = 0; i < 256; ++i) place[i + 1] += place[i];
      for (const auto& entry : order_) spare_[place[digit(entry.first)]++] = entry;
      order_.swap(spare_);
    }
  }

  void write_clicks(int64_t begin, int64_t end, int64_t base) {
    size_t next = 0;
    for (int64_t t = begin; t < end; ++t) {
      if (items_[t] == 0) {
        out_.click_nodes[t] = kNoSlot;
        continue;
      }
      const int64_t slot = base + local_[next++];
      out_.click_nodes[t] = slot;
      ++out_.clicks[slot];
    }
  }

  // No item twice: the graph is a path, each list has one entry at most.
  void write_path(int64_t begin, int64_t base) {
    const int32_t nodes = local_.size();
    position_.resize(local_.size());
    for (int32_t t = 0; t < nodes; ++t) position_[local_[t]] = t;
    int64_t in_next = begin, out_next = begin;
    for (int32_t node = 0; node < nodes; ++node) {
      const size_t t = position_[node];
      const bool has_in = t > 0, has_out = t + 1 < local_.size();
      out_.in_start[base + node] = in_next;
      out_.out_start[base + node] = out_next;
      out_.in_count[base + node] = has_in;
      out_.out_count[base + node] = has_out;
      if (has_in) out_.in_neighbours[in_next++] = base + local_[t - 1];
      if (has_out) out_.out_neighbours[out_next++] = base + local_[t + 1];
    }
  }

  // Bucketing clicks by destination, then by source, sorts the lists and puts repeated edges side by side.
  void write_edges(int64_t begin, int64_t base) {
    const size_t nodes = distinct_.size(), transitions = local_.size() - 1;
    in_place_.assign(nodes + 1, 0);
    out_place_.assign(nodes + 1, 0);
    for (size_t t = 0; t < transitions; ++t) {
      ++in_place_[local_[t + 1] + 1];
      ++out_place_[local_[t] + 1];
    }
    for (size_t node = 0; node < nodes; ++node) {
      in_place_[node + 1] += in_place_[node];
      out_place_[node + 1] += out_place_[node];
    }
    fill_.assign(in_place_.begin(), in_place_.end() - 1);
    by_destination_.resize(transitions);
    for (size_t t = 0; t < transitions; ++t) {
      by_destination_[fill_[local_[t + 1]]++] = local_[t];
    }
    fill_.assign(out_place_.begin(), out_place_.end() - 1);
    by_source_.resize(transitions);
    for (size_t node = 0; node < nodes; ++node) {
      for (int32_t i = in_place_[node]; i < in_place_[node + 1]; ++i) {
        const size_t source = by_destination_[i];
        const int32_t end = fill_[source], destination = node;
        if (end > out_place_[source] && by_source_[end - 1] == destination) continue;
        by_source_[end] = destination;
        ++fill_[source];
      }
    }
    int64_t out_next = begin;
    in_fill_.assign(in_place_.begin(), in_place_.end() - 1);
    for (size_t node = 0; node < nodes; ++node) {
      const int64_t slot = base + node;
      out_.out_start[slot] = out_next;
      for (int32_t i = out_place_[node]; i < fill_[node]; ++i) {
        const int32_t destination = by_source_[i];
        out_.out_neighbours[out_next++] = base + destination;
        by_destination_[in_fill_[destination]++] = node;
      }
      out_.out_count[slot] = out_next - out_.out_start[slot];
    }
    int64_t in_next = begin;
    for (size_t node = 0; node < nodes; ++node) {
      const int64_t slot = base + node;
      out_.in_start[slot] = in_next;
      for (int32_t i = in_place_[node]; i < in_fill_[node]; ++i) {
        out_.in_neighbours[in_next++] = base + by_destination_[i];
      }
      out_.in_count[slot] = in_next - out_.in_start[slot];
    }
  }

  const int64_t* items_;
  std::optional<int64_t> padded_length_;
  SessionGraphArrays out_;
  std::vector<int64_t> distinct_;
  std::vector<int32_t> local_, table_, rank_, position_;
  std::vector<std::pair<int64_t, int32_t>> order_, spare_;
  std::vector<int32_t> in_place_, out_place_, fill_, in_fill_, by_destination_, by_source_;
};

struct CpuSessionGraph : CpuOp {
  static void compute(const SessionGraphInputs& inputs, const SessionGraphArrays& out) { build_graphs(inputs, out); }
};

}  // namespace

void build_graphs(const SessionGraphInputs& inputs, const SessionGraphArrays& out) {
  const int64_t clicks = inputs.clicks, sessions = inputs.sessions;
  const std::optional<int64_t> padded_length = inputs.padded_length;
  const auto clean = clamped_offsets(data<int64_t>(inputs.offsets), sessions, clicks);
  int64_t* first_slot = out.slot_offsets;
  for (int64_t b = 0; b <= sessions; ++b) first_slot[b] = clean[b] + (padded_length ? b : 0);

  const int64_t* items = data<int64_t>(inputs.items);
  constexpr int64_t kWorkPerClick = 32;
  const auto cumulative = [&](int64_t b) { return clean[b] + b; };
  for_balanced_chunks(
      num_chunks((clicks + sessions) * kWorkPerClick), sessions, cumulative, [&](int64_t, int64_t begin, int64_t end) {
        GraphBuilder builder(items, padded_length, out);
        for (int64_t b = begin; b < end; ++b) {
          builder.build(b, clean[b], clean[b + 1]);
        }
      });

  GraphBuilder unowned(items, padded_length, out);
  unowned.clear_clicks(0, clean.front());
  unowned.clear_clicks(clean.back(), clicks);
  unowned.clear_slots(0, first_slot[0]);
  unowned.clear_slots(first_slot[sessions], inputs.slots - first_slot[sessions]);
}

}  // namespace tagnn_fast::cpu

TAGNN_FAST_REGISTER(CPU, library) {
  library.impl("session_graph", TORCH_BOX(&tagnn_fast::session_graph<tagnn_fast::cpu::CpuSessionGraph>));
}
