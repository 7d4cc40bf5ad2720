#include "cli/engine_partner.h"

#include <ostream>

#include "base/error.h"
#include "cli/answer_report.h"
#include "cli/foreground.h"
#include "cli/interrupt.h"
#include "cli/prompt.h"
#include "serve/prompt_ids.h"

namespace weft::cli {
namespace {

class EnginePartner : public ChatPartner {
 public:
  EnginePartner(engine::Engine& engine, EnginePartnerOptions options)
      : engine_(engine), options_(std::move(options)) {}

  std::string model() const override { return options_.model; }
  std::string unset() const override { return "-"; }
  bool is_remote() const override { return false; }
  std::string greeting() const override {
    if (engine_.chat_template() != nullptr) return {};
    return "this model ships no chat template: each line is continued as plain text";
  }

  void check(const ChatParameters& parameters) override { request_of(parameters); }

  ChatReply answer(std::vector<text::Message>* messages, const ChatParameters& parameters,
                   Console& console) override {
    engine::Request request = request_of(parameters);
    const size_t forgotten = forget_oldest(engine_, messages);
    request.prompt_ids = writer_of(engine_).conversation_ids(*messages);
    const bool fits = static_cast<int64_t>(request.prompt_ids.size()) <= engine_.max_model_len();
    if (forgotten > 0 && fits) console.err << kForgotten << std::endl;
    fit_answer(engine_, &request);
    const int64_t cached_before = engine_.stats().cached_prompt_tokens;
    const engine::GenerationResult result = generate(request, console);
    const Answer answer{engine_, request, result,
                        engine_.stats().cached_prompt_tokens - cached_before};
    return {result.text,
            engine::name(result.finish_reason),
            detail_lines(answer),
            stats_lines(answer),
            static_cast<int64_t>(request.prompt_ids.size()),
            static_cast<int64_t>(result.token_ids.size())};
  }

 private:
  engine::GenerationResult generate(const engine::Request& request, Console& console) {
    const OwnForeground foreground(options_.terminal);
    const InterruptAction interrupt(
        [](void* engine) { static_cast<engine::Engine*>(engine)->cancel(); }, &engine_);
    return engine_.generate(request, [&](const std::string& piece) {
      console.out << piece << std::flush;
      return true;
    });
  }

  // Everything but the prompt.
  engine::Request request_of(const ChatParameters& parameters) {
    const serve::RequestBody body = parameters.read();
    engine::Request request;
    request.sampling = body.sampling;
    request.sampling.bad_words = serve::bad_word_ids(body, engine_.tokenizer());
    engine::check_sampling(request.sampling, engine_.model().vocab_size);
    if (body.grammar) request.grammar = grammar_of(*body.grammar);
    request.hash_logits = options_.hash_logits;
    return request;
  }

  // The one that was used last is kept.
  std::shared_ptr<const text::Grammar> grammar_of(const text::GrammarSpec& spec) {
    if (options_.grammar != nullptr && options_.grammar_spec == spec) return options_.grammar;
    if (compiler_ == nullptr)
      compiler_ = text::GrammarCompiler::make(engine_.tokenizer(), engine_.model().vocab_size,
                                              engine_.model().end_ids);
    options_.grammar = compiler_->compile(spec);
    options_.grammar_spec = spec;
    return options_.grammar;
  }

  engine::Engine& engine_;
  EnginePartnerOptions options_;
  std::unique_ptr<text::GrammarCompiler> compiler_;  // since the first grammar
};

}  // namespace

std::unique_ptr<ChatPartner> make_engine_partner(engine::Engine& engine,
                                                 EnginePartnerOptions options) {
  return std::make_unique<EnginePartner>(engine, std::move(options));
}

}  // namespace weft::cli
