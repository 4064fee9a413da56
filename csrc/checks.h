// Argument checks of the ops: each failure names the argument, what was expected and what came. And what every op's
// structures need besides: contiguous arguments, outputs, pointers to values.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>

namespace tagnn_fast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kAnySize = -1;

// What an op's structures know of the backend that they check arguments and allocate outputs for.
struct Backend {
  bool on_gpu;         // where its tensors lie: on the current GPU or on the CPU
  bool starts_zeroed;  // its kernels write the rows of nodes alone, into outputs that are zero elsewhere
};

inline bool is_here(Backend backend, const Tensor& tensor) {
  if (!backend.on_gpu) return tensor.is_cpu();
  return tensor.is_cuda() && tensor.get_device_index() == torch::stable::accelerator::getCurrentDeviceIndex();
}

inline const char* dtype_name(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Half:
      return "float16";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Byte:
      return "uint8";
    case ScalarType::Bool:
      return "bool";
    default:
      return "another dtype";
  }
}

inline void append_shape(std::ostringstream& message, const int64_t* sizes, size_t dims) {
  message << "(";
  for (size_t i = 0; i < dims; ++i) {
    message << (i ? ", " : "");
    if (sizes[i] == kAnySize) message << "any";
    else message << sizes[i];
  }
  message << (dims == 1 ? ",)" : ")");
}

// Throws unless `tensor` lies where the backend's do, with this dtype and these sizes (kAnySize matches every size).
inline void check_tensor(
    Backend backend, const Tensor& tensor, const char* name, ScalarType dtype, std::initializer_list<int64_t> sizes) {
  const auto actual = tensor.sizes();
  bool matches = tensor.scalar_type() == dtype && is_here(backend, tensor) && actual.size() == sizes.size();
  for (size_t i = 0; matches && i < sizes.size(); ++i) {
    const int64_t expected = sizes.begin()[i];
    matches = expected == kAnySize || expected == actual[i];
  }
  if (matches) return;
  const char* here = backend.on_gpu ? "on this GPU" : "on the CPU";
  std::ostringstream message;
  message << name << ": expected " << dtype_name(dtype) << " ";
  append_shape(message, sizes.begin(), sizes.size());
  message << " " << here << ", got " << dtype_name(tensor.scalar_type()) << " ";
  append_shape(message, actual.data(), actual.size());
  message << " " << (is_here(backend, tensor) ? here : "on another device");
  throw std::runtime_error(message.str());
}

template <class Value>
void check_value(bool holds, const char* name, const char* expected, Value actual) {
  if (holds) return;
  std::ostringstream message;
  message << name << ": expected " << expected << ", got " << actual;
  throw std::runtime_error(message.str());
}

// float32 or float64; everything else is refused.
inline ScalarType check_floating(const Tensor& tensor, const char* name) {
  const ScalarType dtype = tensor.scalar_type();
  if (dtype == ScalarType::Float || dtype == ScalarType::Double) return dtype;
  throw std::runtime_error(std::string(name) + ": expected float32 or float64, got " + dtype_name(dtype));
}

// Calls run(T()) with the scalar type that check_floating let through.
template <class Run>
void with_scalar(ScalarType dtype, const Run& run) {
  dtype == ScalarType::Float ? run(float()) : run(double());
}

// What `allocate` makes, a tensor of these sizes; where it cannot, all that PyTorch passes on is that a call failed.
template <class Sizes, class Allocate>
Tensor allocated(bool on_gpu, ScalarType dtype, const Sizes& sizes, const Allocate& allocate) {
  try {
    return allocate();
  } catch (const std::runtime_error&) {
    std::ostringstream message;
    message << "out of memory" << (on_gpu ? ", or a kernel failed before" : "") << ": expected enough for "
            << dtype_name(dtype) << " ";
    append_shape(message, sizes.begin(), sizes.size());
    throw std::runtime_error(message.str());
  }
}

// Without a call of the dispatcher where nothing is to be done.
inline void make_contiguous(std::initializer_list<Tensor*> tensors) {
  for (Tensor* tensor : tensors) {
    if (tensor->is_contiguous()) continue;
    *tensor = allocated(
        tensor->is_cuda(), tensor->scalar_type(), tensor->sizes(), [&] { return torch::stable::contiguous(*tensor); });
  }
}

inline Tensor make_empty(
    const Tensor& like, std::initializer_list<int64_t> sizes, std::optional<ScalarType> dtype = std::nullopt) {
  return allocated(like.is_cuda(), dtype.value_or(like.scalar_type()), sizes, [&] {
    return torch::stable::new_empty(like, sizes, dtype);
  });
}

inline Tensor make_zeros(
    const Tensor& like, std::initializer_list<int64_t> sizes, std::optional<ScalarType> dtype = std::nullopt) {
  return allocated(like.is_cuda(), dtype.value_or(like.scalar_type()), sizes, [&] {
    return torch::stable::new_zeros(like, sizes, dtype);
  });
}

// With fewer instructions than make_empty.
inline Tensor empty_on_cpu(std::initializer_list<int64_t> sizes, ScalarType dtype) {
  return allocated(false, dtype, sizes, [&] { return torch::stable::empty(sizes, dtype); });
}

inline Tensor new_unwritten(Backend backend, const Tensor& like, std::initializer_list<int64_t> sizes) {
  return backend.on_gpu ? make_empty(like, sizes) : empty_on_cpu(sizes, like.scalar_type());
}

// An output that kernels may leave in part as it was made.
inline Tensor new_output(Backend backend, const Tensor& like, std::initializer_list<int64_t> sizes) {
  if (!backend.starts_zeroed) return new_unwritten(backend, like, sizes);
  return make_zeros(like, sizes);
}

template <class T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
// Null where there is none.
template <class T>
const T* optional_data(const std::optional<Tensor>& tensor) {
  return tensor ? data<T>(*tensor) : nullptr;
}
template <class T>
T* mutable_data(Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

}  // namespace tagnn_fast
