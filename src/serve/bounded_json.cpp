#include "serve/bounded_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serve/request_error.h"

namespace weft::serve {
namespace {

using nlohmann::json;

// What the parser says after its own preamble, without its count of lines, which is always one:
// "column 2: syntax error while parsing value - ...".
std::string reason_of(const json::exception& error) {
  const std::string text = error.what();
  for (const std::string_view preamble : {"parse error at line 1, ", "] "}) {
    const size_t begin = text.find(preamble);
    if (begin != std::string::npos) return text.substr(begin + preamble.size());
  }
  return text;
}

// Counts the events of a text, and keeps nothing of it. The parser's own filter of values looks at
// all of a list again at the end of each object in it.
class JsonBounds : public nlohmann::json_sax<json> {
 public:
  JsonBounds(std::string_view place, std::string_view param, JsonCount* count)
      : place_(place), param_(param), count_(*count) {}

  bool null() override { return add_value(); }
  bool boolean(bool) override { return add_value(); }
  bool number_integer(number_integer_t) override { return add_value(); }
  bool number_unsigned(number_unsigned_t) override { return add_value(); }
  bool number_float(number_float_t, const string_t&) override { return add_value(); }
  bool string(string_t&) override {
    check(++count_.texts, kMaxJsonTexts, "has too many texts");
    return add_value();
  }
  bool binary(binary_t&) override { return add_value(); }
  bool start_object(size_t) override { return open(); }
  bool start_array(size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t&) override {
    count_.compares += num_keys_.back()++;
    check(num_keys_.back(), kMaxObjectKeys, "has an object of too many keys");
    check(++count_.keys, kMaxJsonKeys, "has too many keys");
    check(count_.compares, kMaxJsonCompares, "has too many large objects", " comparisons of keys");
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    refuse("is no JSON", reason_of(error));
  }

 private:
  bool open() {
    num_keys_.push_back(0);
    check(static_cast<int64_t>(num_keys_.size()), kMaxJsonDepth, "is nested too deeply", " levels");
    check(++count_.containers, kMaxJsonContainers, "has too many objects and lists");
    return add_value();
  }
  bool close() {
    num_keys_.pop_back();
    return true;
  }
  bool add_value() {
    check(++count_.values, kMaxJsonValues, "has too many values");
    return true;
  }

  void check(int64_t count, int64_t most, std::string_view what, std::string_view unit = "") const {
    if (count > most) refuse(what, fmt::format("at most {}{} are read", most, unit));
  }
  [[noreturn]] void refuse(std::string_view what, std::string why) const {
    throw RequestError(
        fmt::format("{} {}", place_, what),
        {.param = std::string(param_), .code = "invalid_json", .why = std::move(why)});
  }

  std::string_view place_, param_;
  JsonCount& count_;
  std::vector<int64_t> num_keys_;  // of each object or list that is open
};

template <typename Json>
Json parse_bounded(std::string_view text, JsonBounds bounds) {
  json::sax_parse(text, &bounds);
  return Json::parse(text);
}

}  // namespace

json parse_json(std::string_view text, std::string_view place, std::string_view param) {
  JsonCount count;
  return parse_bounded<json>(text, {place, param, &count});
}

nlohmann::ordered_json parse_ordered_json(std::string_view text, std::string_view place,
                                          JsonCount* count) {
  JsonCount own;
  return parse_bounded<nlohmann::ordered_json>(text, {place, "", count == nullptr ? &own : count});
}

}  // namespace weft::serve
