// What the CUDA kernels share: launches, a session's slots, sums over warps and blocks, functions of one value.
//
// Kernels never look at values on the host and synchronise with nothing; results are repeatable, since no float is
// added atomically. Everything here also compiles for the CPU, against emulation/cuda_runtime.h.
#pragma once

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <cstdint>
#include <limits>

#include "../checks.h"
#include "../constants.h"
#include "../registration.h"

#if defined(TAGNN_FAST_EMULATED)
#define TAGNN_FAST_CUDA_LIBRARY(library) TAGNN_FAST_REGISTER(CPU, library)
#else
#define TAGNN_FAST_CUDA_LIBRARY(library) TAGNN_FAST_REGISTER(CUDA, library)
#endif

namespace tagnn_fast::cuda {

constexpr int kWarpLanes = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFF;
template <class T>
constexpr T kLowest = std::numeric_limits<T>::lowest();
template <class T>
constexpr T kBelowAll = -std::numeric_limits<T>::infinity();

// The tensor's GPU is the current one while this lives; tensors elsewhere are then refused by their checks.
class OnDevice {
 public:
#if defined(TAGNN_FAST_EMULATED)
  explicit OnDevice(const Tensor&) {}
#else
  explicit OnDevice(const Tensor& tensor) {
    if (tensor.is_cuda()) guard_.emplace(tensor.get_device_index());
  }

 private:
  std::optional<torch::stable::accelerator::DeviceGuard> guard_;
#endif
};

#if !defined(TAGNN_FAST_EMULATED)
inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

// PyTorch's current stream on the current GPU. The shim is in libtorch_cuda.so, which PyTorch has loaded where there
// is a GPU to launch on; linking to it would keep this library from loading beside a PyTorch without CUDA.
inline cudaStream_t current_stream() {
  using Shim = AOTITorchError (*)(int32_t, void**);
  static const Shim shim = [] {
    void* torch_cuda = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    void* found = dlsym(torch_cuda != nullptr ? torch_cuda : RTLD_DEFAULT, "aoti_torch_get_current_cuda_stream");
    if (found == nullptr) throw std::runtime_error("PyTorch: expected one with CUDA to be loaded, found none");
    return reinterpret_cast<Shim>(found);
  }();
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(shim(torch::stable::accelerator::getCurrentDeviceIndex(), &stream));
  return static_cast<cudaStream_t>(stream);
}
#endif

// What the ops' headers, ../<op>.h, ask of a backend.
struct CudaOp {
#if defined(TAGNN_FAST_EMULATED)
  static constexpr Backend kBackend{false, true};
#else
  static constexpr Backend kBackend{true, true};
#endif
  using Guard = OnDevice;
};

// Runs a kernel on PyTorch's current stream. Nothing to do where the grid is empty.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared, Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#if defined(TAGNN_FAST_EMULATED)
  emulation::Block::current().run(grid, threads, shared, [&] { kernel(Parameters(arguments)...); });
#else
  constexpr size_t kWithoutAsking = 48 << 10;
  if (shared > kWithoutAsking) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), "shared memory");
  }
  const cudaStream_t stream = current_stream();
  const auto start = [&](Parameters... values) {
    void* pointers[] = {&values...};
    return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, dim3(threads), pointers, shared, stream);
  };
  check_cuda(start(Parameters(arguments)...), "launch");
#endif
}

// A block's dynamic shared memory.
template <class T>
__device__ inline T* dynamic_shared() {
#if defined(TAGNN_FAST_EMULATED)
  return reinterpret_cast<T*>(emulation::Block::current().dynamic_shared());
#else
  extern __shared__ __align__(16) unsigned char memory[];
  return reinterpret_cast<T*>(memory);
#endif
}

// A block's static shared memory of one type, the same wherever a kernel asks for that type.
template <class Memory>
__device__ inline Memory& static_shared() {
#if defined(TAGNN_FAST_EMULATED)
  return emulation::Block::current().static_shared<Memory>();
#else
  __shared__ Memory memory;
  return memory;
#endif
}

