// The arguments that all ops of target attention begin with, checked and contiguous.
#pragma once

#include "checks.h"

namespace tagnn_fast {

struct AttentionInputs {
  Tensor session, keys, values, clicks, padding, slot_offsets, table;
  int64_t sessions, slots, hidden, items;
  bool bfloat16_table;

  AttentionInputs(
      const Tensor& session_in, const Tensor& keys_in, const Tensor& values_in, const Tensor& clicks_in,
      const Tensor& padding_in, const Tensor& slot_offsets_in, const Tensor& table_in, bool allow_bfloat16) {
    const ScalarType dtype = check_floating(session_in, "session");
    check_tensor(session_in, "session", dtype, {kAnySize, kAnySize});
    sessions = session_in.size(0);
    hidden = session_in.size(1);
    check_value(hidden > 0, "session", "at least one hidden unit", hidden);
    check_tensor(keys_in, "keys", dtype, {kAnySize, hidden});
    slots = keys_in.size(0);
    check_tensor(values_in, "values", dtype, {slots, hidden});
    check_tensor(clicks_in, "clicks", ScalarType::Long, {slots});
    check_tensor(padding_in, "padding", ScalarType::Long, {sessions});
    check_tensor(slot_offsets_in, "slot_offsets", ScalarType::Long, {sessions + 1});
    bfloat16_table = allow_bfloat16 && table_in.scalar_type() == ScalarType::BFloat16;
    check_tensor(table_in, "table", bfloat16_table ? ScalarType::BFloat16 : dtype, {kAnySize, hidden});
    items = table_in.size(0);
    session = as_contiguous(session_in);
    keys = as_contiguous(keys_in);
    values = as_contiguous(values_in);
    clicks = as_contiguous(clicks_in);
    padding = as_contiguous(padding_in);
    slot_offsets = as_contiguous(slot_offsets_in);
    table = as_contiguous(table_in);
  }
};

}  // namespace tagnn_fast
