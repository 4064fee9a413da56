// Registering the ops with PyTorch: once in a process, however many copies of this library it loads.
//
// An exported folder has a copy of the library, and a process may serve yesterday's and today's folder, or load one
// beside the package. Registering twice is an error inside PyTorch that ends the process, so every library asks
// `registers()` first: another copy of the version that is registered is silent, another version is refused.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>

#include <optional>
#include <stdexcept>

namespace tagnn_fast {

using torch::stable::detail::StableLibrary;

// Whether the kernels of this library are to be registered. The first call decides, and defines the ops.
bool registers();

// Schemas that stand as long as this does. StableLibrary is silent about one that cannot be defined, up to
// PyTorch 2.12.
class Definitions {
 public:
  Definitions() { check(aoti_torch_library_init_fragment("tagnn_fast", __FILE__, __LINE__, &library_), "tagnn_fast"); }
  ~Definitions() { aoti_torch_delete_library_object(library_); }
  Definitions(const Definitions&) = delete;
  Definitions& operator=(const Definitions&) = delete;

  void def(const char* schema) { check(aoti_torch_library_def(library_, schema), schema); }

 private:
  static void check(AOTITorchError status, const char* what) {
    if (status != AOTI_TORCH_SUCCESS) throw std::runtime_error(what);
  }

  TorchLibraryHandle library_ = nullptr;
};

// Every schema: ops.cpp.
void define_ops(Definitions& definitions);

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
