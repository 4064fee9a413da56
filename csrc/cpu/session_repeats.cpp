// Which items sessions have clicked among their last clicks, how often, and how long ago. See
// tagnn_fast/ops/session_repeats.py.

#include <tuple>
#include <vector>

#include "../checks.h"
#include "../constants.h"
#include "../registration.h"
#include "backend.h"
#include "sessions.h"

namespace tagnn_fast::cpu {
namespace {

constexpr int64_t kMostPlaces = 64;  // each is compared with all others

std::tuple<Tensor, Tensor> session_repeats(
    const Tensor& items_in, const Tensor& offsets_in, int64_t places, int64_t counts) {
  constexpr Backend backend = CpuOp::kBackend;
  Tensor items = items_in, offsets = offsets_in;
  check_tensor(backend, items, "items", ScalarType::Long, {kAnySize});
  check_tensor(backend, offsets, "offsets", ScalarType::Long, {kAnySize});
  const int64_t sessions = offsets.size(0) - 1;
  check_value(sessions >= 0, "offsets", "at least one value", offsets.size(0));
  check_value(places >= 1 && places <= kMostPlaces, "places", "1 to 64", places);
  check_value(counts >= 1 && counts <= kMostPlaces, "counts", "1 to 64", counts);
  make_contiguous({&items, &offsets});
  Tensor rows = new_unwritten(backend, items, {sessions, places});
  Tensor cells = new_unwritten(backend, items, {sessions, places});
  const auto first = clamped_offsets(data<int64_t>(offsets), sessions, items.size(0));
  std::vector<int64_t> recent;  // known items, the last click's first
  for (int64_t b = 0; b < sessions; ++b) {
    recent.clear();
    for (int64_t click = first[b + 1] - 1; click >= first[b] && static_cast<int64_t>(recent.size()) < places; --click) {
      const int64_t item = data<int64_t>(items)[click];
      if (item > 0) recent.push_back(item);
    }
    int64_t* row = mutable_data<int64_t>(rows) + b * places;
    int64_t* cell = mutable_data<int64_t>(cells) + b * places;
    std::fill_n(row, places, -1);
    std::fill_n(cell, places, -1);
    for (size_t place = 0; place < recent.size(); ++place) {
      const auto here = recent.begin() + place;
      if (std::find(recent.begin(), here, *here) != here) continue;  // it has a later click
      row[place] = *here - 1;
      cell[place] = (std::min<int64_t>(std::count(here, recent.end(), *here), counts) - 1) * places + place;
    }
  }
  return {rows, cells};
}

}  // namespace
}  // namespace tagnn_fast::cpu

// For every device, to refuse others than the CPU in our own words.
TAGNN_FAST_REGISTER(CompositeExplicitAutograd, library) {
  library.impl("session_repeats", TORCH_BOX(&tagnn_fast::cpu::session_repeats));
}
