// From clicks to what target attention takes, at once: what lies between the encoder's ops is in memory of this call,
// no tensor. See tagnn_fast/ops/encode_sessions.py.

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "../registration.h"
#include "encoder.h"
#include "math.h"

namespace tagnn_fast::cpu {
namespace {

struct EncodeInputs {
  SessionGraphInputs clicks;
  Tensor item_vectors;
  GatedPropagationParameters propagation;
  std::optional<SessionAttentionParameters> attention;
  SessionAttentionOptions options;
  SessionReadoutParameters readout;
  std::optional<Tensor> hybrid_weight, hybrid_bias;
  Tensor target_weight;
  std::optional<Tensor> recency;
  std::optional<double> session_length, value_length;
  ScalarType dtype = ScalarType::Undefined;
  int64_t items = 0, hidden = 0;

  void check() {
    constexpr Backend backend = CpuOp::kBackend;
    clicks.check(backend);
    dtype = check_floating(item_vectors, "item_vectors");
    check_tensor(backend, item_vectors, "item_vectors", dtype, {kAnySize, kAnySize});
    items = item_vectors.size(0);
    hidden = item_vectors.size(1);
    make_contiguous({&item_vectors});
    propagation.check_parameters(backend, dtype, hidden);
    if (attention) {
      attention->check_parameters(backend, dtype, hidden);
      options.check(backend, hidden);
    }
    readout.check_parameters(backend, dtype, hidden);
    if (hybrid_weight.has_value() != hybrid_bias.has_value()) {
      throw std::runtime_error("hybrid_bias: expected with hybrid_weight, and none without; got one of them");
    }
    if (hybrid_weight) {
      check_tensor(backend, *hybrid_weight, "hybrid_weight", dtype, {hidden, 2 * hidden});
      check_tensor(backend, *hybrid_bias, "hybrid_bias", dtype, {hidden});
      make_contiguous({&*hybrid_bias});
    }
    check_tensor(backend, target_weight, "target_weight", dtype, {hidden, hidden});
    if (recency) {
      check_tensor(backend, *recency, "recency", dtype, {kAnySize, hidden});
      if (recency->size(0) == 0) throw std::runtime_error("recency: expected a place or more, got none");
      make_contiguous({&*recency});
    }
  }
};

struct EncodeOutputs {
  Tensor session, keys, values, click_counts, padding, slot_offsets;

  explicit EncodeOutputs(const EncodeInputs& inputs) {
    constexpr Backend backend = CpuOp::kBackend;
    const int64_t sessions = inputs.clicks.sessions, slots = inputs.clicks.slots, hidden = inputs.hidden;
    session = new_unwritten(backend, inputs.item_vectors, {sessions, hidden});
    keys = new_unwritten(backend, inputs.item_vectors, {slots, hidden});
    values = new_unwritten(backend, inputs.item_vectors, {slots, hidden});
    click_counts = new_unwritten(backend, inputs.clicks.items, {slots});
    padding = new_unwritten(backend, inputs.clicks.items, {sessions});
    slot_offsets = new_unwritten(backend, inputs.clicks.items, {sessions + 1});
  }
};

// Unwritten memory, handed out piece by piece.
template <class T>
class Workspace {
 public:
  explicit Workspace(int64_t size) : memory_(allocate(size)), next_(memory_.get()) {}
  T* take(int64_t size) { return std::exchange(next_, next_ + size); }

 private:
  static std::unique_ptr<T[]> allocate(int64_t size) {
    try {
      return std::unique_ptr<T[]>(new T[size]);
    } catch (const std::bad_alloc&) {
      throw std::runtime_error("out of memory: expected enough for " + std::to_string(size) + " numbers");
    }
  }

  std::unique_ptr<T[]> memory_;
  T* next_;
};

// The product of these, none of them negative; where it is more than any memory holds, so much.
int64_t numbers(std::initializer_list<int64_t> factors) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 2;
  int64_t result = 1;
  for (const int64_t factor : factors) {
    if (__builtin_mul_overflow(result, factor, &result)) return kMost;
  }
  return std::min(result, kMost);
}

template <class T>
void gather(const EncodeInputs& inputs, const int64_t* node_items, T* nodes) {
  const int64_t hidden = inputs.hidden;
  for_balanced_chunks(
      num_chunks(inputs.clicks.slots * hidden), inputs.clicks.slots, [](int64_t slot) { return slot; },
      [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t slot = begin; slot < end; ++slot) {
          const int64_t item = node_items[slot];
          if (item < 0 || item >= inputs.items) {
            throw std::runtime_error(
                "items: expected rows of item_vectors, 0.." + std::to_string(inputs.items - 1) + ", got " +
                std::to_string(item));
          }
          std::copy_n(data<T>(inputs.item_vectors) + item * hidden, hidden, nodes + slot * hidden);
        }
      });
}

