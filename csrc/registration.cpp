// In both libraries: TAGNN_FAST_LIBRARY is 0 in the one with the ops and their CPU kernels, 1 in that of the CUDA
// kernels. Compiled with -fno-plt, since `refuse` runs before there is a procedure linkage table.
#include "registration.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <exception>

#include "version.h"

extern "C" {
// GNU unique symbols: one of each in a process, whichever library brings it, whether that was loaded RTLD_LOCAL or not.
// Every version reads them, so their names and types stay.
inline TAGNN_FAST_PUBLIC const char* tagnn_fast_registered_version = nullptr;
inline TAGNN_FAST_PUBLIC bool tagnn_fast_registered_libraries[2] = {};
}

namespace tagnn_fast {
namespace {

constexpr char kVersion[] = TAGNN_FAST_OPS_VERSION;
char error[8192];  // empty where there is none

const char* path_of(const void* place) {
  Dl_info information;
  return dladdr(place, &information) != 0 && information.dli_fname != nullptr ? information.dli_fname : "a library";
}

bool another_version_is_registered() {
  const char* registered = tagnn_fast_registered_version;
  if (registered == nullptr || std::strcmp(registered, kVersion) == 0) return false;
  std::snprintf(
      error, sizeof error, "expected ops of version %s, which %s registered in this process, got version %s",
      registered, path_of(registered), kVersion);
  return true;
}

bool define() {
#if TAGNN_FAST_LIBRARY == 0
  static std::optional<Definitions> definitions;
  try {
    definitions.emplace();
    define_ops(*definitions);
  } catch (const std::exception&) {  // by a library from before versions were told apart
    definitions.reset();
    std::snprintf(
        error, sizeof error, "expected ops of version %s, got those of an older library in this process", kVersion);
    return false;
  }
#endif
  return true;
}

bool decide() {
  bool& registered = tagnn_fast_registered_libraries[TAGNN_FAST_LIBRARY];
  if (another_version_is_registered() || registered || !define()) return false;
  tagnn_fast_registered_version = kVersion;
  return registered = true;
}

// dlopen has no way to fail from a static initialiser, but it has while it binds symbols, when the resolver below runs.
// It fails then as for a missing symbol: with a message, and with nothing left of the library. Where libc does not have
// that function (it is not a documented one), the library stays, registers nothing, and has tagnn_fast_load_error().
void bound() {}
extern "C" __attribute__((used, no_sanitize("address", "undefined"))) void (*tagnn_fast_resolve())() {
  using Signal = void (*)(int, const char*, const char*, const char*);
  if (another_version_is_registered()) {
    const auto signal = reinterpret_cast<Signal>(dlsym(RTLD_DEFAULT, "_dl_signal_error"));
    if (signal != nullptr) signal(0, path_of(kVersion), nullptr, error);
  }
  return &bound;
}
__attribute__((ifunc("tagnn_fast_resolve"))) void refuse();
__attribute__((used)) void (*const volatile kRefuse)() = &refuse;  // binds it

}  // namespace

bool registers() {
  static const bool decision = decide();
  return decision;
}

// A static initialiser cannot raise: whoever loads the library asks for the error, or finds it here.
[[maybe_unused]] const bool kReported = [] {
  if (!registers() && *error != '\0') std::fprintf(stderr, "tagnn_fast: %s: %s\n", path_of(kVersion), error);
  return true;
}();

}  // namespace tagnn_fast

const char* tagnn_fast_version() { return tagnn_fast::kVersion; }

const char* tagnn_fast_load_error() {
  tagnn_fast::registers();
  return *tagnn_fast::error == '\0' ? nullptr : tagnn_fast::error;
}
