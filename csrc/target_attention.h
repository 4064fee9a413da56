// Target attention: the ops' arguments, checked and contiguous, and their outputs, allocated, the same on every
// backend. Shapes and meanings: tagnn_fast/ops/target_attention.py.
#pragma once

#include <tuple>

#include "checks.h"
#include "philox.h"
#include "registration.h"

namespace tagnn_fast {

enum class ItemTableDtypes { kOfSessions, kBFloat16Too };

// What all ops of target attention begin with.
struct TargetAttentionInputs {
  Tensor session, keys, values, clicks, padding, slot_offsets, table;
  // Of products of float32: 0, exact; 1, tf32 on a GPU and the sum of two bfloat16 numbers on a CPU; 2, bfloat16.
  int64_t precision;
  ScalarType dtype = ScalarType::Undefined;
  int64_t sessions = 0, slots = 0, hidden = 0, items = 0;
  bool bfloat16_table = false;

  void check(Backend backend, ItemTableDtypes allowed) {
    check_value(precision >= 0 && precision <= 2, "precision", "0, 1 or 2", precision);
    dtype = check_floating(session, "session");
    check_tensor(backend, session, "session", dtype, {kAnySize, kAnySize});
    sessions = session.size(0);
    hidden = session.size(1);
    check_value(hidden > 0, "session", "at least one hidden unit", hidden);
    check_tensor(backend, keys, "keys", dtype, {kAnySize, hidden});
    slots = keys.size(0);
    check_tensor(backend, values, "values", dtype, {slots, hidden});
    check_tensor(backend, clicks, "clicks", ScalarType::Long, {slots});
    check_tensor(backend, padding, "padding", ScalarType::Long, {sessions});
    check_tensor(backend, slot_offsets, "slot_offsets", ScalarType::Long, {sessions + 1});
    bfloat16_table = allowed == ItemTableDtypes::kBFloat16Too && table.scalar_type() == ScalarType::BFloat16;
    check_tensor(backend, table, "table", bfloat16_table ? ScalarType::BFloat16 : dtype, {kAnySize, hidden});
    items = table.size(0);
    make_contiguous({&session, &keys, &values, &clicks, &padding, &slot_offsets, &table});
  }
};

struct TargetAttentionGradients {
  Tensor session, keys, values, table;

  TargetAttentionGradients(Backend backend, const TargetAttentionInputs& inputs)
      : session(new_output(backend, inputs.session, {inputs.sessions, inputs.hidden})),
        keys(make_zeros(inputs.keys, {inputs.slots, inputs.hidden})),
        values(make_zeros(inputs.keys, {inputs.slots, inputs.hidden})),
        table(new_output(backend, inputs.table, {inputs.items, inputs.hidden})) {}

  auto tensors() const { return std::tuple(session, keys, values, table); }
};

// The loss of each session's target, and what its gradient needs: (sessions, 2), the largest score and the logarithm of
// the sum of exp(score - largest).
struct CrossEntropyOutputs {
  Tensor losses, normalizer;

  explicit CrossEntropyOutputs(const TargetAttentionInputs& inputs)
      : losses(make_empty(inputs.session, {inputs.sessions})),
        normalizer(make_empty(inputs.session, {inputs.sessions, 2})) {}
};

struct CrossEntropyBackwardInputs {
  Tensor grad, targets, normalizer;

  void check(Backend backend, const TargetAttentionInputs& inputs) {
    check_tensor(backend, grad, "grad", inputs.dtype, {inputs.sessions});
    check_tensor(backend, targets, "targets", ScalarType::Long, {inputs.sessions});
    check_tensor(backend, normalizer, "normalizer", inputs.dtype, {inputs.sessions, 2});
    make_contiguous({&grad, &targets, &normalizer});
  }
};

// How many items, which of the table's, and which not.
struct TopkChoice {
  int64_t k;
  std::optional<Tensor> candidates, excluded, excluded_offsets;  // the last two together or not at all
  // For the CPU: what item_screen made of the table; what is added to the scores of some rows, -1 for none.
  std::optional<Tensor> screen = std::nullopt, repeat_rows = std::nullopt, repeat_logits = std::nullopt;

