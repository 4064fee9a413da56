// Dense products and sums of two-dimensional contiguous tensors; the products are left to PyTorch's library.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <array>

#include "checks.h"

namespace tagnn_fast {

// No gradients are recorded while one lives. Where the ops' own gradients are registered, PyTorch has left autograd by
// the time a kernel runs; in a process without Python nobody has, and products would refuse weights that need a
// gradient.
class NoGradient {
 public:
  NoGradient() : before_(aoti_torch_grad_mode_is_enabled()) { aoti_torch_grad_mode_set_enabled(false); }
  ~NoGradient() { aoti_torch_grad_mode_set_enabled(before_); }
  NoGradient(const NoGradient&) = delete;
  NoGradient& operator=(const NoGradient&) = delete;

 private:
  bool before_;
};

// out = a b. Products always have an output given: autocast, which replaces others by bfloat16 ones, leaves these
// alone.
inline void product_into(Tensor& out, const Tensor& a, const Tensor& b) {
  std::array<StableIValue, 3> stack{
      torch::stable::detail::from(a), torch::stable::detail::from(b), torch::stable::detail::from(out)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  out = torch::stable::detail::to<Tensor>(stack[0]);
}

inline Tensor product(const Tensor& a, const Tensor& b) {  // (m, k) (k, n) -> (m, n)
  Tensor out = make_empty(a, {a.size(0), b.size(1)});
  product_into(out, a, b);
  return out;
}

inline Tensor transposed(const Tensor& a) { return torch::stable::transpose(a, 0, 1); }

inline Tensor first_rows(const Tensor& a, int64_t rows) {
  Tensor all = a;
  return rows == a.size(0) ? all : torch::stable::narrow(all, 0, 0, rows);
}

inline Tensor column_sums(const Tensor& a) {
  constexpr std::array<int64_t, 1> rows{0};
  return torch::stable::sum(a, torch::headeronly::IntHeaderOnlyArrayRef(rows.data(), 1));
}

}  // namespace tagnn_fast
