// Calls whose arguments are no JSON: Python's, and FunctionGemma's.
#include <utility>

#include "text/call_machine.h"
#include "text/call_object.h"
#include "text/literal_arguments.h"

namespace weft::text {
namespace {

using Result = LiteralArguments::Result;
using Dialect = LiteralArguments::Dialect;

constexpr std::string_view kFence = "```", kGemmaClose = "<end_function_call>", kCall = "call:";

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool is_name(char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '-'; }

class LiteralCalls final : public CallMachine {
 public:
  LiteralCalls(ToolFormat format, std::vector<std::string> names)
      : CallMachine(std::string(tool_marker(format)), format == ToolFormat::kPythonic ? '[' : '\0',
                    std::move(names)),
        python_(format == ToolFormat::kPythonic) {}

 private:
  enum class State {
    kBody,       // behind the marker: "call:", or the list's bracket, or a name
    kItem,       // a name has to come
    kName,       // within it
    kArguments,  // within the brackets
    kNext,       // behind a call, in a list or a fence without one
    kBehind,     // behind all calls: the mark that closes them
  };

  void start_call() override {
    state_ = State::kBody;
    in_list_ = false;
    call_matched_ = 0;
  }

  bool holds_markup() const override { return state_ == State::kNext || state_ == State::kBehind; }

  void in_call(char c) override {
    switch (state_) {
      case State::kBody:
        return python_ ? in_body(c) : in_gemma_body(c);
      case State::kItem:
        return in_item(c);
      case State::kName:
        return in_name(c);
      case State::kArguments:
        return in_arguments(c);
      case State::kNext:
        return in_next(c);
      case State::kBehind:
        return in_close(c, python_ ? kFence : kGemmaClose);
    }
  }

  void in_body(char c) {
    if (c != '[') return in_item(c);
    in_list_ = true;
    state_ = State::kItem;
    hold(c);
  }

  void in_gemma_body(char c) {
    if (call_matched_ == 0 && is_blank(c)) return hold(c);
    if (c != kCall[call_matched_]) return fail(c);
    if (++call_matched_ == kCall.size()) state_ = State::kItem;
    hold(c);
  }

  void in_item(char c) {
    if (is_blank(c)) return hold(c);
    name_ = c;
    if (!is_letter(c) && !begins_known(name_)) return fail(c);
    state_ = State::kName;
    hold(c);
  }

  void in_name(char c) {
    if (c == (python_ ? '(' : '{')) {
      if (!is_tool_name(name_) || (python_ && !is_known(name_))) return fail(c);
      arguments_ = LiteralArguments(python_ ? Dialect::kPython : Dialect::kGemma);
      json_.clear();
      state_ = State::kArguments;
      return hold(c);
    }
    name_ += c;  // of tools that were given, any name
    if (!is_name(c) && !begins_known(name_)) return fail(c);
    hold(c);
  }

  void in_arguments(char c) {
    const Result result = arguments_.push(c, json_);
    if (result == Result::kBad) return fail(c);
    if (!arguments_.certain()) return hold(c);
    if (!in_begun_call()) begin_call(name_);
    arguments(json_);
    json_.clear();
    if (result != Result::kDone) return;
    end_call();
    state_ = python_ ? State::kNext : State::kBehind;
  }

  void in_next(char c) {
    if (is_blank(c)) return hold(c);
    if (in_list_ && c == ']') {
      if (is_unmarked()) return end_markup();
      state_ = State::kBehind;
      return hold(c);
    }
    if (c == ',' || (c == ';' && !in_list_)) {
      state_ = State::kItem;
      return hold(c);
    }
    if (in_list_) return give_back(c);
    state_ = c == kFence[0] ? State::kBehind : State::kItem;
    in_call(c);
  }

  bool python_, in_list_ = false;
  State state_ = State::kBody;
  size_t call_matched_ = 0;
  std::string name_, json_;
  LiteralArguments arguments_{Dialect::kPython};
};

}  // namespace

std::unique_ptr<ToolCallParser> make_literal_calls(ToolFormat format,
                                                   std::vector<std::string> names) {
  return std::make_unique<LiteralCalls>(format, std::move(names));
}

}  // namespace weft::text
