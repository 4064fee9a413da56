// Any line is a request or one error of one line, for models of integers and of strings.
//
//   clang++ -std=c++17 -O1 -g -fsanitize=fuzzer,address,undefined -Iexamples/cpp tests/cpp/fuzz_request.cpp -o
//   build/fuzz_request build/fuzz_request -max_total_time=600 build/corpus tests/cpp/corpus

#include <cstdlib>
#include <sstream>

#include "request.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void read(const std::string& line, bool strings) {
  try {
    const Request request = read_request(line, strings, 20);
    require(request.k >= 1);
    for (const Ids& ids : {request.items, request.candidates.value_or(Ids()), request.exclude.value_or(Ids())}) {
      require((strings ? ids.integers.size() : ids.strings.size()) == 0);
      const json written = {{"strings", ids.strings}, {"integers", ids.integers}, {"k", request.k}};
      require(json::parse(write_line(written)) == written);
    }
  } catch (const std::invalid_argument& error) {
    const std::string written = error_line(error.what());
    require(written.find('\n') == std::string::npos && written.size() < 6 * kLongestError + 20);
    require(json::parse(written).at("error").is_string());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  size_t lines = 0, ends = 0;
  for (size_t i = 0; i < size; ++i) ends += data[i] == '\n' ? 1 : 0;
  for (std::string line; next_line(in, line); ++lines) {
    read(line, false);
    read(line, true);
  }
  require(lines == ends + (size > 0 && data[size - 1] != '\n' ? 1 : 0));
  return 0;
}
