// Self-attention among the nodes of each session; sessions run in parallel.

#include <torch/csrc/stable/library.h>

#include <optional>

#include "session_attention_kernel.h"
#include "sessions.h"

namespace tagnn_fast {
namespace {

template <class T>
const SessionAttentionLoops<T>& loops();
template <>
const SessionAttentionLoops<float>& loops<float>() {
  return TAGNN_FAST_KERNELS(session_attention).float32;
}
template <>
const SessionAttentionLoops<double>& loops<double>() {
  return TAGNN_FAST_KERNELS(session_attention).float64;
}

AttentionOptions check_arguments(
    const Tensor& qkv, int64_t heads, bool causal, double dropout, const std::optional<Tensor>& seed) {
  const ScalarType dtype = check_floating(qkv, "qkv");
  check_tensor(qkv, "qkv", dtype, {kAnySize, kAnySize});
  const int64_t hidden = qkv.size(1) / 3;
  check_value(qkv.size(1) == 3 * hidden, "qkv", "a multiple of 3 columns", static_cast<double>(qkv.size(1)));
  check_value(heads >= 1 && hidden % heads == 0, "heads", "a divisor of hidden", static_cast<double>(heads));
  check_value(dropout >= 0 && dropout < 1, "dropout", "a rate in [0, 1)", dropout);
  AttentionOptions options{hidden, heads, causal, dropout, 0};
  if (dropout > 0) {
    if (!seed) throw std::runtime_error("seed: expected an int64 (1,) tensor where dropout is used, got None");
    check_tensor(*seed, "seed", ScalarType::Long, {1});
    options.seed = static_cast<uint64_t>(*data<int64_t>(*seed));
  }
  return options;
}

// Calls body(begin, end, scratch) on ranges of sessions, with room for `rows` values per node of the longest session.
template <class T, class Body>
void for_attention_chunks(const SlotRanges& ranges, int64_t hidden, int64_t rows, const Body& body) {
  int64_t longest = 0, pairs = 0;
  for (const SessionSlots& session : ranges.sessions) {
    longest = std::max(longest, session.nodes());
    pairs += session.nodes() * session.nodes();
  }
  for_session_chunks(ranges, num_chunks(pairs * hidden), [&](int64_t, int64_t begin, int64_t end) {
    std::vector<T> scratch(static_cast<size_t>(rows * longest));
    body(begin, end, scratch.data());
  });
}

Tensor session_attention(
    const Tensor& qkv_in, const Tensor& slot_offsets, const Tensor& num_nodes, int64_t heads, bool causal,
    double dropout, const std::optional<Tensor>& seed) {
  const AttentionOptions options = check_arguments(qkv_in, heads, causal, dropout, seed);
  const Tensor qkv = torch::stable::contiguous(qkv_in);
  const SlotRanges ranges = slot_ranges(slot_offsets, num_nodes, qkv.size(0));
  Tensor out = torch::stable::new_empty(qkv, {qkv.size(0), options.hidden});
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    zero_unowned(mutable_data<T>(out), ranges, options.hidden);
    for_attention_chunks<T>(ranges, options.hidden, 1, [&](int64_t begin, int64_t end, T* scratch) {
      loops<T>().forward(data<T>(qkv), ranges.sessions.data(), options, begin, end, scratch, mutable_data<T>(out));
    });
  };
  qkv.scalar_type() == ScalarType::Float ? run(float()) : run(double());
  return out;
}

Tensor session_attention_backward(
    const Tensor& grad_in, const Tensor& qkv_in, const Tensor& slot_offsets, const Tensor& num_nodes, int64_t heads,
    bool causal, double dropout, const std::optional<Tensor>& seed) {
  const AttentionOptions options = check_arguments(qkv_in, heads, causal, dropout, seed);
  check_tensor(grad_in, "grad", qkv_in.scalar_type(), {qkv_in.size(0), options.hidden});
  const Tensor grad = torch::stable::contiguous(grad_in), qkv = torch::stable::contiguous(qkv_in);
  const SlotRanges ranges = slot_ranges(slot_offsets, num_nodes, qkv.size(0));
  Tensor grad_qkv = torch::stable::new_empty(qkv, {qkv.size(0), 3 * options.hidden});
  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    zero_unowned(mutable_data<T>(grad_qkv), ranges, 3 * options.hidden);
    for_attention_chunks<T>(ranges, options.hidden, 2, [&](int64_t begin, int64_t end, T* scratch) {
      loops<T>().backward(
          data<T>(grad), data<T>(qkv), ranges.sessions.data(), options, begin, end, scratch,
          mutable_data<T>(grad_qkv));
    });
  };
  qkv.scalar_type() == ScalarType::Float ? run(float()) : run(double());
  return grad_qkv;
}

}  // namespace
}  // namespace tagnn_fast

STABLE_TORCH_LIBRARY_IMPL(tagnn_fast, CPU, library) {
  library.impl("session_attention", TORCH_BOX(&tagnn_fast::session_attention));
  library.impl("session_attention_backward", TORCH_BOX(&tagnn_fast::session_attention_backward));
}
