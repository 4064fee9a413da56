// The forward passes of the encoder on plain memory, which the op of each and the op of all of them at once share.
#pragma once

#include "../gated_propagation.h"
#include "../session_attention.h"
#include "../session_readout.h"
#include "dense.h"
#include "gated_propagation_kernel.h"
#include "session_readout_kernel.h"
#include "sessions.h"

namespace tagnn_fast::cpu {

void build_graphs(const SessionGraphInputs& inputs, const SessionGraphArrays& out);

// One after the other, those of each step: what GatedPropagationOutputs holds besides the new states.
template <class T>
struct PropagationMemory {
  T *states, *messages, *products, *gates;
};

// out (slots, hidden): the new states.
template <class T>
void propagate(
    DenseProducts how, const SlotRanges& ranges, const PropagationBatch& batch,
    const GatedPropagationParameters& parameters, const T* nodes, const PropagationMemory<T>& memory, T* out);

// What SessionAttentionOutputs holds besides the new states.
template <class T>
struct AttentionMemory {
  T *rows, *qkv, *attended;
};

// out (slots, hidden): the new states.
template <class T>
void attend(
    DenseProducts how, const SlotRanges& ranges, int64_t hidden, const SessionAttentionParameters& parameters,
    const SessionAttentionOptions& options, const T* nodes, const AttentionMemory<T>& memory, T* out);

// What SessionReadoutOutputs holds.
template <class T>
struct ReadoutMemory {
  T *pooled, *last_click, *activations, *coefficients;
};

template <class T>
void read_out(
    DenseProducts how, const SlotRanges& ranges, const ReadoutBatch& batch, const int64_t* last_node,
    const SessionReadoutParameters& parameters, const T* nodes, const ReadoutMemory<T>& out);

}  // namespace tagnn_fast::cpu
