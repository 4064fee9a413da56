// tagnn_fast._C: what concerns this Python process. The ops library itself knows nothing of Python.

#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "../cpu/capability.h"
#include "../version.h"

namespace py = pybind11;

namespace {

py::dict build_information() {
  py::dict information;
  information["version"] = TAGNN_FAST_VERSION;
  information["ops"] = tagnn_fast_version();
  information["compiler"] = TAGNN_FAST_COMPILER;
  information["torch"] = TAGNN_FAST_TORCH_VERSION;
  information["cuda"] = TAGNN_FAST_WITH_CUDA != 0;
  information["sanitized"] = TAGNN_FAST_SANITIZED != 0;
  return information;
}

void set_cpu_capability(const std::string& name) {
  if (tagnn_fast_set_cpu_capability(name.c_str()) == 0) return;
  throw py::value_error(
      "name: expected baseline, avx2, avx512, avx512_bf16 or amx as this machine has it, got '" + name + "'");
}

bool has_cpu_capability(const std::string& name) { return tagnn_fast_has_cpu_capability(name.c_str()) != 0; }

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Build information and the choice of instruction set, which lives in libtagnn_fast_ops.so.";
  module.def(
      "build_information", &build_information,
      "What this package was compiled with: version, ops (that version and a hash of their sources), compiler, torch, "
      "cuda, sanitized.");
  module.def(
      "cpu_capability", [] { return std::string(tagnn_fast_cpu_capability()); },
      "Instruction set that the CPU kernels use: 'baseline', 'avx2', 'avx512', 'avx512_bf16' or 'amx'.");
  module.def(
      "set_cpu_capability", &set_cpu_capability, py::arg("name"),
      "Choose the CPU kernels' instruction set for the whole process; ValueError where this machine lacks it.");
  module.def(
      "has_cpu_capability", &has_cpu_capability, py::arg("name"),
      "Whether this machine can run the kernels compiled for an instruction set.");
}
