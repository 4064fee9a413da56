// Every schema of the package, on one page. Kernels are in cpu/<op>.cpp and cuda/<op>.cu; shapes, units and
// definitions in tagnn_fast/ops/<op>.py; gradients are registered there too.
//
// Outputs after the documented ones (states, messages, ...) are what the backward needs; they carry no gradient.

#include "registration.h"

void tagnn_fast::define_ops(Definitions& definitions) {
  definitions.def(
      "prefix_batch(Tensor clicks, Tensor offsets, Tensor first_example, Tensor examples, int? capacity=None) -> ("
      "Tensor items, Tensor batch_offsets, Tensor targets)");

  definitions.def(
      "session_graph(Tensor items, Tensor offsets, int? padded_length=None) -> ("
      "Tensor node_items, Tensor clicks, Tensor neighbour_start, Tensor neighbour_count, Tensor neighbours, "
      "Tensor click_nodes, Tensor slot_offsets, Tensor num_nodes, Tensor last_node, Tensor padding)");

  definitions.def(
      "gated_propagation(Tensor nodes, Tensor slot_offsets, Tensor num_nodes, "
      "Tensor neighbour_start, Tensor neighbour_count, Tensor neighbours, "
      "Tensor state_weight, Tensor state_bias, Tensor message_bias, Tensor weight_ih, Tensor bias_ih, "
      "int steps=1) -> (Tensor out, Tensor states, Tensor messages, Tensor products, Tensor gates)");
  definitions.def(
      "gated_propagation_backward(Tensor grad, Tensor slot_offsets, Tensor num_nodes, "
      "Tensor neighbour_start, Tensor neighbour_count, Tensor neighbours, Tensor state_weight, Tensor weight_ih, "
      "Tensor states, Tensor messages, Tensor products, Tensor gates) -> (Tensor nodes, "
      "Tensor state_weight, Tensor state_bias, Tensor message_bias, Tensor weight_ih, Tensor bias_ih)");

  definitions.def(
      "session_attention(Tensor nodes, Tensor slot_offsets, Tensor num_nodes, Tensor qkv_weight, Tensor qkv_bias, "
      "Tensor out_weight, Tensor out_bias, Tensor? norm_weight, Tensor? norm_bias, int heads, bool causal=True, "
      "float dropout=0.0, Tensor? seed=None) -> (Tensor out, Tensor rows, Tensor qkv, Tensor attended)");
  definitions.def(
      "session_attention_backward(Tensor grad, Tensor slot_offsets, Tensor num_nodes, Tensor qkv_weight, "
      "Tensor out_weight, Tensor? norm_weight, int heads, bool causal, float dropout, Tensor? seed, "
      "Tensor rows, Tensor qkv, Tensor attended) -> (Tensor nodes, Tensor qkv_weight, Tensor qkv_bias, "
      "Tensor out_weight, Tensor out_bias, Tensor norm_weight, Tensor norm_bias)");

  definitions.def(
      "session_readout(Tensor nodes, Tensor clicks, Tensor slot_offsets, Tensor num_nodes, Tensor last_node, "
      "Tensor padding, Tensor query_weight, Tensor query_bias, Tensor key_weight, Tensor key_bias, "
      "Tensor logit_weight, bool normalize=True) -> ("
      "Tensor pooled, Tensor last_click, Tensor activations, Tensor coefficients)");
  definitions.def(
      "session_readout_backward(Tensor grad_pooled, Tensor grad_last_click, Tensor nodes, Tensor clicks, "
      "Tensor slot_offsets, Tensor num_nodes, Tensor last_node, Tensor padding, "
      "Tensor query_weight, Tensor key_weight, Tensor logit_weight, bool normalize, "
      "Tensor last_click, Tensor activations, Tensor coefficients) -> ("
      "Tensor nodes, Tensor query_weight, Tensor query_bias, Tensor key_weight, Tensor key_bias, "
      "Tensor logit_weight)");

  definitions.def(
      "target_attention_scores(Tensor session, Tensor keys, Tensor values, Tensor clicks, Tensor padding, "
      "Tensor slot_offsets, Tensor table, int precision=0) -> Tensor scores");
  definitions.def(
      "target_attention_scores_backward(Tensor grad, Tensor session, Tensor keys, Tensor values, Tensor clicks, "
      "Tensor padding, Tensor slot_offsets, Tensor table, int precision=0) -> ("
      "Tensor session, Tensor keys, Tensor values, Tensor table)");
  definitions.def(
      "target_attention_topk(Tensor session, Tensor keys, Tensor values, Tensor clicks, Tensor padding, "
      "Tensor slot_offsets, Tensor table, int k, Tensor? candidates=None, Tensor? excluded=None, "
      "Tensor? excluded_offsets=None, int precision=0, Tensor? screen=None, Tensor? repeat_rows=None, "
      "Tensor? repeat_logits=None) -> (Tensor scores, Tensor rows)");
  definitions.def(
      "target_attention_cross_entropy(Tensor session, Tensor keys, Tensor values, Tensor clicks, Tensor padding, "
      "Tensor slot_offsets, Tensor table, Tensor targets, int precision=0) -> (Tensor losses, Tensor normalizer)");
  definitions.def(
      "target_attention_cross_entropy_backward(Tensor grad, Tensor session, Tensor keys, Tensor values, "
      "Tensor clicks, Tensor padding, Tensor slot_offsets, Tensor table, Tensor targets, Tensor normalizer, "
      "int precision=0) -> ("
      "Tensor session, Tensor keys, Tensor values, Tensor table)");

  // On the CPU alone.
  definitions.def("item_screen(Tensor table) -> Tensor screen");
  definitions.def(
      "session_repeats(Tensor items, Tensor offsets, int places, int counts) -> (Tensor rows, Tensor cells)");
  definitions.def(
      "encode_sessions(Tensor items, Tensor offsets, int? padded_length, Tensor item_vectors, "
      "Tensor state_weight, Tensor state_bias, Tensor message_bias, Tensor weight_ih, Tensor bias_ih, int steps, "
      "Tensor? qkv_weight, Tensor? qkv_bias, Tensor? out_weight, Tensor? out_bias, Tensor? norm_weight, "
      "Tensor? norm_bias, int heads, Tensor query_weight, Tensor query_bias, Tensor key_weight, Tensor key_bias, "
      "Tensor logit_weight, bool normalize, Tensor? hybrid_weight, Tensor? hybrid_bias, Tensor target_weight, "
      "Tensor? recency=None, float? session_length=None, float? value_length=None) -> ("
      "Tensor session, Tensor keys, Tensor values, Tensor click_counts, Tensor padding, Tensor slot_offsets)");
  definitions.def(
      "item_item_topk(Tensor items, Tensor offsets, Tensor click_weights, Tensor row_offsets, Tensor columns, "
      "Tensor values, Tensor popular, Tensor popularity_rank, int k, Tensor? candidates=None, Tensor? excluded=None, "
      "Tensor? excluded_offsets=None) -> (Tensor scores, Tensor rows)");
  definitions.def(
      "session_neighbours_topk(Tensor items, Tensor offsets, Tensor posting_offsets, Tensor postings, "
      "Tensor session_offsets, Tensor session_items, Tensor session_positions, Tensor session_weights, "
      "Tensor item_weights, Tensor popular, Tensor popularity_rank, int k, int neighbours, int sample, "
      "int click_decay, float click_scale, int match_decay, float match_scale, float distance_scale, bool cosine, "
      "Tensor? candidates=None, Tensor? excluded=None, Tensor? excluded_offsets=None) -> (Tensor scores, Tensor rows)");
}
