// Answers JSON lines with the TorchScript model of an exported folder, one line for each line.
//
//   echo '{"items": [2054, 1171, 2054], "k": 20, "exclude_clicked": true}' | build/cpp/serve exported
//   echo '{"items": [2054], "candidates": [2054, 1171, 38], "exclude": [1171]}' | build/cpp/serve exported
//   build/cpp/serve exported --benchmark 10 --threads 1
//
// Where the model's item ids are strings, so are the items of a request. A line that is no request gets {"error": ...}.

#include <torch/csrc/jit/runtime/jit_exception.h>
#include <torch/script.h>

#include "service.h"

int main(int argc, char** argv) {
  return run(argc, argv, [](const std::string& folder, const Manifest& manifest) -> Service {
    const auto model = std::make_shared<torch::jit::Module>(torch::jit::load(folder + "/model.ts"));
    const int64_t version = manifest.version;
    const auto method = std::make_shared<torch::jit::Method>(
        model->get_method(manifest.strings && version > 1 ? "forward_indices" : "forward"));
    std::vector<std::string> names;
    if (manifest.strings) {
      for (const c10::IValue& name : model->attr("names").toListRef()) names.push_back(name.toStringRef());
      names.erase(names.begin());  // of index 0, no item
    }
    const auto recommend = [model, method, version](
                               const torch::Tensor& items, const torch::Tensor& offsets, const Choice& choice) {
      std::vector<c10::IValue> inputs = {items, offsets, choice.k};
      if (version > 2) inputs.emplace_back(choice.candidates);
      if (version > 1) inputs.emplace_back(choice.exclude_clicked);
      if (version > 2) inputs.emplace_back(choice.exclude);
      const auto best = [&] {
        try {
          return (*method)(inputs).toTuple();
        } catch (const torch::jit::JITException& error) {  // its own text begins with the interpreter's stack
          throw std::runtime_error(error.getOriginalMsg().value_or(error.what()));
        }
      }();
      std::vector<torch::Tensor> answer;
      for (const c10::IValue& part : best->elements()) answer.push_back(part.toTensor());
      if (version < 3) std::swap(answer[0], answer[1]);  // scores came first
      return answer;
    };
    return {manifest, recommend, names};
  });
}