inline unsigned blocks_for(int64_t work, int64_t per_block) { return (work + per_block - 1) / per_block; }

__device__ inline int lane() { return threadIdx.x % kWarpLanes; }
__device__ inline int warp() { return threadIdx.x / kWarpLanes; }
__device__ inline int warps() { return blockDim.x / kWarpLanes; }

template <class T>
__host__ __device__ inline T smaller(T a, T b) {
  return b < a ? b : a;
}
// NaN where either is.
template <class T>
__host__ __device__ inline T larger(T a, T b) {
  return a >= b || a != a ? a : b;
}

template <class T>
__device__ inline void exchange(T& a, T& b) {
  const T before = a;
  a = b;
  b = before;
}

#if !defined(TAGNN_FAST_EMULATED)
__device__ inline float larger(float a, float b) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
#endif

template <class T>
__device__ inline T warp_sum(T value) {
  for (int bits = kWarpLanes / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(kAllLanes, value, bits);
  return value;
}
template <class T>
__device__ inline T warp_max(T value) {
  for (int bits = kWarpLanes / 2; bits > 0; bits /= 2) {
    value = larger(value, __shfl_xor_sync(kAllLanes, value, bits));
  }
  return value;
}
// Dot product of two vectors by a warp, every lane gets it.
template <class T>
__device__ inline T warp_dot(const T* x, const T* y, int64_t size) {
  T sum = 0;
  for (int64_t c = lane(); c < size; c += kWarpLanes) sum += x[c] * y[c];
  return warp_sum(sum);
}

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }
// Within 2e-7 + 1e-7 |x| of it, relatively.
__device__ inline float fast_exponential(float x) {
  constexpr float kBitsPerNat = 1.44269504f;
#if defined(TAGNN_FAST_EMULATED)
  return exp2f(x * kBitsPerNat);
#else
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x * kBitsPerNat));
  return result;
#endif
}
__device__ inline double logarithm(double x) { return log(x); }
__device__ inline float hyperbolic_tangent(float x) { return tanhf(x); }
__device__ inline double hyperbolic_tangent(double x) { return tanh(x); }
// Softmax numerator for x = logit − largest logit: below float32's smallest normal number it is zero.
__device__ inline float softmax_term(float x) { return x < kSmallestExponent ? 0.f : exponential(x); }
__device__ inline double softmax_term(double x) { return exponential(x); }
// Zero where the result would be below float32's smallest normal number.
__device__ inline float sigmoid(float x) { return x < kSmallestExponent ? 0.f : 1.f / (1.f + exponential(-x)); }
__device__ inline double sigmoid(double x) { return 1 / (1 + exponential(-x)); }

// A session's nodes are slots [begin, nodes_end).
struct DeviceSession {
  int64_t begin, nodes_end;
};

// Where sessions lie; any values are taken.
struct SessionTable {
  const int64_t *offsets, *num_nodes;
  int64_t sessions, slots;
};

// The largest of offsets[0 .. last], in [0, slots]: ranges between such values never overlap. By a whole warp.
__device__ inline int64_t rising_offset(const int64_t* offsets, int64_t last, int64_t slots) {
  int64_t largest = 0;
  for (int64_t b = lane(); b <= last; b += kWarpLanes) largest = larger(largest, smaller(offsets[b], slots));
  return warp_max(largest);
}

struct Range {
  int64_t begin, end;
};

// Number `index` of the ranges that offsets cut [0, size) into, made to lie there and not to overlap. By a whole warp.
__device__ inline Range find_range(const int64_t* offsets, int64_t index, int64_t size) {
  const int64_t begin = rising_offset(offsets, index, size);
  return {begin, larger(begin, smaller(offsets[index + 1], size))};
}

// By a whole warp.
__device__ inline DeviceSession find_session(const SessionTable& table, int64_t session) {
  const Range slots = find_range(table.offsets, session, table.slots);
  const int64_t nodes = smaller(larger(table.num_nodes[session], int64_t{0}), slots.end - slots.begin);
  return {slots.begin, slots.begin + nodes};
}

}  // namespace tagnn_fast::cuda
