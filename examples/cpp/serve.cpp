// Answers JSON lines with the TorchScript model of an exported folder.
//
//   echo '{"items": [2054, 1171, 2054], "k": 20}' | build/cpp/serve exported
//   build/cpp/serve exported --benchmark 10 --threads 1
//
// Where the model's item ids are strings, so are the items of a request.

#include <torch/script.h>

#include "service.h"

namespace {

json recommend_strings(torch::jit::Module& model, const std::vector<std::string>& items, int64_t k) {
  c10::List<std::string> session;
  for (const std::string& item : items) session.push_back(item);
  c10::List<c10::List<std::string>> sessions;
  sessions.push_back(session);
  const auto answer = model.get_method("recommend_strings")({sessions, k}).toTuple();
  json result = {{"items", json::array()}, {"scores", json::array()}};
  for (const c10::IValue& item : answer->elements()[0].toListRef()[0].toListRef()) {
    result["items"].push_back(item.toStringRef());
  }
  for (const double score : answer->elements()[1].toListRef()[0].toDoubleVector()) result["scores"].push_back(score);
  result["status"] = answer->elements()[2].toIntVector()[0];
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv, [](const Options& options) -> Service {
    const auto model = std::make_shared<torch::jit::Module>(torch::jit::load(options.folder + "/model.ts"));
    const auto recommend = [model](const torch::Tensor& items, const torch::Tensor& offsets, int64_t k) {
      const auto best = model->forward({items, offsets, k}).toTuple();
      return std::vector<torch::Tensor>{
          best->elements()[0].toTensor(), best->elements()[1].toTensor(), best->elements()[2].toTensor()};
    };
    if (!model->attr("has_strings").toBool()) return {recommend, nullptr};
    return {recommend, [model](const std::vector<std::string>& items, int64_t k) {
              return recommend_strings(*model, items, k);
            }};
  });
}
