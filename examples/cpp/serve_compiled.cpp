// Answers JSON lines with the AOTInductor package of an exported folder, which gives lists of a fixed length: shorter
// ones are their beginnings.
//
//   echo '{"items": [2054, 1171, 2054], "k": 20}' | build/cpp/serve_compiled exported

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include "service.h"

int main(int argc, char** argv) {
  return run(argc, argv, [](const Options& options) -> Service {
    const auto loader = std::make_shared<torch::inductor::AOTIModelPackageLoader>(options.folder + "/model.aoti.pt2");
    const auto recommend = [loader](const torch::Tensor& items, const torch::Tensor& offsets, int64_t k) {
      auto best = loader->run({items, offsets});
      if (k < 1 || k > best[0].size(1)) {
        throw std::invalid_argument("k: expected 1.." + std::to_string(best[0].size(1)) + ", got " + std::to_string(k));
      }
      best[0] = best[0].narrow(1, 0, k);
      best[1] = best[1].narrow(1, 0, k);
      return best;
    };
    return {recommend, nullptr};
  });
}
