// Answers of OpenAI's routes as bytes: one object, or a stream of chunks as server-sent events that
// ends with "data: [DONE]". Events carry no id: and no retry: lines, since clients of OpenAI take
// the blank line after a later comment for an event then.
//
// Chunks of one answer have one id; the first ones give the role of each choice, in order; the last
// of a choice gives its finish_reason. Not thread-safe: one answer's.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "serve/answer_json.h"
#include "serve/answer_state.h"
#include "serve/error_object.h"
#include "text/answer_parser.h"

namespace weft::serve {

class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  // The whole answer; no part has failed.
  virtual std::string whole(std::span<const AnsweredPart> parts) const = 0;

  // Of a stream: what this event brought, which was applied to its part before. May be empty.
  virtual std::string chunks(size_t part_index, const AnsweredPart& part,
                             const fleet::Event& event) = 0;
  virtual std::string end() = 0;
  // In place of the end: the answer failed.
  virtual std::string failure(const ErrorObject& error);
};

// What became of the head, the tokenizer and the body is read as long as the writer is used.
// parser: how reasoning and calls of tools stand in the text; neither: all of it is content.
std::unique_ptr<AnswerWriter> make_chat_writer(const AnswerHead& head, const AnswerFormat& format,
                                               const text::AnswerFormat& parser);
std::unique_ptr<AnswerWriter> make_completion_writer(const AnswerHead& head,
                                                     const AnswerFormat& format);

// "data: {"error": ...}": how a stream that has begun ends when it fails.
std::string error_event(const std::string& error_json);

// What both writers share: the frame of an object, the chunk that a stream carries, the usage.
class AnswerFrame {
 public:
  AnswerFrame(const AnswerHead& head, const RequestBody& body, const char* object);

  Json object(Json choices) const;
  // A chunk as an event, with the usage so far where it is asked for.
  std::string chunk(Json choice) const;
  void count(const AnsweredPart& part, const fleet::Event& event);
  // Of what was counted, for the last chunk.
  void count_reasoning(int64_t num_tokens) { usage_.reasoning_tokens += num_tokens; }
  // The chunk of the usage, where it is asked for, and the end of the stream.
  std::string end() const;

 private:
  const AnswerHead& head_;
  const RequestBody& body_;
  const char* object_;
  Usage usage_;
};

}  // namespace weft::serve
