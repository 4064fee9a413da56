// Products of few rows with a weight that is read once, where it lies; one table per instruction set.
#pragma once

#include <cstdint>

#include "capability.h"

namespace tagnn_fast::cpu {

template <class T>
struct DenseLoops {
  // out (rows, outputs) = from (rows, inputs) weightᵀ, weight being (outputs, inputs); all contiguous.
  // scratch: room for dense_scratch(rows, inputs) values.
  void (*few_rows)(const T* from, int64_t rows, const T* weight, int64_t outputs, int64_t inputs, T* scratch, T* out);
};

struct DenseKernels {
  DenseLoops<float> float32;
  DenseLoops<double> float64;
};

// Rows with the last vector of each filled up, from where a vector is aligned, on any instruction set.
constexpr int64_t dense_scratch(int64_t rows, int64_t inputs) { return rows * (inputs + 16) + 16; }

TAGNN_FAST_DECLARE_KERNELS(DenseKernels, dense);

}  // namespace tagnn_fast::cpu
