// Soft-attention readout: two products by PyTorch's library, the rest in the loops of session_readout_kernel.cpp.

#include <tuple>

#include "../matmul.h"
#include "../registration.h"
#include "../session_readout_checks.h"
#include "packing.h"
#include "session_readout_kernel.h"
#include "sessions.h"

namespace tagnn_fast {
namespace {

template <class T>
const SessionReadoutLoops<T>& loops() {
  return loops_for<T>(TAGNN_FAST_KERNELS(session_readout));
}

// The graph arrays that both directions read, checked, and kept alive while `batch` points at them.
struct ReadoutGraph {
  ReadoutTensors tensors;
  SlotRanges ranges;
  ReadoutBatch batch;

  ReadoutGraph(
      const Tensor& nodes, const Tensor& clicks_in, const Tensor& slot_offsets, const Tensor& num_nodes,
      const Tensor& last_node_in, const Tensor& padding_in, bool normalize)
      : tensors(nodes.size(0), check_graph(slot_offsets, num_nodes), clicks_in, last_node_in, padding_in),
        ranges(slot_ranges(slot_offsets, num_nodes, nodes.size(0))) {
    batch = {
        ranges.sessions.data(), data<int64_t>(tensors.clicks), data<int64_t>(tensors.padding), nodes.size(1),
        normalize};
  }

  int64_t chunks() const { return num_chunks(ranges.slots * batch.hidden * 16); }

