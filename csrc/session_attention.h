// Attention inside sessions: the ops' arguments, checked and contiguous, and their outputs, allocated, the same on
// every backend. Shapes and meanings: tagnn_fast/ops/session_attention.py.
#pragma once

#include "matmul.h"
#include "session_graph.h"

namespace tagnn_fast {

struct SessionAttentionOptions {
  int64_t heads;
  bool causal;
  double dropout;              // probability of dropping a weight
  std::optional<Tensor> seed;  // none without dropout

  void check(Backend backend, int64_t hidden) {
    check_value(heads >= 1 && hidden % heads == 0, "heads", "a divisor of hidden", heads);
    check_value(dropout >= 0 && dropout < 1, "dropout", "a rate in [0, 1)", dropout);
    if (dropout == 0) seed.reset();
    else if (!seed) throw std::runtime_error("seed: expected an int64 (1,) tensor where dropout is used, got None");
    else check_tensor(backend, *seed, "seed", ScalarType::Long, {1});
  }
};

inline void check_norm(
    Backend backend, std::optional<Tensor>& parameter, const char* name, ScalarType dtype, int64_t hidden) {
  if (!parameter) return;
  check_tensor(backend, *parameter, name, dtype, {hidden});
  make_contiguous({&*parameter});
}

struct SessionAttentionParameters {
  Tensor qkv_weight, qkv_bias, out_weight, out_bias;  // weights may be strided
  std::optional<Tensor> norm_weight, norm_bias;

  void check_parameters(Backend backend, ScalarType dtype, int64_t hidden) {
    check_tensor(backend, qkv_weight, "qkv_weight", dtype, {3 * hidden, hidden});
    check_tensor(backend, qkv_bias, "qkv_bias", dtype, {3 * hidden});
    check_tensor(backend, out_weight, "out_weight", dtype, {hidden, hidden});
    check_tensor(backend, out_bias, "out_bias", dtype, {hidden});
    check_norm(backend, norm_weight, "norm_weight", dtype, hidden);
    check_norm(backend, norm_bias, "norm_bias", dtype, hidden);
    if (norm_weight.has_value() != norm_bias.has_value()) {
      throw std::runtime_error("norm_bias: expected with norm_weight, and none without; got one of them");
    }
    make_contiguous({&qkv_bias, &out_bias});
  }
};

struct SessionAttentionInputs : NodeRows, SessionAttentionParameters {
  Tensor nodes;
  GraphSlots graph;
  SessionAttentionOptions options;

  void check(Backend backend) {
    check_rows(backend, nodes, "nodes");
    check_parameters(backend, dtype, hidden);
    graph.check(backend, slots);
    options.check(backend, hidden);
    make_contiguous({&nodes});
  }
};

struct SessionAttentionOutputs {
  Tensor out, rows, qkv, attended;

  SessionAttentionOutputs(Backend backend, const SessionAttentionInputs& inputs)
      : out(new_output(backend, inputs.nodes, {inputs.slots, inputs.hidden})),
        rows(new_output(backend, inputs.nodes, {inputs.slots, inputs.hidden})),
        qkv(new_unwritten(backend, inputs.nodes, {inputs.slots, 3 * inputs.hidden})),
        attended(new_output(backend, inputs.nodes, {inputs.slots, inputs.hidden})) {}
};

struct SessionAttentionBackwardInputs : NodeRows {
  Tensor grad;
  GraphSlots graph;
  Tensor qkv_weight, out_weight;  // may be strided
  std::optional<Tensor> norm_weight;
  SessionAttentionOptions options;
  Tensor rows, qkv, attended;

  void check(Backend backend) {
    check_rows(backend, grad, "grad");
    check_tensor(backend, qkv_weight, "qkv_weight", dtype, {3 * hidden, hidden});
    check_tensor(backend, out_weight, "out_weight", dtype, {hidden, hidden});
    check_norm(backend, norm_weight, "norm_weight", dtype, hidden);
    check_tensor(backend, rows, "rows", dtype, {slots, hidden});
    check_tensor(backend, qkv, "qkv", dtype, {slots, 3 * hidden});
    check_tensor(backend, attended, "attended", dtype, {slots, hidden});
    graph.check(backend, slots);
    options.check(backend, hidden);
    make_contiguous({&grad, &rows, &qkv, &attended});
  }
};

// What a backend computes; the others are products and sums of it.
struct SessionAttentionGradients {
  Tensor nodes, norm_weight;
  Tensor rows, qkv;  // of the layer's rows and of the projections, for as many rows as the backend keeps

  SessionAttentionGradients(Backend backend, const SessionAttentionBackwardInputs& inputs)
      : nodes(new_output(backend, inputs.grad, {inputs.slots, inputs.hidden})) {}
};

// The ops, of a backend's forward<T>(inputs, outputs) and backward<T>(inputs, gradients).
template <class Op>
auto session_attention(
    const Tensor& nodes, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& qkv_weight,
    const Tensor& qkv_bias, const Tensor& out_weight, const Tensor& out_bias, const std::optional<Tensor>& norm_weight,
    const std::optional<Tensor>& norm_bias, int64_t heads, bool causal, double dropout,
    const std::optional<Tensor>& seed) {
  const typename Op::Guard guard(nodes);
  const NoGradient no_gradient;
  SessionAttentionInputs inputs{
      {},
      {qkv_weight, qkv_bias, out_weight, out_bias, norm_weight, norm_bias},
      nodes,
      {slot_offsets, num_nodes},
      {heads, causal, dropout, seed}};
  inputs.check(Op::kBackend);
  SessionAttentionOutputs outputs(Op::kBackend, inputs);
  with_scalar(inputs.dtype, [&](auto scalar) { Op::template forward<decltype(scalar)>(inputs, outputs); });
  return std::tuple(outputs.out, outputs.rows, outputs.qkv, outputs.attended);
}

template <class Op>
auto session_attention_backward(
    const Tensor& grad, const Tensor& slot_offsets, const Tensor& num_nodes, const Tensor& qkv_weight,
    const Tensor& out_weight, const std::optional<Tensor>& norm_weight, int64_t heads, bool causal, double dropout,
    const std::optional<Tensor>& seed, const Tensor& rows, const Tensor& qkv, const Tensor& attended) {
  const typename Op::Guard guard(grad);
  const NoGradient no_gradient;
  SessionAttentionBackwardInputs inputs{{},         grad,        {slot_offsets, num_nodes},      qkv_weight,
                                        out_weight, norm_weight, {heads, causal, dropout, seed}, rows,
                                        qkv,        attended};
  inputs.check(Op::kBackend);
  SessionAttentionGradients grads(Op::kBackend, inputs);
  with_scalar(inputs.dtype, [&](auto scalar) { Op::template backward<decltype(scalar)>(inputs, grads); });
  const Tensor grad_bias = column_sums(grads.rows);  // both biases are added to the same rows
  return std::tuple(
      grads.nodes, product(transposed(grads.qkv), first_rows(inputs.rows, grads.qkv.size(0))), column_sums(grads.qkv),
      product(transposed(grads.rows), first_rows(inputs.attended, grads.rows.size(0))), grad_bias, grads.norm_weight,
      torch::stable::clone(grad_bias));
}

template <class Op>
void register_session_attention(StableLibrary& library) {
  library.impl("session_attention", TORCH_BOX(&session_attention<Op>));
  library.impl("session_attention_backward", TORCH_BOX(&session_attention_backward<Op>));
}

}  // namespace tagnn_fast
