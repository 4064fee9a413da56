// A request's line and an answer's, without a model: whatever a line holds, it is a request or one error of one line.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <istream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using nlohmann::json;

// Stands for integers that int64 cannot hold; exported models have no such item.
constexpr int64_t kUnknownId = std::numeric_limits<int64_t>::min();
constexpr size_t kLongestLine = 1 << 20, kLongestError = 500;
constexpr int kDeepestNesting = 16;

// Raw ids, integers or strings as the model's are; the other list is empty.
struct Ids {
  std::vector<int64_t> integers;
  std::vector<std::string> strings;
};

// {"items": [raw ids, oldest click first], "k": 20, "candidates": [...], "exclude_clicked": false, "exclude": [...]}
//
// An integer beyond int64 is an unknown item, which matters nowhere. k is an integer from 1; a line without one gets
// the program's. candidates are the only items to choose from, all without the field. exclude are items not to be
// answered. Other fields are left alone; one of these twice is an error.
struct Request {
  Ids items;
  int64_t k = 0;
  std::optional<Ids> candidates;
  bool exclude_clicked = false;
  std::optional<Ids> exclude;
};

// Fills a request while the line is read: nothing else of it is kept, and nesting takes no stack.
class RequestReader : public nlohmann::json_sax<json> {
 public:
  RequestReader(Request& request, bool strings) : request_(request), strings_(strings) {}

  bool null() override { return value("null"); }
  bool binary(binary_t&) override { return value("bytes"); }
  bool boolean(bool value_in) override {
    if (field_ != Field::exclude_clicked || depth_ != 1) return value(value_in ? "true" : "false");
    request_.exclude_clicked = value_in;
    return true;
  }
  bool number_integer(number_integer_t number) override { return integer(number); }
  bool number_unsigned(number_unsigned_t number) override {
    constexpr auto largest = static_cast<number_unsigned_t>(std::numeric_limits<int64_t>::max());
    return number <= largest ? integer(static_cast<int64_t>(number)) : beyond_int64(false);
  }
  bool number_float(number_float_t, const std::string& text) override {
    const bool is_integer = text.find_first_not_of("-0123456789") == std::string::npos;
    return is_integer ? beyond_int64(text[0] == '-') : value(text);
  }
  bool string(std::string& text) override {
    if (!in_list() || !strings_) return value("a string");
    ids().strings.push_back(std::move(text));
    return true;
  }
  bool start_object(size_t) override { return start(false); }
  bool start_array(size_t) override { return start(true); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool key(std::string& name) override {
    if (depth_ != 1) return true;
    const auto found = std::find(kFields.begin(), kFields.end(), name);
    field_ = static_cast<Field>(found - kFields.begin());
    if (field_ == Field::other) return true;
    bool& seen = seen_[static_cast<size_t>(field_)];
    return seen ? fail(name + ": expected once, got it twice") : (seen = true);
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    return fail(std::string("line: expected JSON, got ") + error.what());
  }

  bool has_items() const { return seen_[static_cast<size_t>(Field::items)]; }
  const std::string& error() const { return error_; }

 private:
  enum class Field { items, k, candidates, exclude_clicked, exclude, other };
  static constexpr std::array<const char*, 5> kFields = {"items", "k", "candidates", "exclude_clicked", "exclude"};

  bool is_list() const { return field_ == Field::items || field_ == Field::candidates || field_ == Field::exclude; }
  bool in_list() const { return is_list() && depth_ == 2; }
  // Of the list that is being read.
  Ids& ids() {
    if (field_ == Field::items) return request_.items;
    return field_ == Field::candidates ? *request_.candidates : *request_.exclude;
  }
  bool fail(const std::string& message) {
    error_ = message;
    return false;
  }
  // A value that no field takes, unless it belongs to another field.
  bool value(const std::string& got) {
    if (depth_ == 0) return fail("line: expected an object, got " + got);
    if (field_ == Field::other) return true;
    if (field_ == Field::k) return fail("k: expected an integer, got " + got);
    if (field_ == Field::exclude_clicked) return fail("exclude_clicked: expected true or false, got " + got);
    const std::string name = kFields[static_cast<size_t>(field_)];
    if (depth_ == 1) return fail(name + ": expected a list of item ids, got " + got);
    return fail(name + ": expected " + (strings_ ? "strings" : "integers") + " as the model's ids, got " + got);
  }
  bool integer(int64_t number) {
    if (field_ == Field::k && depth_ == 1) {
      request_.k = number;
      return number >= 1 || fail("k: expected 1 or more, got " + std::to_string(number));
    }
    if (!in_list() || strings_) return value(std::to_string(number));
    ids().integers.push_back(number);
    return true;
  }
  bool beyond_int64(bool negative) {
    const bool is_k = field_ == Field::k && depth_ == 1;
    if (is_k && negative) return fail("k: expected 1 or more, got an integer below that");
    if (is_k) return integer(std::numeric_limits<int64_t>::max());
    return integer(kUnknownId);
  }
  bool start(bool list) {
    const std::string got = list ? "a list" : "an object";
    const bool is_line = depth_ == 0 && !list, is_ids = depth_ == 1 && is_list() && list;
    if (!is_line && !is_ids && !value(got)) return false;
    if (is_ids && field_ == Field::candidates) request_.candidates.emplace();
    if (is_ids && field_ == Field::exclude) request_.exclude.emplace();
    if (++depth_ > kDeepestNesting) return fail("line: expected nesting up to 16, got more");
    return true;
  }
  bool end() {
    --depth_;
    return true;
  }

  Request& request_;
  const bool strings_;
  int depth_ = 0;
  Field field_ = Field::other;
  std::array<bool, 5> seen_ = {};
  std::string error_;
};

// Throws std::invalid_argument, naming the field, what was expected and what came.
inline Request read_request(const std::string& line, bool strings, int64_t default_k) {
  if (line.size() > kLongestLine) throw std::invalid_argument("line: expected up to 1 MiB, got more");
  // The parser takes it for the end of the text, whatever follows.
  if (line.find('\0') != std::string::npos) throw std::invalid_argument("line: expected JSON, got a null byte");
  Request request;
  request.k = default_k;
  RequestReader reader(request, strings);
  if (!json::sax_parse(line, &reader)) throw std::invalid_argument(reader.error());
  if (!reader.has_items()) throw std::invalid_argument("items: expected a list of item ids, got none");
  return request;
}

// The next line without its end, cut one byte after the longest that is read; false where there is none. One that ends
// with the input is a line, too.
inline bool next_line(std::istream& in, std::string& line) {
  constexpr auto end = std::char_traits<char>::eof();
  std::streambuf& bytes = *in.rdbuf();
  line.clear();
  int byte = bytes.sbumpc();
  if (byte == end) return false;
  for (; byte != end && byte != '\n'; byte = bytes.sbumpc()) {
    if (line.size() <= kLongestLine) line.push_back(static_cast<char>(byte));
  }
  return true;
}

// JSON of one line, in ASCII: what is no UTF-8 is replaced, and no reader's idea of a line's end can cut it.
inline std::string write_line(const json& answer) { return answer.dump(-1, ' ', true, json::error_handler_t::replace); }

inline std::string error_line(const std::string& message) {
  size_t length = std::min(message.size(), kLongestError);
  while (length > 0 && length < message.size() && (message[length] & 0xC0) == 0x80) --length;  // not inside a character
  return write_line({{"error", message.substr(0, length)}});
}
