// What both programs share: the ops library, JSON lines in and out, and the benchmark.
#pragma once

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/torch.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using nlohmann::json;

// Scores, raw item ids and status of sessions: items, offsets, k.
using Recommend = std::function<std::vector<torch::Tensor>(const torch::Tensor&, const torch::Tensor&, int64_t)>;

struct Options {
  std::string folder, library;
  int64_t k = 20, threads = 1, clicks = 4;
  double benchmark = 0;  // seconds; 0 answers standard input
};

inline Options parse(int argc, char** argv) {
  Options options;
  std::vector<std::string> arguments(argv + 1, argv + argc);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    const auto value = [&]() -> const std::string& {
      if (++i == arguments.size()) throw std::invalid_argument(name + ": expected a value");
      return arguments[i];
    };
    if (name == "--k") options.k = std::stoll(value());
    else if (name == "--library") options.library = value();
    else if (name == "--benchmark") options.benchmark = std::stod(value());
    else if (name == "--threads") options.threads = std::stoll(value());
    else if (name == "--clicks") options.clicks = std::stoll(value());
    else if (options.folder.empty() && name.rfind("--", 0) != 0) options.folder = name;
    else throw std::invalid_argument(name + ": expected a folder and --k, --library, --benchmark, --threads, --clicks");
  }
  if (options.folder.empty()) throw std::invalid_argument("expected the folder that tagnn-fast export wrote");
  return options;
}

// The ops must be there before a model is loaded; linking them needs --no-as-needed, so they are opened by hand.
inline void load_ops(const Options& options) {
  const std::string path = options.library.empty() ? options.folder + "/libtagnn_fast_ops.so" : options.library;
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) throw std::runtime_error(dlerror());
}

inline torch::Tensor tensor_of(const std::vector<int64_t>& values) { return torch::tensor(values, torch::kInt64); }

// {"items": [raw ids], "k": 20} -> {"items": [...], "scores": [...], "status": 0}
inline json answer(const Recommend& recommend, const json& request, int64_t k) {
  const auto items = request.at("items").get<std::vector<int64_t>>();
  const auto best = recommend(tensor_of(items), tensor_of({0, static_cast<int64_t>(items.size())}), k);
  const torch::Tensor scores = best[0][0].to(torch::kDouble).contiguous(), ids = best[1][0].contiguous();
  json result = {{"items", json::array()}, {"scores", json::array()}, {"status", best[2][0].item<int64_t>()}};
  for (int64_t i = 0; i < ids.size(0); ++i) {
    if (scores.data_ptr<double>()[i] == -std::numeric_limits<double>::infinity()) break;
    result["items"].push_back(ids.data_ptr<int64_t>()[i]);
    result["scores"].push_back(scores.data_ptr<double>()[i]);
  }
  return result;
}

// What a program can do with a model; recommend_strings is set where item ids are strings and its format takes them.
struct Service {
  Recommend recommend;
  std::function<json(const std::vector<std::string>&, int64_t)> recommend_strings;
};

inline json answer(const Service& service, const json& request, int64_t default_k) {
  const int64_t k = request.value("k", default_k);
  const json& items = request.at("items");
  if (service.recommend_strings) return service.recommend_strings(items.get<std::vector<std::string>>(), k);
  return answer(service.recommend, request, k);
}

inline void answer_lines(const Service& service, int64_t k) {
  const c10::InferenceMode inference;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.empty()) continue;
    json result;
    try {
      result = answer(service, json::parse(line), k);
    } catch (const std::exception& error) {
      result = {{"error", std::string(error.what()).substr(0, 500)}};
    }
    std::cout << result.dump() << std::endl;
  }
}

// Threads that ask for random sessions for a while; every answer must be that of one thread alone.
inline void benchmark(const Recommend& recommend, const Options& options, double load_seconds) {
  constexpr int64_t kSessions = 64;
  std::vector<torch::Tensor> items, expected;
  const torch::Tensor offsets = tensor_of({0, options.clicks});
  torch::manual_seed(0);
  {
    const c10::InferenceMode inference;
    // Raw ids that the model knows: popular ones, as an empty session gets them.
    const auto popular = recommend(tensor_of({}), tensor_of({0, 0}), options.k)[1][0];
    for (int64_t i = 0; i < kSessions; ++i) {
      items.push_back(popular.index_select(0, torch::randint(popular.size(0), {options.clicks}, torch::kInt64)));
      expected.push_back(recommend(items.back(), offsets, options.k)[1].clone());
    }
  }
  std::atomic<int64_t> wrong{0};
  std::vector<std::vector<double>> latencies(static_cast<size_t>(options.threads));
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.benchmark);
  const auto ask = [&](std::vector<double>& times) {
    const c10::InferenceMode inference;
    for (size_t i = 0;; i = (i + 1) % kSessions) {
      const auto start = std::chrono::steady_clock::now();
      if (start > end) break;
      const torch::Tensor ids = recommend(items[i], offsets, options.k)[1];
      times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      if (!torch::equal(ids, expected[i])) ++wrong;
    }
  };
  // The first asks from this thread, which has its OpenMP team already: with a second team there are more threads than
  // cores, and OpenMP puts workers to sleep between two products instead of letting them spin.
  std::vector<std::thread> threads;
  for (size_t i = 1; i < latencies.size(); ++i) threads.emplace_back([&, i] { ask(latencies[i]); });
  ask(latencies[0]);
  for (auto& thread : threads) thread.join();
  std::vector<double> all;
  for (const auto& times : latencies) all.insert(all.end(), times.begin(), times.end());
  std::sort(all.begin(), all.end());
  const auto percentile = [&](double share) { return 1e3 * all.at(static_cast<size_t>(share * (all.size() - 1))); };
  const json result = {
      {"answers", all.size()},
      {"wrong", wrong.load()},
      {"p50_ms", percentile(0.5)},
      {"p99_ms", percentile(0.99)},
      {"load_seconds", load_seconds},
      {"threads", options.threads},
      {"threads_inside", at::get_num_threads()}};
  std::cout << result.dump() << std::endl;
}

inline int run(int argc, char** argv, const std::function<Service(const Options&)>& load) {
  try {
    const Options options = parse(argc, argv);
    load_ops(options);
    const auto start = std::chrono::steady_clock::now();
    const Service service = load(options);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (options.benchmark > 0) benchmark(service.recommend, options, seconds);
    else answer_lines(service, options.k);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return 1;
  }
}
