// The life of one request for text: its body is read, its prompts are encoded and charged for, an
// engine answers them, and what it says is written to the client as it comes or at the end.
//
//   network thread: pooled route ──> pool: start() ── generate ──> engine
//   exchange <── writer: drain() <── inbox <── on_event (the engine's thread)
//
// An engine's thread only puts its events into the inbox. A client that leaves, or does not read
// its stream, ends the work at the engine.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "serve/answer_writer.h"
#include "serve/chat_tools.h"
#include "serve/openai_service.h"
#include "serve/prompt_feed.h"

namespace weft::serve {

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(std::shared_ptr<OpenAiService> service, std::shared_ptr<Exchange> exchange,
             std::shared_ptr<Admission::Ticket> place);

  // Reads the body and asks the engine, or refuses.
  void start(bool is_chat);

  // A route that says a chat in other words, and its answer too.
  struct Dialect {
    std::string body;  // JSON of a chat, in place of the request's own
    std::string id;    // of the answer
    std::function<std::unique_ptr<AnswerWriter>(const AnswerHead& head, const AnswerFormat& format,
                                                const text::AnswerFormat& parser)>
        make_writer;
    std::function<void(ErrorObject*)> retell;  // of the chat, in the words of the request
  };
  void start_as(Dialect dialect);

 private:
  void read_body(const nlohmann::json& json, bool is_chat);
  void read_tools();
  void prepare_parser(const std::string& rendered);
  void make_writer();
  void release_body();
  void enter();
  void hold_logprobs(int64_t count);
  void submit();
  uint64_t ask(size_t part);
  fleet::Generate message_of(size_t part) const;

  // The engine's thread.
  void receive(size_t part, fleet::Event event);
  // The writer's, one at a time.
  void drain();
  void take(size_t part, const fleet::Event& event);
  void fail(const Error& error);
  ErrorObject in_dialect(ErrorObject error) const;
  ErrorObject object_of(const Error& error) const;
  void refuse(const ErrorObject& error, HttpHeaders headers = {});
  void finish();
  bool is_long() const;
  void write(std::string text);
  // Any thread.
  void ping();
  void shut_down();
  void wake(bool* wish);

  std::shared_ptr<OpenAiService> service_;
  std::shared_ptr<Exchange> exchange_;
  PromptFeed feed_;

  const std::string& body_text() const;

  std::optional<Dialect> dialect_;
  RequestBody body_;
  ChatTools tools_;
  AnswerHead head_;
  text::AnswerFormat parser_;
  std::unique_ptr<AnswerWriter> writer_;
  std::vector<AnsweredPart> parts_;
  std::vector<int64_t> max_tokens_;  // of each part
  size_t num_open_ = 0;
  bool streaming_ = false, done_ = false;

  std::mutex mutex_;  // of what follows
  std::vector<std::pair<size_t, fleet::Event>> inbox_;
  bool wants_ping_ = false, wants_end_ = false;
  bool draining_ = true;  // until the first parts are with the engine nobody drains
};

}  // namespace weft::serve
