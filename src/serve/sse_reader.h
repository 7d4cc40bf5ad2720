// Server-sent events as bytes come, wherever they are cut (WHATWG HTML, "Server-sent events").
// Lines end with LF, CR LF or CR; an event ends with an empty line; several data lines are joined.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace weft::serve {

class SseReader {
 public:
  using OnData = std::function<void(std::string_view data)>;
  // Calls on_data for every event with data that ends in these bytes.
  void feed(std::span<const char> bytes, const OnData& on_data);

 private:
  void end_line(const OnData& on_data);

  std::string line_, data_;
  bool has_data_ = false, after_cr_ = false;
};

}  // namespace weft::serve