// Adds to each slot the vector of the place that its node's last click has among its session's, from the end; the last
// place is for all before it, and for slots without a click.
template <class T>
void add_recency(
    const EncodeInputs& inputs, const SlotRanges& ranges, const int64_t* click_nodes, Workspace<int64_t>& integers,
    T* nodes) {
  const int64_t hidden = inputs.hidden, slots = inputs.clicks.slots, sessions = ranges.size();
  int64_t *place = integers.take(slots), *owner = integers.take(slots), *later = integers.take(sessions + 1);
  std::fill_n(place, slots, inputs.recency->size(0) - 1);
  std::fill_n(owner, slots, sessions);
  std::fill_n(later, sessions + 1, 0);
  for (int64_t b = 0; b < sessions; ++b) {
    std::fill(owner + ranges.sessions[b].begin, owner + ranges.sessions[b].end, b);
  }
  for (int64_t click = inputs.clicks.clicks - 1; click >= 0; --click) {
    const int64_t slot = click_nodes[click];
    if (slot != kNoSlot) place[slot] = std::min(place[slot], later[owner[slot]]++);
  }
  for (int64_t slot = 0; slot < slots; ++slot) {
    const T* vector = data<T>(*inputs.recency) + place[slot] * hidden;
    for (int64_t i = 0; i < hidden; ++i) nodes[slot * hidden + i] += vector[i];
  }
}

// Rows of this length, but shorter ones than 1e-6 by that factor: see tagnn_fast/nn/unit_rows.py.
template <class T>
void stretch(T length, int64_t rows, int64_t hidden, T* values) {
  for (T* row = values; row != values + rows * hidden; row += hidden) {
    const T factor = length / std::max(std::sqrt(dot(row, row, hidden)), static_cast<T>(1e-6));
    for (int64_t i = 0; i < hidden; ++i) row[i] *= factor;
  }
}

// [pooled ; last click] hybrid_weightᵀ + hybrid_bias
template <class T>
void project_hybrid(
    DenseProducts how, const EncodeInputs& inputs, const T* pooled, const T* last_click, T* both, T* session) {
  const int64_t sessions = inputs.clicks.sessions, hidden = inputs.hidden;
  for (int64_t b = 0; b < sessions; ++b) {
    std::copy_n(pooled + b * hidden, hidden, both + 2 * b * hidden);
    std::copy_n(last_click + b * hidden, hidden, both + (2 * b + 1) * hidden);
  }
  multiply_rows(how, both, sessions, *inputs.hybrid_weight, session);
  for (int64_t i = 0; i < sessions * hidden; ++i) session[i] += data<T>(*inputs.hybrid_bias)[i % hidden];
}

