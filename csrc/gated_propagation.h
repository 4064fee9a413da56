// Gated propagation: the ops' arguments, checked and contiguous, and their outputs, allocated, the same on every
// backend. Shapes and meanings: tagnn_fast/ops/gated_propagation.py.
#pragma once

#include "matmul.h"
#include "session_graph.h"

namespace tagnn_fast {

// The neighbour lists of every slot: in-neighbours first, then out-neighbours.
struct NeighbourTensors {
  Tensor start, count, neighbours;

  void check(Backend backend, int64_t slots) {
    check_tensor(backend, start, "neighbour_start", ScalarType::Long, {2, slots});
    check_tensor(backend, count, "neighbour_count", ScalarType::Long, {2, slots});
    check_tensor(backend, neighbours, "neighbours", ScalarType::Long, {2, kAnySize});
    make_contiguous({&start, &count, &neighbours});
  }
};

struct GatedPropagationParameters {
  Tensor state_weight, state_bias, message_bias, weight_ih, bias_ih;  // weights may be strided
  int64_t steps;

  void check_parameters(Backend backend, ScalarType dtype, int64_t hidden) {
    check_tensor(backend, state_weight, "state_weight", dtype, {5 * hidden, hidden});
    check_tensor(backend, state_bias, "state_bias", dtype, {5 * hidden});
    check_tensor(backend, message_bias, "message_bias", dtype, {2 * hidden});
    check_tensor(backend, weight_ih, "weight_ih", dtype, {3 * hidden, 2 * hidden});
    check_tensor(backend, bias_ih, "bias_ih", dtype, {3 * hidden});
    check_value(steps >= 1, "steps", "1 or more", steps);
    make_contiguous({&state_bias, &message_bias, &bias_ih});
  }
};

struct GatedPropagationInputs : NodeRows, GatedPropagationParameters {
  Tensor nodes;
  GraphSlots graph;
  NeighbourTensors lists;

  void check(Backend backend) {
    check_rows(backend, nodes, "nodes");
    check_parameters(backend, dtype, hidden);
    lists.check(backend, slots);
    graph.check(backend, slots);
    make_contiguous({&nodes});
  }
};

struct GatedPropagationOutputs {
  Tensor out, states, messages, products, gates;  // all but the first: of each step; states are those before it

  GatedPropagationOutputs(Backend backend, const GatedPropagationInputs& inputs)
      : out(new_output(backend, inputs.nodes, {inputs.slots, inputs.hidden})),
        states(new_output(backend, inputs.nodes, {inputs.steps, inputs.slots, inputs.hidden})),
        messages(new_output(backend, inputs.nodes, {inputs.steps, inputs.slots, 2 * inputs.hidden})),
        products(new_unwritten(backend, inputs.nodes, {inputs.steps, inputs.slots, 5 * inputs.hidden})),
        gates(new_unwritten(backend, inputs.nodes, {inputs.steps, inputs.slots, 3 * inputs.hidden})) {}
};

struct GatedPropagationBackwardInputs : NodeRows {
  Tensor grad;
  GraphSlots graph;
  NeighbourTensors lists;
  Tensor state_weight, weight_ih;  // may be strided
  Tensor states, messages, products, gates;
  int64_t steps = 0;

  void check(Backend backend) {
    check_rows(backend, grad, "grad");
    check_tensor(backend, states, "states", dtype, {kAnySize, slots, hidden});
    steps = states.size(0);
    check_value(steps >= 1, "states", "1 or more steps", steps);
    check_tensor(backend, messages, "messages", dtype, {steps, slots, 2 * hidden});
    check_tensor(backend, products, "products", dtype, {steps, slots, 5 * hidden});
    check_tensor(backend, gates, "gates", dtype, {steps, slots, 3 * hidden});
    check_tensor(backend, state_weight, "state_weight", dtype, {5 * hidden, hidden});
    check_tensor(backend, weight_ih, "weight_ih", dtype, {3 * hidden, 2 * hidden});
    lists.check(backend, slots);
    graph.check(backend, slots);
    make_contiguous({&grad, &states, &messages, &products, &gates});
  }
};

// All but the nodes' are products and sums, which allocate their results themselves.
struct GatedPropagationGradients {
  Tensor nodes, state_weight, state_bias, message_bias, weight_ih, bias_ih;

  GatedPropagationGradients(Backend backend, const GatedPropagationBackwardInputs& inputs)
      : nodes(new_output(backend, inputs.grad, {inputs.slots, inputs.hidden})) {}
};

// The ops, of a backend's forward<T>(inputs, outputs) and backward<T>(inputs, gradients).
template <class Op>
auto gated_propagation(
    const Tensor& nodes, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& neighbour_start,
    const Tensor& neighbour_count, const Tensor& neighbours, const Tensor& state_weight, const Tensor& state_bias,
    const Tensor& message_bias, const Tensor& weight_ih, const Tensor& bias_ih, int64_t steps) {
  const typename Op::Guard guard(nodes);
  const NoGradient no_gradient;
  GatedPropagationInputs inputs{
      {},
      {state_weight, state_bias, message_bias, weight_ih, bias_ih, steps},
      nodes,
      {slot_offsets, num_nodes},
      {neighbour_start, neighbour_count, neighbours}};
  inputs.check(Op::kBackend);
  GatedPropagationOutputs outputs(Op::kBackend, inputs);
  with_scalar(inputs.dtype, [&](auto scalar) { Op::template forward<decltype(scalar)>(inputs, outputs); });
  return std::tuple(outputs.out, outputs.states, outputs.messages, outputs.products, outputs.gates);
}

template <class Op>
auto gated_propagation_backward(
    const Tensor& grad, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& neighbour_start,
    const Tensor& neighbour_count, const Tensor& neighbours, const Tensor& state_weight, const Tensor& weight_ih,
    const Tensor& states, const Tensor& messages, const Tensor& products, const Tensor& gates) {
  const typename Op::Guard guard(grad);
  const NoGradient no_gradient;
  GatedPropagationBackwardInputs inputs{
      {},
      grad,
      {slot_offsets, num_nodes},
      {neighbour_start, neighbour_count, neighbours},
      state_weight,
      weight_ih,
      states,
      messages,
      products,
      gates};
  inputs.check(Op::kBackend);
  GatedPropagationGradients grads(Op::kBackend, inputs);
  with_scalar(inputs.dtype, [&](auto scalar) { Op::template backward<decltype(scalar)>(inputs, grads); });
  return std::tuple(
      grads.nodes, grads.state_weight, grads.state_bias, grads.message_bias, grads.weight_ih, grads.bias_ih);
}

template <class Op>
void register_gated_propagation(StableLibrary& library) {
  library.impl("gated_propagation", TORCH_BOX(&gated_propagation<Op>));
  library.impl("gated_propagation_backward", TORCH_BOX(&gated_propagation_backward<Op>));
}

}  // namespace tagnn_fast
