// What both programs share: the ops library, the manifest, JSON lines in and out, and the benchmark.
#pragma once

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/torch.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "request.h"

struct Options {
  std::string folder, library;
  int64_t k = 20, threads = 1, sessions = 1, clicks = 4;
  double benchmark = 0;  // seconds; 0 answers standard input
};

inline int64_t positive_integer(const std::string& name, const std::string& text) {
  const bool digits = !text.empty() && text.size() < 19 && text.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || std::stoll(text) < 1) throw std::invalid_argument(name + ": expected an integer from 1, got " + text);
  return std::stoll(text);
}

inline double positive_seconds(const std::string& name, const std::string& text) {
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(seconds) || seconds <= 0) {
    throw std::invalid_argument(name + ": expected seconds above 0, got " + text);
  }
  return seconds;
}

inline Options parse(int argc, char** argv) {
  Options options;
  std::vector<std::string> arguments(argv + 1, argv + argc);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    const auto value = [&]() -> const std::string& {
      if (++i == arguments.size()) throw std::invalid_argument(name + ": expected a value");
      return arguments[i];
    };
    if (name == "--k") options.k = positive_integer(name, value());
    else if (name == "--library") options.library = value();
    else if (name == "--benchmark") options.benchmark = positive_seconds(name, value());
    else if (name == "--threads") options.threads = positive_integer(name, value());
    else if (name == "--sessions") options.sessions = positive_integer(name, value());
    else if (name == "--clicks") options.clicks = positive_integer(name, value());
    else if (options.folder.empty() && name.rfind("--", 0) != 0) options.folder = name;
    else
      throw std::invalid_argument(
          name + ": expected a folder and --k, --library, --benchmark, --threads, --sessions, --clicks");
  }
  if (options.folder.empty()) throw std::invalid_argument("expected the folder that tagnn-fast export wrote");
  return options;
}

// The ops must be there before a model is loaded; linking them needs --no-as-needed, so they are opened by hand.
inline void load_ops(const Options& options) {
  const std::string path = options.library.empty() ? options.folder + "/libtagnn_fast_ops.so" : options.library;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  // Why it left its ops out, where the process has those of another version; null otherwise, and nothing in old ones.
  using LoadError = const char* (*)();
  const auto load_error = reinterpret_cast<LoadError>(dlsym(library, "tagnn_fast_load_error"));
  const char* message = load_error == nullptr ? nullptr : load_error();
  if (message != nullptr) throw std::runtime_error(path + ": " + message);
}

// What of manifest.json the programs need.
struct Manifest {
  int64_t version, items, k_max;
  bool strings;
  std::string torch;
};

inline Manifest read_manifest(const std::string& folder) {
  constexpr int64_t kNewest = 3;
  const std::string path = folder + "/manifest.json";
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + ": expected what tagnn-fast export wrote, got none");
  try {
    const json content = json::parse(file);
    if (content.at("format") != "tagnn_fast.export") throw std::runtime_error("expected format tagnn_fast.export");
    const Manifest manifest = {
        content.at("version"), content.at("items"), content.at("k_max"), content.at("item_ids") == "strings",
        content.at("versions").at("torch")};
    if (manifest.version > kNewest) throw std::runtime_error("expected version 3, got a newer one");
    return manifest;
  } catch (const std::exception& error) {
    throw std::runtime_error(path + ": " + error.what());
  }
}

// What sessions may get: raw ids, or item indices where those are strings.
struct Choice {
  int64_t k;
  std::optional<torch::Tensor> candidates;  // all items without
  bool exclude_clicked;
  std::optional<torch::Tensor> exclude;
};

// Raw item ids (item indices, where those are strings), scores and status of sessions, lists of min(k, items) items.
using Recommend = std::function<std::vector<torch::Tensor>(
    const torch::Tensor& items, const torch::Tensor& offsets, const Choice& choice)>;

// What old exports cannot do.
inline void check_version(int64_t version, const Choice& choice) {
  const auto refuse = [](const std::string& name, bool asked) {
    if (asked) throw std::invalid_argument(name + ": expected an export that can, got an old one: export it again");
  };
  refuse("exclude_clicked", version < 2 && choice.exclude_clicked);
  refuse("candidates", version < 3 && choice.candidates.has_value());
  refuse("exclude", version < 3 && choice.exclude.has_value());
}

// A model, and its items' ids where they are strings, the first of index 1.
struct Service {
  Manifest manifest;
  Recommend recommend;
  std::vector<std::string> names;
  std::unordered_map<std::string, int64_t> items;

  Service(const Manifest& manifest_in, Recommend recommend_in, std::vector<std::string> names_in)
      : manifest(manifest_in), recommend(std::move(recommend_in)), names(std::move(names_in)) {
    for (size_t i = 0; i < names.size(); ++i) items.emplace(names[i], static_cast<int64_t>(i + 1));
    if (manifest.strings && static_cast<int64_t>(items.size()) != manifest.items) {
      throw std::runtime_error("item ids: expected as many as items, got " + std::to_string(items.size()));
    }
  }
};

inline torch::Tensor tensor_of(const std::vector<int64_t>& values) { return torch::tensor(values, torch::kInt64); }

