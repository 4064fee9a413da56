// Cuts a batch of training examples out of whole sessions: a binary search finds each example's session, a copy its
// prefix. O(examples · log sessions + clicks copied), on one thread: a batch takes microseconds.

#include "../prefix_batch.h"

#include <algorithm>
#include <vector>

#include "backend.h"

namespace tagnn_fast::cpu {
namespace {

struct CpuPrefixBatch : CpuOp {
  static void compute(const PrefixBatchInputs& inputs, PrefixBatchOutputs& outputs) {
    const WholeSessions whole(inputs);
    const int64_t count = inputs.count, most = inputs.most_clicks();
    std::vector<Prefix> prefixes(count);
    int64_t* first_click = mutable_data<int64_t>(outputs.batch_offsets);
    first_click[0] = 0;
    const int64_t* example = data<int64_t>(inputs.examples);
    for (int64_t i = 0; i < count; ++i) {
      const Prefix prefix = find_prefix(example[i], whole);
      prefixes[i] = prefix;
      first_click[i + 1] = first_click[i] + std::min(prefix.length, most - first_click[i]);
    }

    const int64_t used = first_click[count];
    outputs.allocate_items(kBackend, inputs, used);
    int64_t *item = mutable_data<int64_t>(outputs.items), *target = mutable_data<int64_t>(outputs.targets);
    const int32_t* click = whole.clicks;
    for (int64_t i = 0; i < count; ++i) {
      const auto [begin, length] = prefixes[i];
      std::copy_n(click + begin, first_click[i + 1] - first_click[i], item + first_click[i]);
      target[i] = length > 0 ? click[begin + length] : 0;
    }
    std::fill(item + used, item + outputs.items.size(0), 0);
  }
};

}  // namespace
}  // namespace tagnn_fast::cpu

TAGNN_FAST_REGISTER(CPU, library) {
  library.impl("prefix_batch", TORCH_BOX(&tagnn_fast::prefix_batch<tagnn_fast::cpu::CpuPrefixBatch>));
}
