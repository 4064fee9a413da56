// Answers JSON lines with the TorchScript model of an exported folder, one line for each line.
//
//   echo '{"items": [2054, 1171, 2054], "k": 20, "exclude_clicked": true}' | build/cpp/serve exported
//   build/cpp/serve exported --benchmark 10 --threads 1
//
// Where the model's item ids are strings, so are the items of a request. A line that is no request gets {"error": ...}.

#include <torch/csrc/jit/runtime/jit_exception.h>
#include <torch/script.h>

#include "service.h"

int main(int argc, char** argv) {
  return run(argc, argv, [](const std::string& folder, const Manifest& manifest) -> Service {
    const auto model = std::make_shared<torch::jit::Module>(torch::jit::load(folder + "/model.ts"));
    const bool first_version = manifest.version == 1;
    const auto method = std::make_shared<torch::jit::Method>(
        model->get_method(manifest.strings && !first_version ? "forward_indices" : "forward"));
    std::vector<std::string> names;
    if (manifest.strings) {
      for (const c10::IValue& name : model->attr("names").toListRef()) names.push_back(name.toStringRef());
      names.erase(names.begin());  // of index 0, no item
    }
    const auto recommend = [model, method, first_version](
                               const torch::Tensor& items, const torch::Tensor& offsets, int64_t k, bool exclude) {
      std::vector<c10::IValue> inputs = {items, offsets, k};
      if (!first_version) inputs.emplace_back(exclude);
      else if (exclude) throw std::invalid_argument("exclude_clicked: expected an export that can, got an old one");
      const auto best = [&] {
        try {
          return (*method)(inputs).toTuple();
        } catch (const torch::jit::JITException& error) {  // its own text begins with the interpreter's stack
          throw std::runtime_error(error.getOriginalMsg().value_or(error.what()));
        }
      }();
      return std::vector<torch::Tensor>{
          best->elements()[0].toTensor(), best->elements()[1].toTensor(), best->elements()[2].toTensor()};
    };
    return {manifest, recommend, names};
  });
}
