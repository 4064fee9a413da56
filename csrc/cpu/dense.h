// Dense products of rows, by PyTorch's library or, of few rows, by a loop of our own, which takes less time than a call
// of the library and rounds otherwise in the last bit.
#pragma once

#include <memory>

#include "../matmul.h"
#include "dense_kernel.h"

namespace tagnn_fast::cpu {

enum class DenseProducts { kByLibrary, kOfFewRows };

// Rows up to which our own loop is faster.
constexpr int64_t kFewDenseRows = 8;

template <class T>
Tensor tensor_of(const T* values, int64_t rows, int64_t columns) {
  constexpr ScalarType dtype = std::is_same_v<T, float> ? ScalarType::Float : ScalarType::Double;
  const int64_t sizes[] = {rows, columns}, strides[] = {columns, 1};
  return torch::stable::from_blob(
      const_cast<T*>(values), {sizes, 2}, {strides, 2}, torch::stable::Device(torch::headeronly::DeviceType::CPU),
      dtype);
}

// out (rows, outputs) = from (rows, inputs) weightᵀ; weight (outputs, inputs) may be strided.
template <class T>
void multiply_rows(DenseProducts how, const T* from, int64_t rows, const Tensor& weight, T* out) {
  if (rows == 0) return;
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  if (how == DenseProducts::kOfFewRows && weight.is_contiguous()) {
    const std::unique_ptr<T[]> scratch(new T[dense_scratch(rows, inputs)]);
    loops_for<T>(TAGNN_FAST_KERNELS(dense)).few_rows(from, rows, data<T>(weight), outputs, inputs, scratch.get(), out);
    return;
  }
  Tensor to = tensor_of(out, rows, outputs);
  product_into(to, tensor_of(from, rows, inputs), transposed(weight));
}

}  // namespace tagnn_fast::cpu
