// Argument checks of the ops: each failure names the argument, what was expected and what came.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <string>

namespace tagnn_fast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kAnySize = -1;

// Where the kernels of this library run. The CUDA kernels can be compiled for the CPU, too: see emulation/.
#if defined(__CUDACC__)
constexpr const char* kDevice = "on this GPU";
inline bool is_here(const Tensor& tensor) {
  return tensor.is_cuda() && tensor.get_device_index() == torch::stable::accelerator::getCurrentDeviceIndex();
}
#else
constexpr const char* kDevice = "on the CPU";
inline bool is_here(const Tensor& tensor) { return tensor.is_cpu(); }
#endif

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

// Throws unless `tensor` lies on the device with this dtype and these sizes (kAnySize matches every size).
inline void check_tensor(
    const Tensor& tensor, const char* name, ScalarType dtype, std::initializer_list<int64_t> sizes) {
  const auto actual = tensor.sizes();
  bool matches = tensor.scalar_type() == dtype && is_here(tensor) && actual.size() == sizes.size();
  for (size_t i = 0; matches && i < sizes.size(); ++i) {
    const int64_t expected = sizes.begin()[i];
    matches = expected == kAnySize || expected == actual[i];
  }
  if (matches) return;
  std::ostringstream message;
  message << name << ": expected " << dtype_name(dtype) << " ";
  append_shape(message, sizes.begin(), sizes.size());
  message << " " << kDevice << ", got " << dtype_name(tensor.scalar_type()) << " ";
  append_shape(message, actual.data(), actual.size());
  message << " " << (is_here(tensor) ? kDevice : "on another device");
  throw std::runtime_error(message.str());
}

template <class Value>
inline void check_value(bool holds, const char* name, const char* expected, Value actual) {
  if (holds) return;
  std::ostringstream message;
  message << name << ": expected " << expected << ", got " << actual;
  throw std::runtime_error(message.str());
}

// Without a call of the dispatcher where nothing is to be done.
inline Tensor as_contiguous(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

// float32 or float64; everything else is refused.
inline ScalarType check_floating(const Tensor& tensor, const char* name) {
  const ScalarType dtype = tensor.scalar_type();
  if (dtype == ScalarType::Float || dtype == ScalarType::Double) return dtype;
  throw std::runtime_error(std::string(name) + ": expected float32 or float64, got " + dtype_name(dtype));
}

template <class T>
inline const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
// Null for an undefined tensor.
template <class T>
inline const T* optional_data(const Tensor& tensor) {
  return tensor.defined() ? data<T>(tensor) : nullptr;
}
template <class T>
inline T* mutable_data(Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

}  // namespace tagnn_fast
