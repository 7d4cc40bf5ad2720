// Calls that are written as JSON: Hermes and Qwen, Llama 3, Mistral.
#include <utility>

#include "text/call_machine.h"
#include "text/call_object.h"
#include "text/json_scanner.h"

namespace weft::text {
namespace {

using Result = JsonScanner::Result;

constexpr std::string_view kHermesClose = "</tool_call>";
constexpr std::string_view kArgsTag = "[ARGS]", kIdTag = "[CALL_ID]";
constexpr size_t kMostHeaderBytes = 512;

char opener_of(ToolFormat format) { return format == ToolFormat::kLlama3Json ? '{' : '\0'; }

bool is_header(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == ':' || c == '/' || c == '[' || c == ']' || (c & 0x80) != 0;
}

// The name in "f", "f[ARGS]", "f[CALL_ID]abc[ARGS]"; empty where it is none of these.
std::string_view name_in_header(std::string_view header) {
  if (header.ends_with(kArgsTag)) header.remove_suffix(kArgsTag.size());
  const size_t bracket = header.find('[');
  const std::string_view name = header.substr(0, bracket);
  const std::string_view rest = header.substr(name.size());
  const bool id = rest.starts_with(kIdTag) && rest.find_first_of("[]", kIdTag.size()) == rest.npos;
  return (rest.empty() || id) && is_tool_name(name) ? name : std::string_view{};
}

class JsonCalls final : public CallMachine {
 public:
  JsonCalls(ToolFormat format, std::vector<std::string> names)
      : CallMachine(std::string(tool_marker(format)), opener_of(format), std::move(names)),
        format_(format) {}

 private:
  enum class State {
    kBody,       // behind the marker
    kItem,       // an object has to come: in a list, or behind what separates two
    kObject,     // within a call's object
    kHeader,     // within Mistral's name[ARGS]
    kArguments,  // within the arguments behind it
    kNext,       // behind an object, in a list
    kBehind,     // behind an object, or the list
  };

  bool hermes() const { return format_ == ToolFormat::kHermes; }
  bool llama() const { return format_ == ToolFormat::kLlama3Json; }

  void start_call() override {
    state_ = State::kBody;
    in_list_ = false;
  }

  bool holds_markup() const override { return state_ == State::kNext || state_ == State::kBehind; }

  void in_call(char c) override {
    switch (state_) {
      case State::kBody:
      case State::kItem:
        return in_body(c);
      case State::kObject:
        return in_object(c);
      case State::kHeader:
        return in_header(c);
      case State::kArguments:
        return in_arguments(c);
      case State::kNext:
        return in_next(c);
      case State::kBehind:
        return behind(c);
    }
  }

  void in_body(char c) {
    if (is_blank(c)) return hold(c);
    if (c == '{') {
      object_ = CallObject(is_unmarked());
      state_ = State::kObject;
      return in_object(c);
    }
    if (state_ == State::kBody && c == '[' && !llama()) {
      in_list_ = true;
      state_ = State::kItem;
      return hold(c);
    }
    if (state_ == State::kBody && !llama() && !hermes() && is_header(c)) {
      header_.clear();
      state_ = State::kHeader;
      return in_header(c);
    }
    fail(c);
  }

  void in_object(char c) {
    const Result result = object_.push(c);
    const bool unknown = is_unmarked() && !object_.name().empty() && !is_known(object_.name());
    if (result == Result::kBad || (unknown && !in_begun_call())) return fail(c);
    if (!object_.ready()) return hold(c);
    if (!in_begun_call()) begin_call(object_.name());
    object_.take_arguments(json_);
    arguments(json_);
    json_.clear();
    if (result != Result::kDone) return;
    end_call();
    state_ = in_list_ ? State::kNext : State::kBehind;
    if (!in_list_ && !hermes() && !llama()) end_markup();
  }

  void in_header(char c) {
    if (c == '{') {
      const std::string_view name = name_in_header(header_);
      if (name.empty()) return fail(c);
      begin_call(name);
      scanner_ = JsonScanner();
      state_ = State::kArguments;
      return in_arguments(c);
    }
    header_ += c;
    if (!is_header(c) || header_.size() > kMostHeaderBytes) return fail(c);
    hold(c);
  }

  void in_arguments(char c) {
    const Result result = scanner_.push(c);
    if (result == Result::kBad) return fail(c);
    arguments({&c, 1});
    if (result != Result::kDone) return;
    end_call();
    end_markup();
  }

  void in_next(char c) {
    if (is_blank(c)) return hold(c);
    if (c != ',' && c != ']') return give_back(c);
    hold(c);
    state_ = c == ',' ? State::kItem : State::kBehind;
    if (c == ',') return;
    in_list_ = false;
    if (!hermes()) end_markup();
  }

  // Several objects may stand between Hermes' two marks, and Llama separates them by semicolons.
  void behind(char c) {
    if (hermes()) return c == '{' && !at_close() ? in_body(c) : in_close(c, kHermesClose);
    if (is_blank(c)) return hold(c);
    if (c != ';' && c != ',') return give_back(c);
    state_ = State::kItem;
    hold(c);
  }

  ToolFormat format_;
  State state_ = State::kBody;
  bool in_list_ = false;
  CallObject object_;
  JsonScanner scanner_;
  std::string header_, json_;
};

}  // namespace

std::unique_ptr<ToolCallParser> make_json_calls(ToolFormat format, std::vector<std::string> names) {
  return std::make_unique<JsonCalls>(format, std::move(names));
}

}  // namespace weft::text