  void check(Backend backend, int64_t sessions) {
    if (screen) make_contiguous({&*screen});
    check_value(k >= 0, "k", "0 or more", k);
    if (excluded || excluded_offsets) {
      check_value(excluded && excluded_offsets, "excluded", "excluded_offsets with it", "one of them");
      check_tensor(backend, *excluded, "excluded", ScalarType::Long, {kAnySize});
      check_tensor(backend, *excluded_offsets, "excluded_offsets", ScalarType::Long, {sessions + 1});
      make_contiguous({&*excluded, &*excluded_offsets});
    }
    if (!candidates) return;
    check_tensor(backend, *candidates, "candidates", ScalarType::Long, {kAnySize});
    make_contiguous({&*candidates});
  }

  void check_repeats(Backend backend, int64_t sessions, ScalarType dtype) {
    check_value(!backend.on_gpu || !repeat_rows, "repeat_rows", "none on a GPU", "some");
    check_value(repeat_rows.has_value() == repeat_logits.has_value(), "repeat_rows", "repeat_logits with it", "one");
    if (repeat_rows) {
      check_tensor(backend, *repeat_rows, "repeat_rows", ScalarType::Long, {sessions, kAnySize});
      check_tensor(backend, *repeat_logits, "repeat_logits", dtype, {sessions, repeat_rows->size(1)});
      make_contiguous({&*repeat_rows, &*repeat_logits});
    }
  }
};

struct TopkOutputs {
  Tensor scores, rows;