template <class T>
void encode(const EncodeInputs& inputs, EncodeOutputs& out) {
  const int64_t clicks = inputs.clicks.clicks, sessions = inputs.clicks.sessions, slots = inputs.clicks.slots;
  const int64_t hidden = inputs.hidden, steps = inputs.propagation.steps;
  // All products of a call alike.
  const DenseProducts how =
      std::max(slots, sessions) <= kFewDenseRows ? DenseProducts::kOfFewRows : DenseProducts::kByLibrary;
  Workspace<int64_t> integers(7 * slots + 3 * clicks + 3 * sessions + 1);
  SessionGraphArrays graph{};
  graph.clicks = mutable_data<int64_t>(out.click_counts);
  graph.padding = mutable_data<int64_t>(out.padding);
  graph.slot_offsets = mutable_data<int64_t>(out.slot_offsets);
  for (int64_t** list : {&graph.node_items, &graph.in_start, &graph.out_start, &graph.in_count, &graph.out_count}) {
    *list = integers.take(slots);
  }
  for (int64_t** list : {&graph.in_neighbours, &graph.out_neighbours, &graph.click_nodes})
    *list = integers.take(clicks);
  for (int64_t** list : {&graph.num_nodes, &graph.last_node}) *list = integers.take(sessions);
  build_graphs(inputs.clicks, graph);
  const SlotRanges ranges = slot_ranges(graph.slot_offsets, graph.num_nodes, sessions, slots);

  Workspace<T> values(numbers({steps, 11, slots, hidden}) + 8 * slots * hidden + slots + 4 * sessions * hidden);
  T *nodes = values.take(slots * hidden), *propagated = values.take(slots * hidden);
  T* result = mutable_data<T>(out.values);
  gather(inputs, graph.node_items, nodes);
  const PropagationBatch batch{
      ranges.sessions.data(),
      {graph.in_start, graph.in_count, graph.in_neighbours, clicks},
      {graph.out_start, graph.out_count, graph.out_neighbours, clicks},
      hidden};
  T *states = values.take(steps * slots * hidden), *messages = values.take(2 * steps * slots * hidden);
  T *products = values.take(5 * steps * slots * hidden), *gates = values.take(3 * steps * slots * hidden);
  propagate<T>(
      how, ranges, batch, inputs.propagation, nodes, {states, messages, products, gates},
      inputs.attention ? propagated : result);
  if (inputs.recency) {
    add_recency(inputs, ranges, graph.click_nodes, integers, inputs.attention ? propagated : result);
  }
  if (inputs.attention) {
    T *rows = values.take(slots * hidden), *qkv = values.take(3 * slots * hidden),
      *attended = values.take(slots * hidden);
    attend<T>(how, ranges, hidden, *inputs.attention, inputs.options, propagated, {rows, qkv, attended}, result);
  }
  const bool hybrid = inputs.hybrid_weight.has_value();
  T* session = mutable_data<T>(out.session);
  T *pooled = hybrid ? values.take(sessions * hidden) : session, *last_click = values.take(sessions * hidden);
  T *activations = values.take(slots * hidden), *coefficients = values.take(slots);
  const ReadoutBatch readout{ranges.sessions.data(), graph.clicks, graph.padding, hidden, inputs.readout.normalize};
  read_out<T>(
      how, ranges, readout, graph.last_node, inputs.readout, result, {pooled, last_click, activations, coefficients});
  if (hybrid) project_hybrid(how, inputs, pooled, last_click, values.take(2 * sessions * hidden), session);
  multiply_rows(how, result, slots, inputs.target_weight, mutable_data<T>(out.keys));
  if (inputs.session_length) stretch<T>(*inputs.session_length, sessions, hidden, session);
  if (inputs.value_length) stretch<T>(*inputs.value_length, slots, hidden, result);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> encode_sessions(
    const Tensor& items, const Tensor& offsets, std::optional<int64_t> padded_length, const Tensor& item_vectors,
    const Tensor& state_weight, const Tensor& state_bias, const Tensor& message_bias, const Tensor& weight_ih,
    const Tensor& bias_ih, int64_t steps, const std::optional<Tensor>& qkv_weight,
    const std::optional<Tensor>& qkv_bias, const std::optional<Tensor>& out_weight,
    const std::optional<Tensor>& out_bias, const std::optional<Tensor>& norm_weight,
    const std::optional<Tensor>& norm_bias, int64_t heads, const Tensor& query_weight, const Tensor& query_bias,
    const Tensor& key_weight, const Tensor& key_bias, const Tensor& logit_weight, bool normalize,
    const std::optional<Tensor>& hybrid_weight, const std::optional<Tensor>& hybrid_bias, const Tensor& target_weight,
    const std::optional<Tensor>& recency, std::optional<double> session_length, std::optional<double> value_length) {
  const NoGradient no_gradient;
  EncodeInputs inputs{
      {items, offsets, padded_length},
      item_vectors,
      {state_weight, state_bias, message_bias, weight_ih, bias_ih, steps},
      std::nullopt,
      {heads, true, 0, std::nullopt},
      {query_weight, query_bias, key_weight, key_bias, logit_weight, normalize},
      hybrid_weight,
      hybrid_bias,
      target_weight,
      recency,
      session_length,
      value_length};
  const int given = qkv_weight.has_value() + qkv_bias.has_value() + out_weight.has_value() + out_bias.has_value();
  if (given != 0 && given != 4) {
    throw std::runtime_error("qkv_weight: expected all four with out_bias or none, got some");
  }
  if (given == 4) {
    inputs.attention = {*qkv_weight, *qkv_bias, *out_weight, *out_bias, norm_weight, norm_bias};
  }
  inputs.check();
  EncodeOutputs out(inputs);
  with_scalar(inputs.dtype, [&](auto scalar) { encode<decltype(scalar)>(inputs, out); });
  return {out.session, out.keys, out.values, out.click_counts, out.padding, out.slot_offsets};
}

}  // namespace
}  // namespace tagnn_fast::cpu

// For every device, to refuse others than the CPU in our own words.
TAGNN_FAST_REGISTER(CompositeExplicitAutograd, library) {
  library.impl("encode_sessions", TORCH_BOX(&tagnn_fast::cpu::encode_sessions));
}
