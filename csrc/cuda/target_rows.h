// DeviceSessions as rows of a matrix, for target attention on a GPU.
//
// As on the CPU (csrc/cpu/target_attention_kernel.h), a session's softmax is over entries, its nodes and the padded
// positions as one. The first entry is the reference: its key is subtracted from the others, session vectors are added
// to all values. A session takes a row for the reference's value, then two for every other entry, key and value.
//
// Rows are cut into chunks of kTileRows. A chunk holds whole sessions, or a piece of one that is longer: its first
// chunk is then the first of a group. How many chunks there are is known on the device alone; there is room for the
// most that these slots could need.
#pragma once

#include "../target_attention.h"
#include "target_items.h"

namespace tagnn_fast::cuda {

constexpr int kPairsFirst = (kTileRows - 1) / 2, kPairsLater = kTileRows / 2;  // of a session longer than a chunk

// One session's part of a chunk.
struct Segment {
  int32_t session, first_row, pairs;
  bool has_reference;
};

// Device pointers; chunk c has rows from c * kTileRows on, segment s of it is number c * kTileRows + s.
template <class T>
struct TargetPlan {
  int32_t* chunks;        // (1,)
  int32_t* segments;      // of each chunk
  int32_t* group_chunks;  // from this chunk on; 0 where a session's later chunk
  int32_t* group_first;   // chunk where the group begins
  Segment* segment;
  T* multiplicity;  // of each row: of its entry, at value 0 and at keys
  // Of each session.
  int32_t *entries, *first_chunk, *first_row, *segment_number;
};

// What rows are made of.
template <class T>
struct TargetSources {
  const T *session, *keys, *values;
  const int64_t *clicks, *padding, *slot_offsets;
  int64_t sessions, slots;
  int hidden;
};

// A session's entries in order: visit(entry, slot, multiplicity), by all lanes of a warp. Returns how many.
template <class T, class Visit>
__device__ inline int for_entries(const TargetSources<T>& sources, int64_t session, const Visit& visit) {
  const Range slots = find_range(sources.slot_offsets, session, sources.slots);
  int entries = 0;
  if (sources.padding[session] > 0) visit(entries++, kNoSlot, sources.padding[session]);
  for (int64_t slot = slots.begin; slot < slots.end; ++slot) {
    if (sources.clicks[slot] > 0) visit(entries++, slot, sources.clicks[slot]);
  }
  if (entries == 0) visit(entries++, kNoSlot, int64_t{1});
  return entries;
}

template <class T>
__global__ void count_entries(TargetSources<T> sources, TargetPlan<T> plan) {
  const int64_t session = static_cast<int64_t>(blockIdx.x) * warps() + warp();
  if (session >= sources.sessions) return;
  const int entries = for_entries(sources, session, [](int, int64_t, int64_t) {});
  if (lane() == 0) plan.entries[session] = entries;
}

// Fills chunks with sessions in order, one after the other: by one thread, from entries that a block has fetched.
template <class T>
__global__ void cut_chunks(int64_t sessions, TargetPlan<T> plan) {
  struct Entries {
    int32_t of_sessions[kBlockThreads];
  };
  auto& entries = static_shared<Entries>().of_sessions;
  int chunk = -1, rows = kTileRows, segments = 0;
  for (int64_t first = 0; first < sessions; first += kBlockThreads) {
    const int count = smaller(sessions - first, int64_t{kBlockThreads});
    if (static_cast<int>(threadIdx.x) < count) entries[threadIdx.x] = plan.entries[first + threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int b = 0; b < count; ++b) {
        const int needed = 2 * entries[b] - 1;
        if (rows + needed > kTileRows) {
          ++chunk;
          rows = segments = 0;
          plan.group_chunks[chunk] = 1;
          plan.group_first[chunk] = chunk;
        }
        plan.first_chunk[first + b] = chunk;
        plan.first_row[first + b] = rows;
        plan.segment_number[first + b] = segments++;
        plan.segments[chunk] = segments;
        rows += needed;
        if (needed <= kTileRows) continue;
        const int begin = chunk, left = entries[b] - 1 - kPairsFirst;
        for (int pairs = left; pairs > 0; pairs -= kPairsLater) {
          ++chunk;
          plan.segments[chunk] = 1;
          plan.group_chunks[chunk] = 0;
          plan.group_first[chunk] = begin;
        }
        plan.group_chunks[begin] = chunk - begin + 1;
        rows = kTileRows;
      }
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) *plan.chunks = chunk + 1;
}

// Where the rows of a session's entry lie, counted from chunk 0: value, and key for all but the reference.
template <class T>
struct EntryRows {
  int64_t value, key;
  __device__ EntryRows(const TargetPlan<T>& plan, int64_t session, int entry) {
    const int chunk = plan.first_chunk[session];
    const int64_t first = int64_t{chunk} * kTileRows + plan.first_row[session];
    if (plan.group_chunks[chunk] > 1 && entry > kPairsFirst) {
      const int later = entry - 1 - kPairsFirst;
      key = int64_t{chunk + 1} * kTileRows + 2 * later;  // later chunks are full, so pairs follow each other
    } else {
      key = first + 2 * entry - 1;
    }
    value = entry == 0 ? first : key + 1;
  }
};

// Writes the rows, (chunks * kTileRows, width), rounded to what products take, and describes the segments.
template <class T, class Mode>
__global__ void fill_rows(TargetSources<T> sources, TargetPlan<T> plan, typename Mode::Stored* rows, int width) {
  const int64_t session = static_cast<int64_t>(blockIdx.x) * warps() + warp();
  if (session >= sources.sessions) return;
  const int hidden = sources.hidden;
  int64_t reference = kNoSlot;
  const int entries = for_entries(sources, session, [&](int entry, int64_t slot, int64_t multiplicity) {
    if (entry == 0) reference = slot;
    const EntryRows<T> place(plan, session, entry);
    for (int unit = lane(); unit < width; unit += kWarpLanes) {
      T value = 0, key = 0;
      if (unit < hidden) {
        value = sources.session[session * hidden + unit];
        if (slot != kNoSlot) value += sources.values[slot * hidden + unit];
        if (slot != kNoSlot) key = sources.keys[slot * hidden + unit];
        if (reference != kNoSlot) key -= sources.keys[reference * hidden + unit];
      }
      rows[place.value * width + unit] = Mode::store(value);
      if (entry > 0) rows[place.key * width + unit] = Mode::store(key);
    }
    if (lane() == 0) plan.multiplicity[entry == 0 ? place.value : place.key] = multiplicity;
  });
  if (lane() != 0) return;
  const int chunk = plan.first_chunk[session], pieces = plan.group_chunks[chunk];
  const int number = chunk * kTileRows + plan.segment_number[session];
  plan.segment[number] = {
      static_cast<int32_t>(session), plan.first_row[session], pieces > 1 ? kPairsFirst : entries - 1, true};
  for (int piece = 1, left = entries - 1 - kPairsFirst; piece < pieces; ++piece, left -= kPairsLater) {
    plan.segment[(chunk + piece) * kTileRows] = {static_cast<int32_t>(session), 0, smaller(left, kPairsLater), false};
  }
}

// Adds the gradients of the rows, `parts` of (chunks * kTileRows, width), up to those of the inputs.
template <class T>
__global__ void scatter_row_gradients(
    TargetSources<T> sources, TargetPlan<T> plan, const T* grad_rows, int parts, int64_t part_size, int width,
    T* grad_session, T* grad_keys, T* grad_values) {
  const int64_t session = static_cast<int64_t>(blockIdx.x) * warps() + warp();
  if (session >= sources.sessions) return;
  const int hidden = sources.hidden;
  for (int first = 0; first < hidden; first += kWarpLanes) {
    const int unit = first + lane();
    const auto total = [&](int64_t row) {
      T sum = 0;
      for (int part = 0; unit < hidden && part < parts; ++part) sum += grad_rows[part * part_size + row * width + unit];
      return sum;
    };
    T of_session = 0, of_reference = 0;
    int64_t reference = kNoSlot;
    for_entries(sources, session, [&](int entry, int64_t slot, int64_t) {
      const EntryRows<T> place(plan, session, entry);
      if (entry == 0) reference = slot;
      const T of_value = total(place.value);
      of_session += of_value;
      if (unit < hidden && slot != kNoSlot) grad_values[slot * hidden + unit] = of_value;
      if (entry == 0) return;
      const T of_key = total(place.key);
      of_reference -= of_key;
      if (unit < hidden && slot != kNoSlot) grad_keys[slot * hidden + unit] = of_key;
    });
    if (unit >= hidden) continue;
    grad_session[session * hidden + unit] = of_session;
    if (reference != kNoSlot) grad_keys[reference * hidden + unit] = of_reference;
  }
}

// A batch's rows and plan in device memory.
template <class T, class Mode>
class DeviceTargetRows {
 public:
  explicit DeviceTargetRows(const TargetAttentionInputs& inputs)
      : sources_{
            data<T>(inputs.session),
            data<T>(inputs.keys),
            data<T>(inputs.values),
            data<int64_t>(inputs.clicks),
            data<int64_t>(inputs.padding),
            data<int64_t>(inputs.slot_offsets),
            inputs.sessions,
            inputs.slots,
            static_cast<int>(inputs.hidden)} {
    // Each session takes at most 2 slots + 1 rows. Of three chunks in a row, at least one is full or two are together.
    const int64_t most = 2 * inputs.slots + inputs.sessions;
    chunks_ = inputs.sessions == 0 ? 0 : 3 * ((most + kTileRows - 2) / (kTileRows - 1)) + 3;
    check_value(chunks_ * kTileRows < int64_t{1} << 31, "keys", "fewer than 2^29 slots", inputs.slots);
    width_ = (inputs.hidden + 15) / 16 * 16;
    // Zeros, since products run over the rows of a chunk that no session has, too.
    rows_ = make_zeros(inputs.session, {chunks_ * kTileRows * width_}, stored_type(sizeof(typename Mode::Stored)));
    multiplicities_ = make_empty(inputs.session, {chunks_ * kTileRows});
    constexpr int64_t kSegmentInts = sizeof(Segment) / sizeof(int32_t);
    const int64_t integers = 1 + 3 * chunks_ + kSegmentInts * chunks_ * kTileRows + 4 * inputs.sessions;
    integers_ = make_empty(inputs.session, {integers}, ScalarType::Int);
    int32_t* next = mutable_data<int32_t>(integers_);
    const auto take = [&](int64_t count) {
      next += count;
      return next - count;
    };
    plan_.segment = reinterpret_cast<Segment*>(take(kSegmentInts * chunks_ * kTileRows));
    plan_.chunks = take(1);
    plan_.segments = take(chunks_);
    plan_.group_chunks = take(chunks_);
    plan_.group_first = take(chunks_);
    plan_.entries = take(inputs.sessions);
    plan_.first_chunk = take(inputs.sessions);
    plan_.first_row = take(inputs.sessions);
    plan_.segment_number = take(inputs.sessions);
    plan_.multiplicity = mutable_data<T>(multiplicities_);
    if (inputs.sessions == 0) return;
    launch(count_entries<T>, session_blocks(), kBlockThreads, 0, sources_, plan_);
    launch(cut_chunks<T>, 1, kBlockThreads, 0, inputs.sessions, plan_);
    launch(fill_rows<T, Mode>, session_blocks(), kBlockThreads, 0, sources_, plan_, rows(), width_);
  }

  const TargetPlan<T>& plan() const { return plan_; }
  typename Mode::Stored* rows() { return static_cast<typename Mode::Stored*>(rows_.mutable_data_ptr()); }
  int64_t most_chunks() const { return chunks_; }
  int width() const { return width_; }
  int64_t size() const { return chunks_ * kTileRows * width_; }

  void scatter(const T* grad_rows, int parts, T* grad_session, T* grad_keys, T* grad_values) const {
    launch(
        scatter_row_gradients<T>, session_blocks(), kBlockThreads, 0, sources_, plan_, grad_rows, parts, size(), width_,
        grad_session, grad_keys, grad_values);
  }

 private:
  unsigned session_blocks() const { return blocks_for(sources_.sessions, kBlockThreads / kWarpLanes); }

  TargetSources<T> sources_;
  TargetPlan<T> plan_;
  Tensor rows_, multiplicities_, integers_;
  int64_t chunks_;
  int width_;
};

}  // namespace tagnn_fast::cuda
