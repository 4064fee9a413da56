// Soft-attention readout: two products by PyTorch's library, the rest in the loops of session_readout_kernel.cpp.

#include "../session_readout.h"

#include "encoder.h"
#include "packing.h"

namespace tagnn_fast::cpu {
namespace {

template <class T>
const SessionReadoutLoops<T>& loops() {
  return loops_for<T>(TAGNN_FAST_KERNELS(session_readout));
}

struct ReadoutSessions {
  SlotRanges ranges;
  ReadoutBatch batch;
  const int64_t* last_node;

  ReadoutSessions(const ReadoutGraph& graph, int64_t hidden, bool normalize)
      : ranges(slot_ranges(graph.slots)),
        batch{ranges.sessions.data(), data<int64_t>(graph.clicks), data<int64_t>(graph.padding), hidden, normalize},
        last_node(data<int64_t>(graph.last_node)) {}
};

int64_t chunks_of(const SlotRanges& ranges, const ReadoutBatch& batch) {
  return num_chunks(ranges.slots * batch.hidden * 16);
}

// Calls visit(session, slot) for every session whose last node is a node of its own.
template <class Visit>
void for_each_last(const SlotRanges& ranges, const int64_t* last_node, const Visit& visit) {
  for (int64_t b = 0; b < ranges.size(); ++b) {
    const int64_t slot = last_node[b];
    if (slot >= ranges.sessions[b].begin && slot < ranges.sessions[b].nodes_end) visit(b, slot);
  }
}

struct CpuSessionReadout : CpuOp {
  template <class T>
  static void forward(const SessionReadoutInputs& inputs, SessionReadoutOutputs& outputs) {
    const ReadoutSessions graph(inputs.graph, inputs.hidden, inputs.normalize);
    const ReadoutMemory<T> memory{
        mutable_data<T>(outputs.pooled), mutable_data<T>(outputs.last_click), mutable_data<T>(outputs.activations),
        mutable_data<T>(outputs.coefficients)};
    read_out(
        DenseProducts::kByLibrary, graph.ranges, graph.batch, graph.last_node, inputs, data<T>(inputs.nodes), memory);
  }

  template <class T>
  static void backward(const SessionReadoutBackwardInputs& inputs, SessionReadoutGradients& grads) {
    const int64_t hidden = inputs.hidden;
    const ReadoutSessions graph(inputs.graph, hidden, inputs.normalize);
    const int64_t chunks = chunks_of(graph.ranges, graph.batch);
    grads.logit_weights = make_zeros(inputs.nodes, {chunks, hidden});  // a row per chunk
    int64_t longest = 0;
    for (const SessionSlots& session : graph.ranges.sessions) longest = std::max(longest, session.end - session.begin);
    zero_unowned(mutable_data<T>(grads.nodes), graph.ranges, hidden);
    zero_unowned(mutable_data<T>(grads.keys), graph.ranges, hidden);
    for_session_chunks(graph.ranges, chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
      std::vector<T> scratch(longest);
      loops<T>().backward(
          graph.batch, data<T>(inputs.grad_pooled), data<T>(inputs.nodes), data<T>(inputs.activations),
          data<T>(inputs.coefficients), data<T>(inputs.logit_weight), begin, end, scratch.data(),
          mutable_data<T>(grads.nodes), mutable_data<T>(grads.keys), mutable_data<T>(grads.queries),
          mutable_data<T>(grads.logit_weights) + chunk * hidden);
    });
    add_in_place<T>(grads.nodes, product(grads.keys, inputs.key_weight));
    const Tensor through_queries = product(grads.queries, inputs.query_weight);  // (sessions, hidden)
    for_each_last(graph.ranges, graph.last_node, [&](int64_t session, int64_t slot) {
      T* grad = mutable_data<T>(grads.nodes) + slot * hidden;
      const T *direct = data<T>(inputs.grad_last_click) + session * hidden,
              *query = data<T>(through_queries) + session * hidden;
      for (int64_t c = 0; c < hidden; ++c) grad[c] += direct[c] + query[c];
    });
  }
};

}  // namespace

template <class T>
void read_out(
    DenseProducts how, const SlotRanges& ranges, const ReadoutBatch& batch, const int64_t* last_node,
    const SessionReadoutParameters& parameters, const T* nodes, const ReadoutMemory<T>& out) {
  const int64_t hidden = batch.hidden;
  std::fill_n(out.last_click, ranges.size() * hidden, T(0));
  for_each_last(ranges, last_node, [&](int64_t session, int64_t slot) {
    std::copy_n(nodes + slot * hidden, hidden, out.last_click + session * hidden);
  });
  const std::unique_ptr<T[]> queries(new T[ranges.size() * hidden]);
  multiply_rows(how, out.last_click, ranges.size(), parameters.query_weight, queries.get());  // (sessions, hidden)
  multiply_rows(how, nodes, ranges.slots, parameters.key_weight, out.activations);  // (slots, hidden), keys so far
  zero_unowned(out.activations, ranges, hidden);
  zero_unowned(out.coefficients, ranges, 1);
  for_session_chunks(ranges, chunks_of(ranges, batch), [&](int64_t, int64_t begin, int64_t end) {
    loops<T>().forward(
        batch, nodes, queries.get(), data<T>(parameters.query_bias), data<T>(parameters.key_bias),
        data<T>(parameters.logit_weight), begin, end, out.activations, out.coefficients, out.pooled);
  });
}

template void read_out(
    DenseProducts, const SlotRanges&, const ReadoutBatch&, const int64_t*, const SessionReadoutParameters&,
    const float*, const ReadoutMemory<float>&);
template void read_out(
    DenseProducts, const SlotRanges&, const ReadoutBatch&, const int64_t*, const SessionReadoutParameters&,
    const double*, const ReadoutMemory<double>&);

}  // namespace tagnn_fast::cpu

TAGNN_FAST_REGISTER(CPU, library) { tagnn_fast::register_session_readout<tagnn_fast::cpu::CpuSessionReadout>(library); }
