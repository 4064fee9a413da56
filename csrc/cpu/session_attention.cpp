// Multi-head self-attention among the nodes of each session: projections by PyTorch's library on packed nodes,
// attention in the loops of session_attention_kernel.cpp, sessions in parallel.

#include "../session_attention.h"

#include "encoder.h"
#include "packing.h"
#include "session_attention_kernel.h"

namespace tagnn_fast::cpu {
namespace {

template <class T>
const SessionAttentionLoops<T>& loops() {
  return loops_for<T>(TAGNN_FAST_KERNELS(session_attention));
}

SessionAttentionBatch batch_of(const SlotRanges& ranges, int64_t hidden, const SessionAttentionOptions& options) {
  const int64_t* seed = optional_data<int64_t>(options.seed);
  return {ranges.sessions.data(), hidden,          options.heads,
          options.causal,         options.dropout, seed == nullptr ? 0 : static_cast<uint64_t>(*seed)};
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
    std::vector<T> scratch(values * longest);
    body(begin, end, scratch.data());
  });
}

struct CpuSessionAttention : CpuOp {
  template <class T>
  static void forward(const SessionAttentionInputs& inputs, SessionAttentionOutputs& outputs) {
    const AttentionMemory<T> memory{
        mutable_data<T>(outputs.rows), mutable_data<T>(outputs.qkv), mutable_data<T>(outputs.attended)};
    attend(
        DenseProducts::kByLibrary, slot_ranges(inputs.graph), inputs.hidden, inputs, inputs.options,
        data<T>(inputs.nodes), memory, mutable_data<T>(outputs.out));
  }

  template <class T>
  static void backward(const SessionAttentionBackwardInputs& inputs, SessionAttentionGradients& grads) {
    const SlotRanges ranges = slot_ranges(inputs.graph);
    const int64_t hidden = inputs.hidden, nodes = ranges.nodes(), chunks = num_chunks(nodes * hidden * 8);
    const SessionAttentionBatch batch = batch_of(ranges, hidden, inputs.options);
    grads.rows = make_empty(inputs.grad, {nodes, hidden});
    grads.qkv = make_empty(inputs.grad, {nodes, 3 * hidden});
    Tensor grad_norm_weights = make_zeros(inputs.grad, {chunks, hidden});  // a row per chunk
    pack_nodes(ranges, hidden, data<T>(inputs.grad), mutable_data<T>(grads.rows));
    const Tensor grad_attended = product(grads.rows, inputs.out_weight);  // (rows, hidden)
    for_attention_chunks<T>(ranges, hidden, 2, [&](int64_t begin, int64_t end, T* scratch) {
      loops<T>().backward(
          batch, data<T>(grad_attended), data<T>(inputs.qkv), begin, end, scratch, mutable_data<T>(grads.qkv));
    });
    const Tensor through_attention = product(grads.qkv, inputs.qkv_weight);  // (rows, hidden)
    zero_unowned(mutable_data<T>(grads.nodes), ranges, hidden);
    for_session_chunks(ranges, chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
      loops<T>().finish_backward(
          batch, data<T>(grads.rows), data<T>(inputs.rows), optional_data<T>(inputs.norm_weight),
          data<T>(through_attention), begin, end, mutable_data<T>(grads.nodes),
          mutable_data<T>(grad_norm_weights) + chunk * hidden);
    });
    grads.norm_weight = column_sums(grad_norm_weights);
  }
};

}  // namespace

template <class T>
void attend(
    DenseProducts how, const SlotRanges& ranges, int64_t hidden, const SessionAttentionParameters& parameters,
    const SessionAttentionOptions& options, const T* nodes, const AttentionMemory<T>& memory, T* out) {
  const int64_t rows = ranges.nodes();
  const SessionAttentionBatch batch = batch_of(ranges, hidden, options);
  zero_unused_rows(ranges, hidden, memory.rows);
  zero_unused_rows(ranges, 3 * hidden, memory.qkv);
  zero_unused_rows(ranges, hidden, memory.attended);
  pack_nodes(ranges, hidden, nodes, memory.rows);
  multiply_rows(how, memory.rows, rows, parameters.qkv_weight, memory.qkv);  // (rows, 3 hidden)
  for_attention_chunks<T>(ranges, hidden, 1, [&](int64_t begin, int64_t end, T* scratch) {
    loops<T>().forward(batch, data<T>(parameters.qkv_bias), begin, end, scratch, memory.qkv, memory.attended);
  });
  const std::unique_ptr<T[]> projected(new T[rows * hidden]);
  multiply_rows(how, memory.attended, rows, parameters.out_weight, projected.get());  // (rows, hidden)
  zero_unowned(out, ranges, hidden);
  for_session_chunks(ranges, num_chunks(rows * hidden * 8), [&](int64_t, int64_t begin, int64_t end) {
    loops<T>().finish(
        batch, projected.get(), data<T>(parameters.out_bias), memory.rows, optional_data<T>(parameters.norm_weight),
        optional_data<T>(parameters.norm_bias), begin, end, out);
  });
}

template void attend(
    DenseProducts, const SlotRanges&, int64_t, const SessionAttentionParameters&, const SessionAttentionOptions&,
    const float*, const AttentionMemory<float>&, float*);
template void attend(
    DenseProducts, const SlotRanges&, int64_t, const SessionAttentionParameters&, const SessionAttentionOptions&,
    const double*, const AttentionMemory<double>&, double*);

}  // namespace tagnn_fast::cpu

TAGNN_FAST_REGISTER(CPU, library) {
  tagnn_fast::register_session_attention<tagnn_fast::cpu::CpuSessionAttention>(library);
}