// Of names their item indices, 0 for unknown ones.
inline torch::Tensor tensor_of(const Service& service, const Ids& ids) {
  std::vector<int64_t> items = ids.integers;
  for (const std::string& name : ids.strings) {
    const auto found = service.items.find(name);
    items.push_back(found == service.items.end() ? 0 : found->second);
  }
  return tensor_of(items);
}

inline std::optional<torch::Tensor> tensor_of(const Service& service, const std::optional<Ids>& ids) {
  if (!ids.has_value()) return std::nullopt;
  return tensor_of(service, *ids);
}

// {"items": [...], "scores": [...], "status": 0}
inline json answer(const Service& service, const Request& request) {
  const torch::Tensor items = tensor_of(service, request.items), offsets = tensor_of({0, items.size(0)});
  const Choice choice = {
      std::min(request.k, service.manifest.items), tensor_of(service, request.candidates), request.exclude_clicked,
      tensor_of(service, request.exclude)};
  check_version(service.manifest.version, choice);
  const auto best = service.recommend(items, offsets, choice);
  const torch::Tensor ids = best[0][0].contiguous(), scores = best[1][0].to(torch::kDouble).contiguous();
  json result = {{"items", json::array()}, {"scores", json::array()}, {"status", best[2][0].item<int64_t>()}};
  for (int64_t i = 0; i < ids.size(0); ++i) {
    const double score = scores.data_ptr<double>()[i];
    const int64_t id = ids.data_ptr<int64_t>()[i];
    if (score == -std::numeric_limits<double>::infinity() && id == -1) break;
    if (!std::isfinite(score)) throw std::runtime_error("scores: expected finite numbers, got NaN or infinity");
    if (service.manifest.strings) result["items"].push_back(service.names.at(static_cast<size_t>(id - 1)));
    else result["items"].push_back(id);
    result["scores"].push_back(score);
  }
  return result;
}

// One line for each line, an empty one and what follows the last line's end among them.
inline void answer_lines(const Service& service, int64_t default_k) {
  const c10::InferenceMode inference;
  for (std::string line; next_line(std::cin, line);) {
    std::string result;
    try {
      result = write_line(answer(service, read_request(line, service.manifest.strings, default_k)));
    } catch (const c10::Error& error) {
      result = error_line(error.what_without_backtrace());
    } catch (const std::exception& error) {
      result = error_line(error.what());
    } catch (...) {
      result = error_line("request: failed");
    }
    std::cout << result << std::endl;
  }
}

// Threads that ask for random sessions for a while, some in each call; every answer must be that of one thread alone.
inline void benchmark(const Service& service, const Options& options, double load_seconds) {
  const int64_t k = std::min(options.k, service.manifest.items);
  const auto recommend = [&](const torch::Tensor& items, const torch::Tensor& offsets) {
    return service.recommend(items, offsets, {k, std::nullopt, false, std::nullopt});
  };
  constexpr size_t kFewestAnswers = 10;
  const int64_t batches = std::max<int64_t>(1, 64 / options.sessions);
  std::vector<torch::Tensor> items, expected;
  const int64_t clicks = options.sessions * options.clicks;
  const torch::Tensor offsets = torch::arange(0, clicks + 1, options.clicks, torch::kInt64);
  torch::manual_seed(0);
  {
    const c10::InferenceMode inference;
    // Raw ids that the model knows: popular ones, as an empty session gets them.
    const auto popular = recommend(tensor_of({}), tensor_of({0, 0}))[0][0];
    for (int64_t i = 0; i < batches; ++i) {
      items.push_back(popular.index_select(0, torch::randint(popular.size(0), {clicks}, torch::kInt64)));
      expected.push_back(recommend(items.back(), offsets)[0].clone());
    }
  }
  std::atomic<int64_t> wrong{0};
  std::vector<std::vector<double>> latencies(static_cast<size_t>(options.threads));
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.benchmark);
  const auto ask = [&](std::vector<double>& times) {
    const c10::InferenceMode inference;
    for (size_t i = 0;; i = (i + 1) % items.size()) {
      const auto start = std::chrono::steady_clock::now();
      if (start > end && times.size() >= kFewestAnswers) break;
      const torch::Tensor ids = recommend(items[i], offsets)[0];
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
      {"answers", all.size()},        {"wrong", wrong.load()},      {"p50_ms", percentile(0.5)},
      {"p90_ms", percentile(0.9)},    {"p99_ms", percentile(0.99)}, {"load_seconds", load_seconds},
      {"sessions", options.sessions}, {"threads", options.threads}, {"threads_inside", at::get_num_threads()}};
  std::cout << result.dump() << std::endl;
}

inline int run(int argc, char** argv, const std::function<Service(const std::string& folder, const Manifest&)>& load) {
  try {
    const Options options = parse(argc, argv);
    load_ops(options);
    const auto start = std::chrono::steady_clock::now();
    const Service service = load(options.folder, read_manifest(options.folder));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (options.benchmark > 0) benchmark(service, options, seconds);
    else answer_lines(service, options.k);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return 1;
  }
}
