#include <fmt/format.h>

#include <iterator>

#include "text/rust_bridge.h"
#include "text/template_limits.h"
#include "text/text.h"
#include "text/utf8.h"

namespace weft::text {
namespace {

void append_json_string(std::string& json, std::string_view text) {
  json += '"';
  for (const char c : to_valid_utf8(text)) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(json), "\\u{:04x}", static_cast<int>(c));
    } else {
      json += c;
    }
  }
  json += '"';
}

class CrateTemplate final : public ChatTemplate {
 public:
  explicit CrateTemplate(WeftTemplate* handle) : handle_(handle) {}

  std::string render(std::span<const Message> messages, bool add_generation_prompt) const override {
    std::string json = "[";
    for (const Message& message : messages) {
      json += json.size() > 1 ? ",{\"role\":" : "{\"role\":";
      append_json_string(json, message.role);
      json += ",\"content\":";
      append_json_string(json, message.content);
      json += '}';
    }
    json += ']';
    return render_json(json, add_generation_prompt, {});
  }

  std::string render_json(std::string_view messages_json, bool add_generation_prompt,
                          std::string_view extra_json) const override {
    WeftError error{};
    WeftBytes text{};
    throw_if_failed(
        weft_template_render(handle_.get(), slice_of(messages_json), add_generation_prompt,
                             slice_of(extra_json), &text, &error),
        error);
    return take(text);
  }

 private:
  struct Free {
    void operator()(WeftTemplate* handle) const { weft_template_free(handle); }
  };
  std::unique_ptr<WeftTemplate, Free> handle_;
};

}  // namespace

TemplateLimits template_limits() {
  const WeftTemplateLimits held = weft_template_limits();
  return {held.source_bytes, held.values,    held.steps,
          held.run_ms,       held.run_bytes, held.bytes_per_input};
}

std::unique_ptr<ChatTemplate> ChatTemplate::compile(std::string_view source,
                                                    std::string_view bos_token,
                                                    std::string_view eos_token) {
  WeftError error{};
  WeftTemplate* handle = nullptr;
  throw_if_failed(weft_template_compile(slice_of(source), slice_of(bos_token), slice_of(eos_token),
                                        &handle, &error),
                  error);
  return std::make_unique<CrateTemplate>(handle);
}

}  // namespace weft::text
