// Multi-head self-attention among the nodes of each session: projections by PyTorch's library on packed nodes,
// attention in the loops of session_attention_kernel.cpp, sessions in parallel.

#include <optional>
#include <tuple>

#include "../matmul.h"
#include "../registration.h"
#include "../session_attention_checks.h"
#include "packing.h"
#include "session_attention_kernel.h"

namespace tagnn_fast {
namespace {

template <class T>
const SessionAttentionLoops<T>& loops() {
  return loops_for<T>(TAGNN_FAST_KERNELS(session_attention));
}

AttentionBatch check_options(
    int64_t hidden, int64_t heads, bool causal, double dropout, const std::optional<Tensor>& seed,
    const SlotRanges& ranges) {
  const Tensor given = check_attention_options(hidden, heads, dropout, seed);
  const uint64_t value = given.defined() ? static_cast<uint64_t>(*data<int64_t>(given)) : 0;
  return {ranges.sessions.data(), hidden, heads, causal, dropout, value};
}

// Calls body(begin, end, scratch) on ranges of sessions, with room for `values` per node of the longest session.
template <class T, class Body>
void for_attention_chunks(const SlotRanges& ranges, int64_t hidden, int64_t values, const Body& body) {
  int64_t longest = 0, pairs = 0;
  for (const SessionSlots& session : ranges.sessions) {
    longest = std::max(longest, session.nodes());
    pairs += session.nodes() * session.nodes();
  }
  for_session_chunks(ranges, num_chunks(pairs * hidden), [&](int64_t, int64_t begin, int64_t end) {
    std::vector<T> scratch(static_cast<size_t>(values * longest));
    body(begin, end, scratch.data());
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> session_attention(
    const Tensor& nodes_in, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& qkv_weight,
    const Tensor& qkv_bias_in, const Tensor& out_weight, const Tensor& out_bias_in,
    const std::optional<Tensor>& norm_weight_in, const std::optional<Tensor>& norm_bias_in, int64_t heads, bool causal,
    double dropout, const std::optional<Tensor>& seed) {
  const NoGradient no_gradient;
  const AttentionArguments arguments =
      check_attention(nodes_in, qkv_weight, qkv_bias_in, out_weight, out_bias_in, norm_weight_in, norm_bias_in);
  const int64_t slots = arguments.slots, hidden = arguments.hidden;
  const SlotRanges ranges = slot_ranges(slot_offsets, num_nodes, slots);
  const AttentionBatch batch = check_options(hidden, heads, causal, dropout, seed, ranges);

  const Tensor nodes = as_contiguous(nodes_in);
  const Tensor qkv_bias = as_contiguous(qkv_bias_in), out_bias = as_contiguous(out_bias_in);
  Tensor out = torch::stable::new_empty(nodes, {slots, hidden});
  Tensor rows = torch::stable::new_empty(nodes, {slots, hidden});
  Tensor qkv = torch::stable::new_empty(nodes, {slots, 3 * hidden});
  Tensor attended = torch::stable::new_empty(nodes, {slots, hidden});
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    for (Tensor* tensor : {&rows, &qkv, &attended}) zero_unused_rows<T>(*tensor, ranges.nodes());
    pack_nodes<T>(ranges, nodes, rows);
    Tensor used_qkv = used_rows(qkv, ranges.nodes());
    product_into(used_qkv, used_rows(rows, ranges.nodes()), transposed(qkv_weight));
    for_attention_chunks<T>(ranges, hidden, 1, [&](int64_t begin, int64_t end, T* scratch) {
      loops<T>().forward(
          batch, data<T>(qkv_bias), begin, end, scratch, mutable_data<T>(used_qkv), mutable_data<T>(attended));
    });
    const Tensor projected = product(used_rows(attended, ranges.nodes()), transposed(out_weight));
    zero_unowned(mutable_data<T>(out), ranges, hidden);
    for_session_chunks(ranges, num_chunks(ranges.nodes() * hidden * 8), [&](int64_t, int64_t begin, int64_t end) {
      loops<T>().finish(
          batch, data<T>(projected), data<T>(out_bias), data<T>(rows), optional_data<T>(arguments.norm_weight),
          optional_data<T>(arguments.norm_bias), begin, end, mutable_data<T>(out));
    });
  };
  arguments.dtype == ScalarType::Float ? run(float()) : run(double());
  return {out, rows, qkv, attended};
}

using AttentionGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

AttentionGradients session_attention_backward(
    const Tensor& grad_in, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& qkv_weight,
    const Tensor& out_weight, const std::optional<Tensor>& norm_weight_in, int64_t heads, bool causal, double dropout,
    const std::optional<Tensor>& seed, const Tensor& rows_in, const Tensor& qkv_in, const Tensor& attended_in) {
  const NoGradient no_gradient;
  const AttentionArguments arguments =
      check_attention_backward(grad_in, qkv_weight, out_weight, norm_weight_in, rows_in, qkv_in, attended_in);
  const int64_t slots = arguments.slots, hidden = arguments.hidden;
  const SlotRanges ranges = slot_ranges(slot_offsets, num_nodes, slots);
  const AttentionBatch batch = check_options(hidden, heads, causal, dropout, seed, ranges);

  const Tensor grad = as_contiguous(grad_in), qkv = as_contiguous(qkv_in);
  const Tensor rows = used_rows(as_contiguous(rows_in), ranges.nodes());
  const Tensor attended = used_rows(attended_in, ranges.nodes());
  Tensor grad_rows = torch::stable::new_empty(grad, {ranges.nodes(), hidden});
  Tensor grad_qkv = torch::stable::new_empty(grad, {ranges.nodes(), 3 * hidden});
  Tensor grad_nodes = torch::stable::new_empty(grad, {slots, hidden});
  const int64_t chunks = num_chunks(ranges.nodes() * hidden * 8);
  Tensor grad_norm_weights = torch::stable::new_zeros(grad, {chunks, hidden});  // one row per chunk, summed below
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    pack_nodes<T>(ranges, grad, grad_rows);
    const Tensor grad_attended = product(grad_rows, out_weight);  // (rows, hidden)
    for_attention_chunks<T>(ranges, hidden, 2, [&](int64_t begin, int64_t end, T* scratch) {
      loops<T>().backward(batch, data<T>(grad_attended), data<T>(qkv), begin, end, scratch, mutable_data<T>(grad_qkv));
    });
    const Tensor through_attention = product(grad_qkv, qkv_weight);  // (rows, hidden)
    zero_unowned(mutable_data<T>(grad_nodes), ranges, hidden);
    for_session_chunks(ranges, chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
      loops<T>().finish_backward(
          batch, data<T>(grad_rows), data<T>(rows), optional_data<T>(arguments.norm_weight), data<T>(through_attention),
          begin, end, mutable_data<T>(grad_nodes), mutable_data<T>(grad_norm_weights) + chunk * hidden);
    });
  };
  arguments.dtype == ScalarType::Float ? run(float()) : run(double());
  const Tensor grad_bias = column_sums(grad_rows);  // both biases are added to the same rows
  return {
      grad_nodes,
      product(transposed(grad_qkv), rows),
      column_sums(grad_qkv),
      product(transposed(grad_rows), attended),
      grad_bias,
      column_sums(grad_norm_weights),
      torch::stable::clone(grad_bias)};
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_REGISTER(CPU, library) {
  library.impl("session_attention", TORCH_BOX(&tagnn_fast::session_attention));
  library.impl("session_attention_backward", TORCH_BOX(&tagnn_fast::session_attention_backward));
}
