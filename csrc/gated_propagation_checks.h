// Argument checks of gated propagation, the same on every device.
#pragma once

#include "checks.h"

namespace tagnn_fast {

struct PropagationSizes {
  ScalarType dtype;
  int64_t slots, hidden, steps;
};

inline PropagationSizes check_propagation(
    const Tensor& nodes, const Tensor& state_weight, const Tensor& state_bias, const Tensor& message_bias,
    const Tensor& weight_ih, const Tensor& bias_ih, int64_t steps) {
  const ScalarType dtype = check_floating(nodes, "nodes");
  check_tensor(nodes, "nodes", dtype, {kAnySize, kAnySize});
  const int64_t hidden = nodes.size(1);
  check_tensor(state_weight, "state_weight", dtype, {5 * hidden, hidden});
  check_tensor(state_bias, "state_bias", dtype, {5 * hidden});
  check_tensor(message_bias, "message_bias", dtype, {2 * hidden});
  check_tensor(weight_ih, "weight_ih", dtype, {3 * hidden, 2 * hidden});
  check_tensor(bias_ih, "bias_ih", dtype, {3 * hidden});
  check_value(steps >= 1, "steps", "1 or more", steps);
  return {dtype, nodes.size(0), hidden, steps};
}

inline PropagationSizes check_propagation_backward(
    const Tensor& grad, const Tensor& state_weight, const Tensor& weight_ih, const Tensor& states,
    const Tensor& messages, const Tensor& products, const Tensor& gates) {
  const ScalarType dtype = check_floating(grad, "grad");
  check_tensor(grad, "grad", dtype, {kAnySize, kAnySize});
  const int64_t slots = grad.size(0), hidden = grad.size(1);
  check_tensor(states, "states", dtype, {kAnySize, slots, hidden});
  const int64_t steps = states.size(0);
  check_value(steps >= 1, "states", "1 or more steps", steps);
  check_tensor(messages, "messages", dtype, {steps, slots, 2 * hidden});
  check_tensor(products, "products", dtype, {steps, slots, 5 * hidden});
  check_tensor(gates, "gates", dtype, {steps, slots, 3 * hidden});
  check_tensor(state_weight, "state_weight", dtype, {5 * hidden, hidden});
  check_tensor(weight_ih, "weight_ih", dtype, {3 * hidden, 2 * hidden});
  return {dtype, slots, hidden, steps};
}

// The neighbour lists, checked and contiguous.
struct NeighbourTensors {
  Tensor start, count, neighbours;

  NeighbourTensors(int64_t slots, const Tensor& start_in, const Tensor& count_in, const Tensor& neighbours_in) {
    check_tensor(start_in, "neighbour_start", ScalarType::Long, {2, slots});
    check_tensor(count_in, "neighbour_count", ScalarType::Long, {2, slots});
    check_tensor(neighbours_in, "neighbours", ScalarType::Long, {2, kAnySize});
    start = as_contiguous(start_in);
    count = as_contiguous(count_in);
    neighbours = as_contiguous(neighbours_in);
  }
};

}  // namespace tagnn_fast
