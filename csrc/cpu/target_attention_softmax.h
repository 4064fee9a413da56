// Between the products: a pass over a tile turns products into scores, and scores into the gradients of the products.
#pragma once

#include "../constants.h"
#include "target_attention_kernel.h"
#include "vectors.h"

namespace tagnn_fast::cpu {
namespace {

// Terms below change nothing in sums that hold a 1; as zeros they and their products are never denormal.
template <class T>
struct Negligible;
template <>
struct Negligible<float> {
  static constexpr float kWeight = -40, kProbability = -60;
};
template <>
struct Negligible<double> {
  static constexpr double kWeight = -1000, kProbability = -1000;
};

// Softmax over a session's entries for a vector of items, entries one after the other at `logits` and `values`.
template <class T>
struct EntrySums {
  Vector<T> total, weighted, reference;

  // Where kKeep, the terms replace the logits.
  template <bool kKeep>
  static inline EntrySums of(int64_t entries, const T* multiplicities, T* logits, const T* values) {
    Vector<T> largest{};
    for (int64_t e = 0; e < entries; ++e) largest = larger(load(logits + e * kTileItems), largest);
    EntrySums sums;
    sums.reference = multiplicities[0] * power_of_two_above<T>(-largest, Negligible<T>::kWeight);
    sums.total = sums.reference;
    sums.weighted = sums.reference * load(values);
    for (int64_t e = 0; e < entries; ++e) {
      const Vector<T> logit = load(logits + e * kTileItems) - largest;
      const Vector<T> term = multiplicities[e + 1] * power_of_two_above<T>(logit, Negligible<T>::kWeight);
      if (kKeep) store(logits + e * kTileItems, term);
      sums.total += term;
      sums.weighted += term * load(values + (e + 1) * kTileItems);
    }
    return sums;
  }
};

// Calls visit(session, entries, multiplicities, values, logits); the last two point into the products.
template <class T, class Visit>
inline void for_sessions(const TargetBlock<T>& block, T* products, const Visit& visit) {
  const T* multiplicities = block.multiplicities;
  for (int64_t b = 0; b < block.sessions; ++b) {
    const int64_t row = block.first_row[b], entries = (block.first_row[b + 1] - row) / 2;
    visit(b, entries, multiplicities, products + row * kTileItems, products + (row + entries + 1) * kTileItems);
    multiplicities += entries + 1;
  }
}

// Scores of the products.
template <class T>
inline void attend(const TargetBlock<T>& block, const TargetTile<T>& tile) {
  for_sessions(
      block, tile.products, [&](int64_t b, int64_t entries, const T* multiplicities, const T* values, T* logits) {
        T* scores = tile.scores + b * kTileItems;
        if (entries == 0) {
          std::memcpy(scores, values, kTileItems * sizeof(T));
          return;
        }
        for (int64_t item = 0; item < tile.items; item += kLanes<T>) {
          const auto sums = EntrySums<T>::template of<false>(entries, multiplicities, logits + item, values + item);
          store(scores + item, sums.weighted / sums.total);
        }
      });
}

// Vectors that cover the tile end beyond its items.
template <class T>
inline void fill_tail(const TargetTile<T>& tile, T* scores, T value) {
  for (int64_t item = tile.items; item % kLanes<T> != 0; ++item) scores[item] = value;
}

template <class T>
void log_sum_exp(const TargetTile<T>& tile, int64_t sessions, T* maxima, T* sums) {
  for (int64_t b = 0; b < sessions; ++b) {
    T* scores = tile.scores + b * kTileItems;
    fill_tail(tile, scores, -static_cast<T>(__builtin_inf()));
    const Vector<T> before = load(maxima + b * kLanes<T>);
    Vector<T> largest = before;
    for (int64_t item = 0; item < tile.items; item += kLanes<T>) largest = larger(load(scores + item), largest);
    Vector<T> sum = load(sums + b * kLanes<T>) * power_of_two<T>((before - largest) * T(kLog2E));
    for (int64_t item = 0; item < tile.items; item += kLanes<T>) {
      sum += power_of_two<T>((load(scores + item) - largest) * T(kLog2E));
    }
    store(maxima + b * kLanes<T>, largest);
    store(sums + b * kLanes<T>, sum);
  }
}

template <class T>
void exceeds(const TargetTile<T>& tile, int64_t sessions, const T* thresholds, bool* result) {
  for (int64_t b = 0; b < sessions; ++b) {
    T* scores = tile.scores + b * kTileItems;
    fill_tail(tile, scores, -static_cast<T>(__builtin_inf()));
    Bits<T> any{};
    for (int64_t item = 0; item < tile.items; item += kLanes<T>) any |= ~(load(scores + item) <= thresholds[b]);
    bool found = false;
    for (int l = 0; l < kLanes<T>; ++l) found |= any[l] != 0;
    result[b] = found;
  }
}

// Gradients of the scores of one session, in place of the scores.
template <class T>
inline void cross_entropy_gradient(const TargetTile<T>& tile, const CrossEntropyPart<T>& loss, int64_t b) {
  T* scores = tile.scores + b * kTileItems;
  const T scale = kLog2E, largest = loss.normalizer[2 * b], shift = -loss.normalizer[2 * b + 1] * scale;
  for (int64_t item = 0; item < tile.items; item += kLanes<T>) {
    const Vector<T> logarithm = (load(scores + item) - largest) * scale + shift;
    store(scores + item, loss.grads[b] * power_of_two_above<T>(logarithm, Negligible<T>::kProbability));
  }
  const int64_t target = loss.targets[b];
  if (target >= tile.first && target < tile.first + tile.items) scores[target - tile.first] -= loss.grads[b];
}

// Replaces products by their gradients, for vectors that cover the tile.
template <class T>
inline void differentiate(const TargetBlock<T>& block, const TargetTile<T>& tile, const CrossEntropyPart<T>& loss) {
  for_sessions(block, tile.products, [&](int64_t b, int64_t entries, const T* multiplicities, T* values, T* logits) {
    T* scores = tile.scores + b * kTileItems;
    T inverses[kTileItems], means[kTileItems];
    if (entries == 0) {
      if (loss.grads != nullptr) std::memcpy(scores, values, kTileItems * sizeof(T));
    } else {
      for (int64_t item = 0; item < tile.items; item += kLanes<T>) {
        const auto sums = EntrySums<T>::template of<true>(entries, multiplicities, logits + item, values + item);
        const Vector<T> inverse = T(1) / sums.total, mean = sums.weighted * inverse;
        store(inverses + item, inverse * sums.reference);
        store(means + item, mean);
        for (int64_t e = 0; e < entries; ++e) {
          T* term = logits + e * kTileItems + item;
          store(term, load(term) * inverse);
        }
        if (loss.grads != nullptr) store(scores + item, mean);
      }
    }
    if (loss.grads != nullptr) cross_entropy_gradient(tile, loss, b);
    fill_tail(tile, scores, T(0));
    if (entries == 0) {
      std::memcpy(values, scores, kTileItems * sizeof(T));
      return;
    }
    for (int64_t item = 0; item < tile.items; item += kLanes<T>) {
      const Vector<T> grad = load(scores + item), mean = load(means + item);
      store(values + item, load(inverses + item) * grad);
      for (int64_t e = 0; e < entries; ++e) {
        T *logit = logits + e * kTileItems + item, *value = values + (e + 1) * kTileItems + item;
        const Vector<T> grad_value = load(logit) * grad;
        store(logit, grad_value * (load(value) - mean));
        store(value, grad_value);
      }
    }
  });
}

}  // namespace
}  // namespace tagnn_fast::cpu
