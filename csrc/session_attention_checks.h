// Argument checks of session attention, the same on every device.
#pragma once

#include <optional>

#include "checks.h"

namespace tagnn_fast {

// Sizes, and the layer norm's parameters, contiguous; undefined where there are none.
struct AttentionArguments {
  ScalarType dtype;
  int64_t slots, hidden;
  Tensor norm_weight, norm_bias;
};

// The tensor, contiguous, or an undefined one.
inline Tensor check_optional(const std::optional<Tensor>& tensor, const char* name, ScalarType dtype, int64_t size) {
  if (!tensor) return Tensor();
  check_tensor(*tensor, name, dtype, {size});
  return as_contiguous(*tensor);
}

inline AttentionArguments check_attention(
    const Tensor& nodes, const Tensor& qkv_weight, const Tensor& qkv_bias, const Tensor& out_weight,
    const Tensor& out_bias, const std::optional<Tensor>& norm_weight_in, const std::optional<Tensor>& norm_bias_in) {
  const ScalarType dtype = check_floating(nodes, "nodes");
  check_tensor(nodes, "nodes", dtype, {kAnySize, kAnySize});
  const int64_t hidden = nodes.size(1);
  check_tensor(qkv_weight, "qkv_weight", dtype, {3 * hidden, hidden});
  check_tensor(qkv_bias, "qkv_bias", dtype, {3 * hidden});
  check_tensor(out_weight, "out_weight", dtype, {hidden, hidden});
  check_tensor(out_bias, "out_bias", dtype, {hidden});
  const Tensor norm_weight = check_optional(norm_weight_in, "norm_weight", dtype, hidden);
  const Tensor norm_bias = check_optional(norm_bias_in, "norm_bias", dtype, hidden);
  if (norm_weight.defined() != norm_bias.defined()) {
    throw std::runtime_error("norm_bias: expected with norm_weight, and none without; got one of them");
  }
  return {dtype, nodes.size(0), hidden, norm_weight, norm_bias};
}

inline AttentionArguments check_attention_backward(
    const Tensor& grad, const Tensor& qkv_weight, const Tensor& out_weight, const std::optional<Tensor>& norm_weight_in,
    const Tensor& rows, const Tensor& qkv, const Tensor& attended) {
  const ScalarType dtype = check_floating(grad, "grad");
  check_tensor(grad, "grad", dtype, {kAnySize, kAnySize});
  const int64_t slots = grad.size(0), hidden = grad.size(1);
  check_tensor(qkv_weight, "qkv_weight", dtype, {3 * hidden, hidden});
  check_tensor(out_weight, "out_weight", dtype, {hidden, hidden});
  const Tensor norm_weight = check_optional(norm_weight_in, "norm_weight", dtype, hidden);
  check_tensor(rows, "rows", dtype, {slots, hidden});
  check_tensor(qkv, "qkv", dtype, {slots, 3 * hidden});
  check_tensor(attended, "attended", dtype, {slots, hidden});
  return {dtype, slots, hidden, norm_weight, Tensor()};
}

// The seed; undefined without dropout.
inline Tensor check_attention_options(
    int64_t hidden, int64_t heads, double dropout, const std::optional<Tensor>& seed) {
  check_value(heads >= 1 && hidden % heads == 0, "heads", "a divisor of hidden", heads);
  check_value(dropout >= 0 && dropout < 1, "dropout", "a rate in [0, 1)", dropout);
  if (dropout == 0) return Tensor();
  if (!seed) throw std::runtime_error("seed: expected an int64 (1,) tensor where dropout is used, got None");
  check_tensor(*seed, "seed", ScalarType::Long, {1});
  return *seed;
}

}  // namespace tagnn_fast
