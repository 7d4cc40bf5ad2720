// /v1/completions: https://platform.openai.com/docs/api-reference/completions, with vLLM's extras.
#include <nlohmann/json.hpp>

#include "serve/answer_writer.h"

namespace weft::serve {
namespace {

class CompletionWriter : public AnswerWriter {
 public:
  CompletionWriter(const AnswerHead& head, const AnswerFormat& format)
      : format_(format), frame_(head, format.body, "text_completion") {}

  std::string whole(std::span<const AnsweredPart> parts) const override {
    Json choices = Json::array();
    Usage usage;
    for (const AnsweredPart& part : parts) {
      add_usage(format_.body, part.state, &usage);
      for (const engine::Choice& choice : part.state.choices)
        choices.push_back(
            completion_choice(format_, part.prompt_ids, part.state, choice, choices.size()));
    }
    Json object = frame_.object(std::move(choices));
    object["usage"] = usage_json(usage);
    return dump(object);
  }

  std::string chunks(size_t part_index, const AnsweredPart& part,
                     const fleet::Event& event) override {
    frame_.count(part, event);
    const size_t index = part_index * part.state.choices.size() + event.choice;
    while (streams_.size() <= index) streams_.emplace_back(format_);
    Stream& stream = streams_[index];
    const bool first = !stream.begun;
    const RequestBody& body = format_.body;
    const std::string text = first ? completion_text(format_, part.prompt_ids, event.text)
                             : body.only_echo ? ""
                                              : event.text;
    // A token whose text is not there yet has a chunk all the same, as vLLM's: clients count and
    // time tokens by chunks.
    if (text.empty() && !event.finish && event.token_ids.empty()) return "";
    stream.begun = true;  // what stands at the beginning comes with the first chunk that is sent
    Json choice = {{"index", index}, {"text", text}, {"logprobs", nullptr}};
    if (body.sampling.logprobs) {
      if (first && body.echo)
        stream.logprobs.add_prompt(part.prompt_ids, part.state.prompt_logprobs);
      if (!body.only_echo) stream.logprobs.add_answer(event.token_ids, event.logprobs);
      choice["logprobs"] = stream.logprobs.take();
    }
    engine::Choice ending;
    ending.token_ids = event.token_ids;
    ending.finish = event.finish;
    ending.stop_reason = event.stop_reason;
    add_ending(format_, ending, &choice);
    if (first && body.return_token_ids) choice["prompt_token_ids"] = part.prompt_ids;
    if (first && body.sampling.prompt_logprobs && !body.echo)
      choice["prompt_logprobs"] = prompt_logprobs_json(format_, part.state.prompt_logprobs);
    return frame_.chunk(std::move(choice));
  }

  std::string end() override { return frame_.end(); }

 private:
  // Of one choice.
  struct Stream {
    explicit Stream(const AnswerFormat& format) : logprobs(format) {}
    CompletionLogprobs logprobs;
    bool begun = false;
  };

  AnswerFormat format_;
  AnswerFrame frame_;
  std::vector<Stream> streams_;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_completion_writer(const AnswerHead& head,
                                                     const AnswerFormat& format) {
  return std::make_unique<CompletionWriter>(head, format);
}

}  // namespace weft::serve
