// What the ops' headers, ../<op>.h, ask of a backend.
#pragma once

#include "../checks.h"

namespace tagnn_fast::cpu {

struct NoDevice {
  explicit NoDevice(const Tensor&) {}
};

struct CpuOp {
  static constexpr Backend kBackend{false, false};
  using Guard = NoDevice;
};

}  // namespace tagnn_fast::cpu
