// Registering the ops with PyTorch: once in a process, however many copies of this library it loads.
//
// An exported folder has a copy of the library, and a process may serve yesterday's and today's folder, or load one
// beside the package. Registering twice is an error inside PyTorch that ends the process, so every library asks
// `registers()` first: another copy of the version that is registered is silent, another version is refused.
#pragma once

#include <torch/csrc/stable/library.h>

#include <optional>

namespace tagnn_fast {

using torch::stable::detail::StableLibrary;

// Whether the kernels of this library are to be registered. The first call decides, and defines the ops.
bool registers();

// Every schema: ops.cpp.
void define_ops(StableLibrary& library);

// One file's kernels for one device.
class Registration {
 public:
  Registration(const char* device, void (*add)(StableLibrary&), const char* file, uint32_t line) {
    if (!registers()) return;
    library_.emplace(StableLibrary::Kind::IMPL, "tagnn_fast", device, file, line);
    add(*library_);
  }

 private:
  std::optional<StableLibrary> library_;
};

}  // namespace tagnn_fast

// In place of STABLE_TORCH_LIBRARY_IMPL(tagnn_fast, device, library), once in a file.
#define TAGNN_FAST_REGISTER(device, library)                                                             \
  static void add_kernels(tagnn_fast::StableLibrary&);                                                   \
  static const tagnn_fast::Registration kernels_registration(#device, &add_kernels, __FILE__, __LINE__); \
  static void add_kernels(tagnn_fast::StableLibrary& library)
