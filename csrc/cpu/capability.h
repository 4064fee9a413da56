// Which instruction set the kernels use. Kernel files (cpu/*_kernel.cpp) are compiled once per instruction set and
// export one constant table of function pointers each; TAGNN_FAST_KERNELS(op) is the table of the set in use. Those
// that multiply bfloat16 numbers (cpu/*_bfloat16_kernel.cpp) are compiled for avx512_bf16 and amx alone; all other
// kernels are avx512's there.
//
// Kernel files must not instantiate inline functions with external linkage (std::vector, std::sort, ...): the linker
// keeps one copy of those, possibly the one with instructions that this machine lacks.
#pragma once

#include <cstdint>
#include <type_traits>

namespace tagnn_fast::cpu {

enum class CpuCapability : int { kBaseline = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Bf16 = 3, kAmx = 4 };

CpuCapability cpu_capability();

// A table's loops for one scalar type.
template <class T, class Kernels>
const auto& loops_for(const Kernels& kernels) {
  if constexpr (std::is_same_v<T, float>) return kernels.float32;
  else return kernels.float64;
}

}  // namespace tagnn_fast::cpu

extern "C" {
// Name of the instruction set in use: "baseline", "avx2", "avx512", "avx512_bf16" or "amx".
__attribute__((visibility("default"))) const char* tagnn_fast_cpu_capability();
// Chooses one by name; 0 on success, 1 if the name is unknown or this machine lacks it.
__attribute__((visibility("default"))) int tagnn_fast_set_cpu_capability(const char* name);
// Whether this machine has it; 0 for an unknown name.
__attribute__((visibility("default"))) int tagnn_fast_has_cpu_capability(const char* name);
}

#if defined(__x86_64__)
#define TAGNN_FAST_DECLARE_KERNELS(Table, op) extern const Table op##_baseline, op##_avx2, op##_avx512
#define TAGNN_FAST_KERNELS(op)                                                                    \
  (::tagnn_fast::cpu::cpu_capability() >= ::tagnn_fast::cpu::CpuCapability::kAvx512 ? op##_avx512 \
   : ::tagnn_fast::cpu::cpu_capability() == ::tagnn_fast::cpu::CpuCapability::kAvx2 ? op##_avx2   \
                                                                                    : op##_baseline)
#else
#define TAGNN_FAST_DECLARE_KERNELS(Table, op) extern const Table op##_baseline
#define TAGNN_FAST_KERNELS(op) (op##_baseline)
#endif

// In a kernel file: the name of this compilation's table, TAGNN_FAST_CAPABILITY being its instruction set's.
#define TAGNN_FAST_PASTE(op, capability) op##_##capability
#define TAGNN_FAST_PASTE_EXPANDED(op, capability) TAGNN_FAST_PASTE(op, capability)
#define TAGNN_FAST_THIS_TABLE(op) TAGNN_FAST_PASTE_EXPANDED(op, TAGNN_FAST_CAPABILITY)
