// Argument checks of the session readout, the same on every device.
#pragma once

#include "checks.h"

namespace tagnn_fast {

struct ReadoutSizes {
  ScalarType dtype;
  int64_t slots, hidden;
};

inline ReadoutSizes check_readout_nodes(const Tensor& nodes) {
  const ScalarType dtype = check_floating(nodes, "nodes");
  check_tensor(nodes, "nodes", dtype, {kAnySize, kAnySize});
  return {dtype, nodes.size(0), nodes.size(1)};
}

inline ReadoutSizes check_readout(
    const Tensor& nodes, const Tensor& query_weight, const Tensor& query_bias, const Tensor& key_weight,
    const Tensor& key_bias, const Tensor& logit_weight) {
  const ReadoutSizes sizes = check_readout_nodes(nodes);
  check_tensor(query_weight, "query_weight", sizes.dtype, {sizes.hidden, sizes.hidden});
  check_tensor(query_bias, "query_bias", sizes.dtype, {sizes.hidden});
  check_tensor(key_weight, "key_weight", sizes.dtype, {sizes.hidden, sizes.hidden});
  check_tensor(key_bias, "key_bias", sizes.dtype, {sizes.hidden});
  check_tensor(logit_weight, "logit_weight", sizes.dtype, {sizes.hidden});
  return sizes;
}

inline void check_readout_backward(
    const ReadoutSizes& sizes, int64_t sessions, const Tensor& grad_pooled, const Tensor& grad_last_click,
    const Tensor& query_weight, const Tensor& key_weight, const Tensor& logit_weight, const Tensor& last_click,
    const Tensor& activations, const Tensor& coefficients) {
  check_tensor(grad_pooled, "grad_pooled", sizes.dtype, {sessions, sizes.hidden});
  check_tensor(grad_last_click, "grad_last_click", sizes.dtype, {sessions, sizes.hidden});
  check_tensor(query_weight, "query_weight", sizes.dtype, {sizes.hidden, sizes.hidden});
  check_tensor(key_weight, "key_weight", sizes.dtype, {sizes.hidden, sizes.hidden});
  check_tensor(logit_weight, "logit_weight", sizes.dtype, {sizes.hidden});
  check_tensor(last_click, "last_click", sizes.dtype, {sessions, sizes.hidden});
  check_tensor(activations, "activations", sizes.dtype, {sizes.slots, sizes.hidden});
  check_tensor(coefficients, "coefficients", sizes.dtype, {sizes.slots});
}

// The graph arrays that only the readout reads, checked and contiguous.
struct ReadoutTensors {
  Tensor clicks, last_node, padding;

  ReadoutTensors(
      int64_t slots, int64_t sessions, const Tensor& clicks_in, const Tensor& last_node_in, const Tensor& padding_in) {
    check_tensor(clicks_in, "clicks", ScalarType::Long, {slots});
    check_tensor(last_node_in, "last_node", ScalarType::Long, {sessions});
    check_tensor(padding_in, "padding", ScalarType::Long, {sessions});
    clicks = as_contiguous(clicks_in);
    last_node = as_contiguous(last_node_in);
    padding = as_contiguous(padding_in);
  }
};

}  // namespace tagnn_fast
