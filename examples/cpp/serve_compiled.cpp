// Answers JSON lines with the AOTInductor package of an exported folder, which gives lists of a fixed length, the
// manifest's k_max: shorter ones are their beginnings. One line for each line; see serve.cpp.
//
//   echo '{"items": [2054, 1171, 2054], "k": 20}' | build/cpp/serve_compiled exported

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/version.h>

#include "service.h"

namespace {

// Up to the second dot.
std::string minor_version(const std::string& version) {
  return version.substr(0, version.find('.', version.find('.') + 1));
}

// A JSON string a line.
std::vector<std::string> read_names(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    throw std::runtime_error(path + ": expected the model's item ids, which are strings, got none: export again");
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) names.push_back(json::parse(line).get<std::string>());
  return names;
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv, [](const std::string& folder, const Manifest& manifest) -> Service {
    if (minor_version(manifest.torch) != minor_version(TORCH_VERSION)) {
      throw std::runtime_error(
          "model.aoti.pt2: expected PyTorch " + minor_version(manifest.torch) + ", which it was compiled with, got " +
          TORCH_VERSION);
    }
    const auto loader = std::make_shared<torch::inductor::AOTIModelPackageLoader>(folder + "/model.aoti.pt2");
    const auto recommend = [loader, manifest](
                               const torch::Tensor& items, const torch::Tensor& offsets, const Choice& choice) {
      if (choice.k > manifest.k_max) {
        throw std::invalid_argument(
            "k: expected 1.." + std::to_string(manifest.k_max) + ", the longest list of this export (k_max), got more");
      }
      std::vector<torch::Tensor> inputs = {items, offsets};
      const torch::Tensor none = torch::empty({0}, torch::kInt64);
      if (manifest.version > 2) inputs.push_back(choice.candidates.value_or(none));
      if (manifest.version > 2) inputs.push_back(torch::tensor(choice.candidates.has_value()));
      if (manifest.version > 1) inputs.push_back(torch::tensor(choice.exclude_clicked));
      if (manifest.version > 2) {
        inputs.push_back(choice.exclude.value_or(none));
        inputs.push_back(none);                                        // whose scores are wanted
        inputs.push_back(torch::zeros_like(offsets.slice(0, 0, -1)));  // what is to be explained: unknown items
      }
      auto best = loader->run(inputs);
      if (manifest.version < 3) std::swap(best[0], best[1]);  // scores came first
      best[0] = best[0].narrow(1, 0, choice.k);
      best[1] = best[1].narrow(1, 0, choice.k);
      return best;
    };
    return {manifest, recommend, manifest.strings ? read_names(folder + "/items.jsonl") : std::vector<std::string>()};
  });
}
