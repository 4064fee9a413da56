// Bounds of scores from the item screen, one table per instruction set.
//
// The screen holds item vectors as bytes, each vector with a scale and how far it is off, in blocks of 32 items: their
// scales and their errors, float32, then their units, four of each item at a time. The byte 128 is 0. Blocks of 32 are
// one stream of memory and two vectors of AVX-512, which share what is loaded of a row.
//
// A score is an average, by attention, of products u_p · v, u_p being a session's rows of values (target_attention_
// kernel.h): none is above max_p u_p · v. Of both sides there are whole numbers: v = scale · c + δ with ‖δ‖ ≤ error,
// and u_p = unit_p · q_p + ρ_p. So
//
//     score ≤ scale · (max_p unit_p (q_p · c) + margin) + error · reach
//
// where margin and reach, of the session, allow for ρ_p, δ and every rounding here and in the kernel that scores. What
// is compared with a score is that bound; q_p · c is exact.
#pragma once

#include <cstdint>

#include "capability.h"

namespace tagnn_fast::cpu {

constexpr int64_t kScreenItems = 32, kScreenUnits = 4;  // of a block; of an item that stand beside each other
constexpr int64_t kScreenHead = 2 * kScreenItems * sizeof(float);
constexpr int64_t kScreenStep = kScreenItems * kScreenUnits;
constexpr int64_t kScreenZero = 128, kScreenLargest = 127;  // the byte that is 0, and what is added to it at most
constexpr int64_t kMostScreenedUnits = 1024;                // so that sums of products fit into int32
constexpr float kLargestScreenedNorm = 1e8f;  // of vectors: so that float32's products of them do not overflow
constexpr float kSmallestSlack = 1e-34f;      // what float32's products lose where they vanish

inline int64_t screen_steps(int64_t hidden) { return (hidden + kScreenUnits - 1) / kScreenUnits; }
inline int64_t screen_block_bytes(int64_t hidden) { return kScreenHead + screen_steps(hidden) * kScreenStep; }
inline int64_t screen_blocks(int64_t items) { return (items + kScreenItems - 1) / kScreenItems; }

constexpr int64_t kScreenChunk = 8;  // blocks whose bounds are made at once
// A row's numbers, up to 127 · 128: 128 · high + low, two planes of int8.
constexpr int64_t kRowPlane = 128, kLargestRowNumber = 127 * kRowPlane;

// A session's rows as whole numbers.
struct ScreenRows {
  int64_t rows, steps;    // steps of four units
  const int8_t* planes;   // in parts of up to kScreenRowsAtOnce rows; of each step and row: four high ones, four low
  const int16_t* whole;   // of each row: all of its numbers
  const int32_t* shifts;  // of each row: what is added to its sums for the bytes' zero
  const float* units;     // of each row
  float margin, reach;
};
constexpr int64_t kScreenRowsAtOnce = 6;

inline int64_t screen_rows_at_once(int64_t rows) {
  const int64_t parts = (rows + kScreenRowsAtOnce - 1) / kScreenRowsAtOnce;
  return (rows + parts - 1) / parts;
}

struct ItemScreenKernels {
  // Bounds of a few blocks of items, and each block's largest. Null for machines where scores cost no more than bounds.
  void (*bounds)(const ScreenRows& rows, const uint8_t* blocks, int64_t count, float* bounds, float* largest);
};

TAGNN_FAST_DECLARE_KERNELS(ItemScreenKernels, item_screen);

}  // namespace tagnn_fast::cpu
