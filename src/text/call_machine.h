// What the parsers of all formats share: looking for the marker of a call in content, holding back
// what is not certain, telling of calls. A format says how a call's own text goes on (`in_call`).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/marker.h"
#include "text/tool_calls.h"

namespace weft::text {

bool is_blank(char c);

class CallMachine : public ToolCallParser {
 public:
  void push(std::string_view text, AnswerParts& parts) final;
  void finish(AnswerParts& parts) final;

 protected:
  // opener: with this byte, at the very beginning of an answer, calls may begin without the marker;
  // 0: none.
  CallMachine(std::string marker, char opener, std::vector<std::string> names);

  // The bytes behind the marker (or from the opener on) come to in_call, until it says that they
  // are no call any more.
  virtual void start_call() = 0;
  virtual void in_call(char c) = 0;
  // Whether what is held is markup of calls that were complete, so that it may be dropped at the
  // end of the answer.
  virtual bool holds_markup() const = 0;

  // For in_call: adds the byte to what is held back; too much of it is no call.
  void hold(char c);
  // This is no call: what is held and this byte are content. A call that was begun is incomplete.
  void fail(char c);
  // What is held was markup, and content follows, or the next call.
  void end_markup();
  // What was held behind a complete call is no markup: content, as if it had come now.
  void give_back(char c);

  // The mark that closes a call, behind blanks: the next byte of it. A missing one is no mistake.
  void in_close(char c, std::string_view close);
  bool at_close() const { return close_matched_ > 0; }

  void begin_call(std::string_view name);
  void arguments(std::string_view json);
  void end_call() { end_call(true, position_); }
  bool in_begun_call() const { return begun_; }
  bool is_known(std::string_view name) const;
  // Whether a name that was given begins so.
  bool begins_known(std::string_view prefix) const;
  bool is_unmarked() const { return unmarked_; }

 private:
  void in_content(char c);
  bool holds_edge();
  void find_call(bool unmarked);
  void release(size_t num_bytes);
  void end_call(bool complete, uint64_t offset);

  Marker marker_;
  char opener_;
  std::vector<std::string> names_;  // sorted
  AnswerParts* parts_ = nullptr;    // of the push that is going on
  std::string held_;
  // In content: nothing but blanks came since the beginning, or since the last call; they are held,
  // and this many of them are known.
  bool at_edge_ = true;
  size_t edge_blanks_ = 0;
  bool in_call_ = false, begun_ = false, unmarked_ = false;
  bool content_seen_ = false;
  size_t close_matched_ = 0;
  size_t num_calls_ = 0;
  uint64_t position_ = 0;     // bytes taken, with the one that is being looked at
  uint64_t call_offset_ = 0;  // where the text of the call that may come begins
};

std::unique_ptr<ToolCallParser> make_json_calls(ToolFormat format, std::vector<std::string> names);
std::unique_ptr<ToolCallParser> make_literal_calls(ToolFormat format,
                                                   std::vector<std::string> names);

}  // namespace weft::text
