// Session readout: the ops' arguments, checked and contiguous, and their outputs, allocated, the same on every backend.
// Shapes and meanings: tagnn_fast/ops/session_readout.py.
#pragma once

#include "matmul.h"
#include "session_graph.h"

namespace tagnn_fast {

// What the readout takes of a session graph.
struct ReadoutGraph {
  Tensor clicks;
  GraphSlots slots;
  Tensor last_node, padding;

  void check(Backend backend, int64_t nodes) {
    slots.check(backend, nodes);
    check_tensor(backend, clicks, "clicks", ScalarType::Long, {nodes});
    check_tensor(backend, last_node, "last_node", ScalarType::Long, {slots.sessions});
    check_tensor(backend, padding, "padding", ScalarType::Long, {slots.sessions});
    make_contiguous({&clicks, &last_node, &padding});
  }
};

struct SessionReadoutParameters {
  Tensor query_weight, query_bias, key_weight, key_bias, logit_weight;  // the first and third may be strided
  bool normalize;

  void check_parameters(Backend backend, ScalarType dtype, int64_t hidden) {
    check_tensor(backend, query_weight, "query_weight", dtype, {hidden, hidden});
    check_tensor(backend, query_bias, "query_bias", dtype, {hidden});
    check_tensor(backend, key_weight, "key_weight", dtype, {hidden, hidden});
    check_tensor(backend, key_bias, "key_bias", dtype, {hidden});
    check_tensor(backend, logit_weight, "logit_weight", dtype, {hidden});
    make_contiguous({&query_bias, &key_bias, &logit_weight});
  }
};

struct SessionReadoutInputs : NodeRows, SessionReadoutParameters {
  Tensor nodes;
  ReadoutGraph graph;
  int64_t sessions = 0;

  void check(Backend backend) {
    check_rows(backend, nodes, "nodes");
    check_parameters(backend, dtype, hidden);
    graph.check(backend, slots);
    sessions = graph.slots.sessions;
    make_contiguous({&nodes});
  }
};

struct SessionReadoutOutputs {
  Tensor pooled, last_click, activations, coefficients;

  SessionReadoutOutputs(Backend backend, const SessionReadoutInputs& inputs)
      : pooled(new_unwritten(backend, inputs.nodes, {inputs.sessions, inputs.hidden})),
        last_click(new_unwritten(backend, inputs.nodes, {inputs.sessions, inputs.hidden})),
        activations(new_output(backend, inputs.nodes, {inputs.slots, inputs.hidden})),
        coefficients(new_output(backend, inputs.nodes, {inputs.slots})) {}
};

struct SessionReadoutBackwardInputs : NodeRows {
  Tensor grad_pooled, grad_last_click, nodes;
  ReadoutGraph graph;
  Tensor query_weight, key_weight, logit_weight;  // the first two may be strided
  bool normalize;
  Tensor last_click, activations, coefficients;
  int64_t sessions = 0;

  void check(Backend backend) {
    check_rows(backend, nodes, "nodes");
    graph.check(backend, slots);
    sessions = graph.slots.sessions;
    check_tensor(backend, grad_pooled, "grad_pooled", dtype, {sessions, hidden});
    check_tensor(backend, grad_last_click, "grad_last_click", dtype, {sessions, hidden});
    check_tensor(backend, query_weight, "query_weight", dtype, {hidden, hidden});
    check_tensor(backend, key_weight, "key_weight", dtype, {hidden, hidden});
    check_tensor(backend, logit_weight, "logit_weight", dtype, {hidden});
    check_tensor(backend, last_click, "last_click", dtype, {sessions, hidden});
    check_tensor(backend, activations, "activations", dtype, {slots, hidden});
    check_tensor(backend, coefficients, "coefficients", dtype, {slots});
    make_contiguous({&grad_pooled, &grad_last_click, &nodes, &logit_weight, &activations, &coefficients});
  }
};

// What a backend computes; the others are products and sums of it.
struct SessionReadoutGradients {
  Tensor nodes, keys, queries;
  Tensor logit_weights;  // some rows, to be added up

  SessionReadoutGradients(Backend backend, const SessionReadoutBackwardInputs& inputs)
      : nodes(new_output(backend, inputs.nodes, {inputs.slots, inputs.hidden})),
        keys(new_output(backend, inputs.nodes, {inputs.slots, inputs.hidden})),
        queries(new_unwritten(backend, inputs.nodes, {inputs.sessions, inputs.hidden})) {}
};

// The ops, of a backend's forward<T>(inputs, outputs) and backward<T>(inputs, gradients).
template <class Op>
auto session_readout(
    const Tensor& nodes, const Tensor& clicks, const Tensor& slot_offsets, const Tensor& num_nodes,
    const Tensor& last_node, const Tensor& padding, const Tensor& query_weight, const Tensor& query_bias,
    const Tensor& key_weight, const Tensor& key_bias, const Tensor& logit_weight, bool normalize) {
  const typename Op::Guard guard(nodes);
  const NoGradient no_gradient;
  SessionReadoutInputs inputs{
      {},
      {query_weight, query_bias, key_weight, key_bias, logit_weight, normalize},
      nodes,
      {clicks, {slot_offsets, num_nodes}, last_node, padding}};
  inputs.check(Op::kBackend);
  SessionReadoutOutputs outputs(Op::kBackend, inputs);
  with_scalar(inputs.dtype, [&](auto scalar) { Op::template forward<decltype(scalar)>(inputs, outputs); });
  return std::tuple(outputs.pooled, outputs.last_click, outputs.activations, outputs.coefficients);
}

template <class Op>
auto session_readout_backward(
    const Tensor& grad_pooled, const Tensor& grad_last_click, const Tensor& nodes, const Tensor& clicks,
    const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& last_node, const Tensor& padding,
    const Tensor& query_weight, const Tensor& key_weight, const Tensor& logit_weight, bool normalize,
    const Tensor& last_click, const Tensor& activations, const Tensor& coefficients) {
  const typename Op::Guard guard(nodes);
  const NoGradient no_gradient;
  SessionReadoutBackwardInputs inputs{
      {},           grad_pooled, grad_last_click, nodes,     {clicks, {slot_offsets, num_nodes}, last_node, padding},
      query_weight, key_weight,  logit_weight,    normalize, last_click,
      activations,  coefficients};
  inputs.check(Op::kBackend);
  SessionReadoutGradients grads(Op::kBackend, inputs);
  with_scalar(inputs.dtype, [&](auto scalar) { Op::template backward<decltype(scalar)>(inputs, grads); });
  const Tensor grad_bias = column_sums(grads.queries);  // both biases are added to the same sums
  return std::tuple(
      grads.nodes, product(transposed(grads.queries), inputs.last_click), grad_bias,
      product(transposed(grads.keys), inputs.nodes), torch::stable::clone(grad_bias), column_sums(grads.logit_weights));
}

template <class Op>
void register_session_readout(StableLibrary& library) {
  library.impl("session_readout", TORCH_BOX(&session_readout<Op>));
  library.impl("session_readout_backward", TORCH_BOX(&session_readout_backward<Op>));
}

}  // namespace tagnn_fast
