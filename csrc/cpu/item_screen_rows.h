// What bounds of scores ask of a session.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "item_screen_kernel.h"
#include "target_attention_kernel.h"

namespace tagnn_fast::cpu {

// A session's rows of values as whole numbers; see ScreenRows.
class ScreenedSession {
 public:
  // Rows from `first` on, of `count` rows, of a block.
  ScreenedSession(const TargetBlock<float>& block, int64_t first, int64_t count, int64_t panel_rows, int64_t hidden)
      : steps_(screen_steps(hidden)),
        planes_(count * steps_ * 2 * kScreenUnits),
        whole_(count * steps_ * kScreenUnits),
        shifts_(count),
        units_(count) {
    double longest = 0, rest = 0;
    std::vector<float> row(hidden);
    for (int64_t r = 0; r < count; ++r) {
      const int64_t panel = (first + r) / panel_rows * panel_rows, width = std::min(panel_rows, block.rows - panel);
      for (int64_t c = 0; c < hidden; ++c) row[c] = block.panels[panel * hidden + c * width + first + r - panel];
      const auto [length, left] = quantise(row, r);
      longest = std::max(longest, length);
      rest = std::max(rest, left);
    }
    fill_planes();
    // Roundings of the kernel that scores, in sums over units and over entries, and of the bound: each allowed twice.
    const double roundings = (hidden + 2 * count + 32) * std::ldexp(1.0, -23);
    const double longest_code = kScreenLargest * std::sqrt(hidden);  // times its scale: of an item
    margin_ = rounded_up(longest_code * (rest + roundings * longest));
    reach_ = rounded_up(longest * (1 + roundings) + 1e-30);
  }

  ScreenRows rows() const {
    const int64_t count = units_.size();
    return {count, steps_, planes_.data(), whole_.data(), shifts_.data(), units_.data(), margin_, reach_};
  }

 private:
  static float rounded_up(double value) { return std::nextafterf(value, std::numeric_limits<float>::infinity()); }

  // The length of a row and of what its numbers leave out.
  std::pair<double, double> quantise(const std::vector<float>& row, int64_t r) {
    float largest = 0;
    for (const float value : row) largest = std::max(largest, std::fabs(value));
    const float unit = std::max(largest / kLargestRowNumber, std::numeric_limits<float>::min());
    double square = 0, rest = 0;
    int64_t sum = 0;
    int16_t* numbers = whole_.data() + r * steps_ * kScreenUnits;
    for (size_t c = 0; c < row.size(); ++c) {
      const int64_t number = std::clamp<int64_t>(std::lrintf(row[c] / unit), -kLargestRowNumber, kLargestRowNumber);
      const double left = row[c] - static_cast<double>(unit) * number;
      square += static_cast<double>(row[c]) * row[c];
      rest += left * left;
      sum += number;
      numbers[c] = number;
    }
    units_[r] = unit;
    shifts_[r] = -kScreenZero * sum;
    return {std::sqrt(square), std::sqrt(rest)};
  }

  void fill_planes() {
    const int64_t count = units_.size(), at_once = screen_rows_at_once(count);
    int8_t* to = planes_.data();
    for (int64_t part = 0; part < count; part += at_once) {
      for (int64_t step = 0; step < steps_; ++step) {
        for (int64_t r = part; r < std::min(count, part + at_once); ++r, to += 2 * kScreenUnits) {
          for (int64_t c = 0; c < kScreenUnits; ++c) {
            const int number = whole_[(r * steps_ + step) * kScreenUnits + c];
            const int high = (number + kLargestRowNumber + kRowPlane / 2) / kRowPlane - kScreenLargest;
            to[c] = high;
            to[kScreenUnits + c] = number - high * kRowPlane;
          }
        }
      }
    }
  }

  int64_t steps_;
  std::vector<int8_t> planes_;
  std::vector<int16_t> whole_;
  std::vector<int32_t> shifts_;
  std::vector<float> units_;
  float margin_, reach_;
};

}  // namespace tagnn_fast::cpu