  // Calls visit(session, slot) for every session whose last node is a real slot.
  template <class Visit>
  void for_each_last(const Visit& visit) const {
    const int64_t* last = data<int64_t>(tensors.last_node);
    for (int64_t b = 0; b < ranges.size(); ++b) {
      if (last[b] >= 0 && last[b] < ranges.slots) visit(b, last[b]);
    }
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> session_readout(
    const Tensor& nodes_in, const Tensor& clicks, const Tensor& slot_offsets, const Tensor& num_nodes,
    const Tensor& last_node, const Tensor& padding, const Tensor& query_weight, const Tensor& query_bias_in,
    const Tensor& key_weight, const Tensor& key_bias_in, const Tensor& logit_weight_in, bool normalize) {
  const NoGradient no_gradient;
  const ReadoutSizes sizes =
      check_readout(nodes_in, query_weight, query_bias_in, key_weight, key_bias_in, logit_weight_in);
  const int64_t slots = sizes.slots, hidden = sizes.hidden;
  const ReadoutGraph graph(nodes_in, clicks, slot_offsets, num_nodes, last_node, padding, normalize);
  const int64_t sessions = graph.ranges.size();

  const Tensor nodes = as_contiguous(nodes_in);
  const Tensor query_bias = as_contiguous(query_bias_in);
  const Tensor key_bias = as_contiguous(key_bias_in);
  const Tensor logit_weight = as_contiguous(logit_weight_in);
  Tensor last_click = torch::stable::new_zeros(nodes, {sessions, hidden});
  Tensor pooled = torch::stable::new_empty(nodes, {sessions, hidden});
  Tensor coefficients = torch::stable::new_empty(nodes, {slots});
  Tensor activations;

  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    graph.for_each_last([&](int64_t session, int64_t slot) {
      std::copy_n(data<T>(nodes) + slot * hidden, hidden, mutable_data<T>(last_click) + session * hidden);
    });
    const Tensor queries = product(last_click, transposed(query_weight));  // (sessions, hidden)
    activations = product(nodes, transposed(key_weight));                  // (slots, hidden), keys so far
    zero_unowned(mutable_data<T>(activations), graph.ranges, hidden);
    zero_unowned(mutable_data<T>(coefficients), graph.ranges, 1);
    for_session_chunks(graph.ranges, graph.chunks(), [&](int64_t, int64_t begin, int64_t end) {
      loops<T>().forward(
          graph.batch, data<T>(nodes), data<T>(queries), data<T>(query_bias), data<T>(key_bias), data<T>(logit_weight),
          begin, end, mutable_data<T>(activations), mutable_data<T>(coefficients), mutable_data<T>(pooled));
    });
  };
  sizes.dtype == ScalarType::Float ? run(float()) : run(double());
  return {pooled, last_click, activations, coefficients};
}

using ReadoutGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

ReadoutGradients session_readout_backward(
    const Tensor& grad_pooled_in, const Tensor& grad_last_click_in, const Tensor& nodes_in, const Tensor& clicks,
    const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& last_node, const Tensor& padding,
    const Tensor& query_weight, const Tensor& key_weight, const Tensor& logit_weight_in, bool normalize,
    const Tensor& last_click, const Tensor& activations_in, const Tensor& coefficients_in) {
  const NoGradient no_gradient;
  const ReadoutSizes sizes = check_readout_nodes(nodes_in);
  const int64_t slots = sizes.slots, hidden = sizes.hidden;
  const ReadoutGraph graph(nodes_in, clicks, slot_offsets, num_nodes, last_node, padding, normalize);
  const int64_t sessions = graph.ranges.size();
  check_readout_backward(
      sizes, sessions, grad_pooled_in, grad_last_click_in, query_weight, key_weight, logit_weight_in, last_click,
      activations_in, coefficients_in);

  const Tensor grad_pooled = as_contiguous(grad_pooled_in);
  const Tensor grad_last_click = as_contiguous(grad_last_click_in);
  const Tensor nodes = as_contiguous(nodes_in);
  const Tensor logit_weight = as_contiguous(logit_weight_in);
  const Tensor activations = as_contiguous(activations_in);
  const Tensor coefficients = as_contiguous(coefficients_in);
  Tensor grad_nodes = torch::stable::new_empty(nodes, {slots, hidden});
  Tensor grad_keys = torch::stable::new_empty(nodes, {slots, hidden});
  Tensor grad_queries = torch::stable::new_empty(nodes, {sessions, hidden});
  const int64_t chunks = graph.chunks();
  Tensor grad_logit_weights = torch::stable::new_zeros(nodes, {chunks, hidden});  // one row per chunk, summed below
  int64_t longest = 0;
  for (const SessionSlots& session : graph.ranges.sessions) longest = std::max(longest, session.end - session.begin);

  const auto run = [&](auto scalar) {
    using T = decltype(scalar);
    zero_unowned(mutable_data<T>(grad_nodes), graph.ranges, hidden);
    zero_unowned(mutable_data<T>(grad_keys), graph.ranges, hidden);
    for_session_chunks(graph.ranges, chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
      std::vector<T> scratch(static_cast<size_t>(longest));
      loops<T>().backward(
          graph.batch, data<T>(grad_pooled), data<T>(nodes), data<T>(activations), data<T>(coefficients),
          data<T>(logit_weight), begin, end, scratch.data(), mutable_data<T>(grad_nodes), mutable_data<T>(grad_keys),
          mutable_data<T>(grad_queries), mutable_data<T>(grad_logit_weights) + chunk * hidden);
    });
    add_in_place<T>(grad_nodes, product(grad_keys, key_weight));
    const Tensor through_queries = product(grad_queries, query_weight);  // (sessions, hidden)
    graph.for_each_last([&](int64_t session, int64_t slot) {
      T* grad = mutable_data<T>(grad_nodes) + slot * hidden;
      const T *direct = data<T>(grad_last_click) + session * hidden,
              *query = data<T>(through_queries) + session * hidden;
      for (int64_t c = 0; c < hidden; ++c) grad[c] += direct[c] + query[c];
    });
  };
  sizes.dtype == ScalarType::Float ? run(float()) : run(double());
  const Tensor grad_bias = column_sums(grad_queries);  // both biases are added to the same sums
  return {
      grad_nodes,
      product(transposed(grad_queries), last_click),
      grad_bias,
      product(transposed(grad_keys), nodes),
      torch::stable::clone(grad_bias),
      column_sums(grad_logit_weights)};
}

}  // namespace
}  // namespace tagnn_fast

TAGNN_FAST_REGISTER(CPU, library) {
  library.impl("session_readout", TORCH_BOX(&tagnn_fast::session_readout));
  library.impl("session_readout_backward", TORCH_BOX(&tagnn_fast::session_readout_backward));
}
