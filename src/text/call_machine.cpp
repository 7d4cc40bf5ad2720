#include "text/call_machine.h"

#include <algorithm>
#include <utility>

namespace weft::text {
namespace {

using Kind = AnswerPart::Kind;

// Blanks before a call that are held back; models write one or two.
constexpr size_t kMostEdgeBlanks = 256;

}  // namespace

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

CallMachine::CallMachine(std::string marker, char opener, std::vector<std::string> names)
    : marker_(std::move(marker)), opener_(opener), names_(std::move(names)) {
  std::ranges::sort(names_);
}

void CallMachine::push(std::string_view text, AnswerParts& parts) {
  parts_ = &parts;
  for (const char c : text) {
    ++position_;
    if (in_call_) {
      in_call(c);
    } else {
      in_content(c);
    }
  }
  parts_ = nullptr;
}

void CallMachine::finish(AnswerParts& parts) {
  parts_ = &parts;
  if (begun_) end_call(false, position_);
  const bool markup =
      in_call_ ? holds_markup() : num_calls_ > 0 && at_edge_ && edge_blanks_ == held_.size();
  if (!markup) release(held_.size());
  held_.clear();
  parts_ = nullptr;
}

void CallMachine::in_content(char c) {
  held_ += c;
  if (opener_ != 0 && c == opener_ && !content_seen_ && num_calls_ == 0 &&
      edge_blanks_ + 1 == held_.size()) {
    find_call(true);
    return in_call(c);
  }
  if (marker_.advance(c)) return find_call(false);
  if (at_edge_ && holds_edge()) return;
  release(held_.size() - marker_.matched());
}

// Whether all that is held is blanks, and what may become the marker.
bool CallMachine::holds_edge() {
  while (edge_blanks_ + marker_.matched() < held_.size()) {
    if (!is_blank(held_[edge_blanks_]) || edge_blanks_ == kMostEdgeBlanks) return false;
    ++edge_blanks_;
  }
  return true;
}

void CallMachine::find_call(bool unmarked) {
  call_offset_ = position_ - held_.size();
  in_call_ = true;
  unmarked_ = unmarked;
  marker_.reset();
  if (unmarked) held_.pop_back();  // in_call gets it
  start_call();
}

void CallMachine::release(size_t num_bytes) {
  if (num_bytes == 0) return;
  append_text(*parts_, Kind::kContent, std::string_view(held_).substr(0, num_bytes));
  held_.erase(0, num_bytes);
  at_edge_ = false;
  edge_blanks_ = 0;
  content_seen_ = true;
}

void CallMachine::hold(char c) {
  if (held_.size() >= kMostHeldBytes) return fail(c);
  held_ += c;
}

void CallMachine::fail(char c) {
  if (begun_) end_call(false, position_ - 1);
  in_call_ = false;
  content_seen_ = true;  // also where nothing was held: what follows is no beginning
  at_edge_ = false;
  edge_blanks_ = 0;
  release(held_.size());
  in_content(c);
}

void CallMachine::end_markup() {
  held_.clear();
  in_call_ = false;
  at_edge_ = true;
  edge_blanks_ = 0;
}

void CallMachine::give_back(char c) {
  const std::string text = std::exchange(held_, {});
  end_markup();
  // Position is that of `c` for all of it; offsets are counted from a marker's last byte, so they
  // have to go back for the time.
  position_ -= text.size();
  for (const char byte : text + c) {
    if (in_call_) {
      in_call(byte);
    } else {
      in_content(byte);
    }
    ++position_;
  }
  --position_;
}

void CallMachine::in_close(char c, std::string_view close) {
  if (close_matched_ == 0 && is_blank(c)) return hold(c);
  if (c != close[close_matched_]) return give_back(c);
  hold(c);
  if (++close_matched_ == close.size()) end_markup();
}

void CallMachine::begin_call(std::string_view name) {
  held_.clear();
  begun_ = true;
  parts_->push_back({.kind = Kind::kCallBegin,
                     .call = num_calls_,
                     .text = std::string(name),
                     .offset = call_offset_});
}

void CallMachine::arguments(std::string_view json) {
  append_text(*parts_, Kind::kCallArguments, json, num_calls_);
}

void CallMachine::end_call(bool complete, uint64_t offset) {
  begun_ = false;
  parts_->push_back(
      {.kind = Kind::kCallEnd, .call = num_calls_++, .complete = complete, .offset = offset});
  call_offset_ = offset;
  close_matched_ = 0;
}

bool CallMachine::is_known(std::string_view name) const {
  return names_.empty() || std::ranges::binary_search(names_, name);
}

bool CallMachine::begins_known(std::string_view prefix) const {
  const auto at = std::ranges::lower_bound(names_, prefix);
  return at != names_.end() && at->starts_with(prefix);
}

}  // namespace weft::text
