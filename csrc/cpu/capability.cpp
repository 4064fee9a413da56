#include "capability.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

extern "C" {
// A GNU unique symbol: all copies of this library in a process have one choice. -1 before the first question.
__attribute__((visibility("default"))) inline std::atomic<int> tagnn_fast_capability_in_use{-1};
}

namespace tagnn_fast::cpu {
namespace {

constexpr const char* kNames[] = {"baseline", "avx2", "avx512", "avx512_bf16", "amx"};
constexpr int kCount = 5;

// AMX tiles and their bfloat16 products, and the kernel's leave to use their registers, which it gives a process once.
bool has_tiles() {
#if defined(TAGNN_FAST_EMULATED_TILES)
  return true;
#elif defined(__x86_64__) && defined(__linux__)
  static const bool has = [] {
    constexpr unsigned kTileBf16 = 1u << 22, kTiles = 1u << 24;
    constexpr long kAskForPermission = 0x1023, kTileData = 18;
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    return (d & kTileBf16) && (d & kTiles) && syscall(SYS_arch_prctl, kAskForPermission, kTileData) == 0;
  }();
  return has;
#else
  return false;
#endif
}

bool machine_has(int capability) {
  if (capability == 0) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
  if (capability == 1) return avx2;
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (capability == 2) return avx512;
  const bool avx512_bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  return avx512_bf16 && (capability == 3 || has_tiles());
#else
  return false;
#endif
}

int find(const char* name) {
  for (int i = 0; i < kCount; ++i) {
    if (name != nullptr && std::strcmp(name, kNames[i]) == 0) return i;
  }
  return -1;
}

int initial() {
  int best = 0;
  for (int i = 1; i < kCount; ++i) {
    if (machine_has(i)) best = i;
  }
  const char* wanted = std::getenv("TAGNN_FAST_CPU_CAPABILITY");
  if (wanted == nullptr || *wanted == '\0') return best;
  const int index = find(wanted);
  if (index >= 0 && machine_has(index)) return index;
  // A library constructor cannot raise: say so and go on with what works.
  std::fprintf(
      stderr,
      "tagnn_fast: TAGNN_FAST_CPU_CAPABILITY: expected baseline, avx2, avx512, avx512_bf16 or amx as this machine has "
      "it, got %s; using %s\n",
      wanted, kNames[best]);
  return best;
}

int current() {
  int in_use = tagnn_fast_capability_in_use.load(std::memory_order_relaxed);
  if (in_use >= 0) return in_use;
  static const int first = initial();
  // Another thread may have chosen meanwhile; then `in_use` becomes its choice.
  return tagnn_fast_capability_in_use.compare_exchange_strong(in_use, first) ? first : in_use;
}

}  // namespace

CpuCapability cpu_capability() { return static_cast<CpuCapability>(tagnn_fast::cpu::current()); }

}  // namespace tagnn_fast::cpu

const char* tagnn_fast_cpu_capability() {
  return tagnn_fast::cpu::kNames[static_cast<int>(tagnn_fast::cpu::cpu_capability())];
}

int tagnn_fast_has_cpu_capability(const char* name) {
  const int index = tagnn_fast::cpu::find(name);
  return index >= 0 && tagnn_fast::cpu::machine_has(index);
}

int tagnn_fast_set_cpu_capability(const char* name) {
  if (!tagnn_fast_has_cpu_capability(name)) return 1;
  tagnn_fast_capability_in_use.store(tagnn_fast::cpu::find(name), std::memory_order_relaxed);
  return 0;
}
