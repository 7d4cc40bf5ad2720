#include "cli/server_stream.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/http_streams.h"

namespace weft::cli {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxBody = 16 << 20;

// The text of this name; null where there is none.
const std::string* text_at(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get_ptr<const std::string*>()
                                                     : nullptr;
}

const Json* object_at(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_object() ? &*found : nullptr;
}

void take_count(const Json& usage, std::string_view name, int64_t* count) {
  const auto found = usage.find(name);
  if (found != usage.end() && found->is_number_integer()) *count = found->get<int64_t>();
}

}  // namespace

void ServerStream::take(std::span<const char> bytes) {
  if (!has_events_)
    body_.append(bytes.data(), std::min(bytes.size(), kMaxBody - std::min(kMaxBody, body_.size())));
  events_.feed(bytes, [this](std::string_view data) {
    has_events_ = true;
    body_.clear();
    take_event(data);
  });
}

void ServerStream::end() {
  if (!has_events_) take_event(body_);
}

void ServerStream::take_event(std::string_view data) {
  if (data == "[DONE]") {
    is_done_ = true;
    return;
  }
  const Json event = Json::parse(data, nullptr, /*allow_exceptions=*/false);
  if (!event.is_object()) {
    error_ = "what came is no JSON object";
    return;
  }
  if (event.contains("error") && !event["error"].is_null())
    error_ = error_text(200, std::string(data));
  if (const std::string* model = text_at(event, "model")) model_ = *model;
  if (const Json* usage = object_at(event, "usage")) {
    take_count(*usage, "prompt_tokens", &prompt_tokens_);
    take_count(*usage, "completion_tokens", &output_tokens_);
    if (const Json* details = object_at(*usage, "prompt_tokens_details"))
      take_count(*details, "cached_tokens", &cached_tokens_);
  }
  const auto choices = event.find("choices");
  if (choices == event.end() || !choices->is_array() || choices->empty()) return;
  const Json& choice = choices->front();
  if (!choice.is_object()) return;
  if (const std::string* reason = text_at(choice, "finish_reason")) finish_reason_ = *reason;
  const Json* delta = object_at(choice, "delta");
  if (delta == nullptr) delta = object_at(choice, "message");
  if (delta == nullptr) return;
  for (const std::string_view name : {"reasoning_content", "reasoning"}) {
    const std::string* piece = text_at(*delta, name);
    if (piece == nullptr || piece->empty()) continue;
    ++num_pieces_;
    reader_.on_reasoning(*piece);
    break;
  }
  const std::string* piece = text_at(*delta, "content");
  if (piece == nullptr || piece->empty()) return;
  ++num_pieces_;
  text_ += *piece;
  reader_.on_text(*piece);
}

}  // namespace weft::cli