  TopkOutputs(const TargetAttentionInputs& inputs, int64_t k)
      : scores(make_empty(inputs.session, {inputs.sessions, k})),
        rows(make_empty(inputs.slot_offsets, {inputs.sessions, k})) {}
};

template <class T>
struct ScoredRow {
  T score;
  int64_t row;
};

// Best first: what is not a number, then higher scores, then smaller rows.
template <class T>
TAGNN_FAST_HOST_DEVICE inline bool is_better(const ScoredRow<T>& a, const ScoredRow<T>& b) {
  const bool a_is_nan = a.score != a.score, b_is_nan = b.score != b.score;
  if (a_is_nan != b_is_nan) return a_is_nan;
  if (!a_is_nan && a.score != b.score) return a.score > b.score;
  return a.row < b.row;
}

// The ops, of a backend's functions for one scalar type.
template <class Op>
Tensor target_attention_scores(
    const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks, const Tensor& padding,
    const Tensor& slot_offsets, const Tensor& table, int64_t precision) {
  const typename Op::Guard guard(session);
  TargetAttentionInputs inputs{session, keys, values, clicks, padding, slot_offsets, table, precision};
  inputs.check(Op::kBackend, ItemTableDtypes::kBFloat16Too);
  Tensor scores = make_empty(inputs.session, {inputs.sessions, inputs.items});
  with_scalar(inputs.dtype, [&](auto scalar) { Op::template scores<decltype(scalar)>(inputs, scores); });
  return scores;
}

template <class Op>
auto target_attention_scores_backward(
    const Tensor& grad_in, const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks,
    const Tensor& padding, const Tensor& slot_offsets, const Tensor& table, int64_t precision) {
  const typename Op::Guard guard(session);
  TargetAttentionInputs inputs{session, keys, values, clicks, padding, slot_offsets, table, precision};
  inputs.check(Op::kBackend, ItemTableDtypes::kOfSessions);
  Tensor grad = grad_in;
  check_tensor(Op::kBackend, grad, "grad", inputs.dtype, {inputs.sessions, inputs.items});
  make_contiguous({&grad});
  TargetAttentionGradients grads(Op::kBackend, inputs);
  with_scalar(inputs.dtype, [&](auto scalar) { Op::template scores_backward<decltype(scalar)>(inputs, grad, grads); });
  return grads.tensors();
}

template <class Op>
auto target_attention_cross_entropy(
    const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks, const Tensor& padding,
    const Tensor& slot_offsets, const Tensor& table, const Tensor& targets_in, int64_t precision) {
  const typename Op::Guard guard(session);
  TargetAttentionInputs inputs{session, keys, values, clicks, padding, slot_offsets, table, precision};
  inputs.check(Op::kBackend, ItemTableDtypes::kOfSessions);
  Tensor targets = targets_in;
  check_tensor(Op::kBackend, targets, "targets", ScalarType::Long, {inputs.sessions});
  make_contiguous({&targets});
  CrossEntropyOutputs out(inputs);
  with_scalar(inputs.dtype, [&](auto scalar) { Op::template cross_entropy<decltype(scalar)>(inputs, targets, out); });
  return std::tuple(out.losses, out.normalizer);
}

template <class Op>
auto target_attention_cross_entropy_backward(
    const Tensor& grad, const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks,
    const Tensor& padding, const Tensor& slot_offsets, const Tensor& table, const Tensor& targets,
    const Tensor& normalizer, int64_t precision) {
  const typename Op::Guard guard(session);
  TargetAttentionInputs inputs{session, keys, values, clicks, padding, slot_offsets, table, precision};
  inputs.check(Op::kBackend, ItemTableDtypes::kOfSessions);
  CrossEntropyBackwardInputs loss{grad, targets, normalizer};
  loss.check(Op::kBackend, inputs);
  TargetAttentionGradients grads(Op::kBackend, inputs);
  with_scalar(
      inputs.dtype, [&](auto scalar) { Op::template cross_entropy_backward<decltype(scalar)>(inputs, loss, grads); });
  return grads.tensors();
}

template <class Op>
auto target_attention_topk(
    const Tensor& session, const Tensor& keys, const Tensor& values, const Tensor& clicks, const Tensor& padding,
    const Tensor& slot_offsets, const Tensor& table, int64_t k, const std::optional<Tensor>& candidates,
    const std::optional<Tensor>& excluded, const std::optional<Tensor>& excluded_offsets, int64_t precision,
    const std::optional<Tensor>& screen, const std::optional<Tensor>& repeat_rows,
    const std::optional<Tensor>& repeat_logits) {
  const typename Op::Guard guard(session);
  TargetAttentionInputs inputs{session, keys, values, clicks, padding, slot_offsets, table, precision};
  inputs.check(Op::kBackend, ItemTableDtypes::kBFloat16Too);
  TopkChoice choice{k, candidates, excluded, excluded_offsets, screen, repeat_rows, repeat_logits};
  choice.check(Op::kBackend, inputs.sessions);
  choice.check_repeats(Op::kBackend, inputs.sessions, inputs.dtype);
  TopkOutputs best(inputs, k);
  with_scalar(inputs.dtype, [&](auto scalar) { Op::template topk<decltype(scalar)>(inputs, choice, best); });
  return std::tuple(best.scores, best.rows);
}

template <class Op>
void register_target_attention(StableLibrary& library) {
  library.impl("target_attention_scores", TORCH_BOX(&target_attention_scores<Op>));
  library.impl("target_attention_scores_backward", TORCH_BOX(&target_attention_scores_backward<Op>));
  library.impl("target_attention_cross_entropy", TORCH_BOX(&target_attention_cross_entropy<Op>));
  library.impl("target_attention_cross_entropy_backward", TORCH_BOX(&target_attention_cross_entropy_backward<Op>));
}

template <class Op>
void register_target_attention_topk(StableLibrary& library) {
  library.impl("target_attention_topk", TORCH_BOX(&target_attention_topk<Op>));
}

}  // namespace tagnn_fast
