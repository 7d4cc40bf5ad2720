// weft verify SAVED MODEL: answers a saved request again, through the server's own routes, and says
// whether every token is the one that was saved. Any topology will do: bits do not depend on it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <future>
#include <iterator>
#include <ostream>

#include "base/error.h"
#include "cli/answer_options.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/load_engine.h"
#include "cli/model_options.h"
#include "fleet/local_engine.h"
#include "serve/openai_routes.h"
#include "serve/receipt.h"
#include "serve/router.h"

namespace weft::cli {
namespace {

constexpr int kDiffersExit = 1;

// One request and its answer without a socket.
class WaitingExchange : public serve::Exchange {
 public:
  explicit WaitingExchange(serve::HttpRequest request) : request_(std::move(request)) {}

  const serve::HttpRequest& request() const override { return request_; }
  void respond(int status, std::string, std::string body, serve::HttpHeaders) override {
    answer_.set_value({status, std::move(body)});
  }
  void begin_stream(int status, std::string, serve::HttpHeaders) override { status_ = status; }
  bool write(std::string chunk) override {
    events_ += chunk;
    return true;
  }
  void end_stream() override { answer_.set_value({status_, std::move(events_)}); }
  void on_gone(std::function<void()>) override {}

  std::future<std::pair<int, std::string>> answer() { return answer_.get_future(); }

 private:
  serve::HttpRequest request_;
  std::promise<std::pair<int, std::string>> answer_;
  int status_ = 0;      // of a stream
  std::string events_;  // so far
};

std::string read_whole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) throw Error(ErrorKind::kUsage, fmt::format("{} cannot be read", path));
  return text;
}

class VerifyCommand : public Command {
 public:
  VerifyCommand() {
    options_.positional("SAVED", &saved_,
                        "a file of JSON: {\"request\": body, \"response\": body}, or one body "
                        "after the other; a stream's events stand for a response");
    options_.group("Answers");
    answers_.declare(&options_);
    options_.group("Output");
    options_.add("--quiet,-q", &quiet_, {"", "say nothing of loading"});
    model_.declare(&options_);
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    const serve::Receipt receipt = serve::read_receipt(read_whole(saved_));
    serve::OpenAiOptions options;
    options.limits.whole_vocabulary = true;
    options.chat_template = answers_.chat_template();
    options.parsers = answers_.parsers();
    std::atomic<bool> stop{false};
    const InterruptAction interrupt(
        [](void* flag) { static_cast<std::atomic<bool>*>(flag)->store(true); }, &stop);
    const std::shared_ptr<fleet::EngineClient> engine = load(context);
    const std::optional<std::string> again = ask_again(receipt, engine, options, stop);
    if (!again) return kInterruptedExit;
    const serve::Verdict verdict = serve::compare(receipt, *again);
    if (receipt.length_of_context)
      context.console.out << fmt::format(
          "the answer ended for its length after {} tokens though the request bounds none: on its "
          "server's context, which is not saved; as many were asked for\n",
          *receipt.length_of_context);
    const int exit = report(verdict, context.console);
    if (exit != 0 && receipt.is_chat() && verdict.same_engine() && !answers_.any())
      context.console.out << "was it served with --chat-template, --tool-call-parser or "
                             "--reasoning-parser? The same have to be given here\n";
    return exit;
  }

 private:
  std::shared_ptr<fleet::EngineClient> load(const Context& context) const {
    fleet::LocalEngineOptions options;
    options.name = model_.model;
    options.engine = model_.resolve(context, quiet_);
    return fleet::LocalEngine::start(std::move(options), [&](const engine::EngineOptions& wanted) {
      return load_engine(context, wanted, {}, quiet_);
    });
  }

  // None where it was interrupted.
  static std::optional<std::string> ask_again(const serve::Receipt& receipt,
                                              const std::shared_ptr<fleet::EngineClient>& engine,
                                              const serve::OpenAiOptions& options,
                                              const std::atomic<bool>& stop) {
    serve::Router router;
    serve::Admission admission({});
    serve::add_openai_routes(&router, engine, &admission, options);
    serve::HttpRequest request;
    request.method = "POST";
    request.path = receipt.path;
    request.body = serve::repeated_request(receipt);
    const auto exchange = std::make_shared<WaitingExchange>(std::move(request));
    std::future<std::pair<int, std::string>> answer = exchange->answer();
    (*router.find("POST", receipt.path).route)(exchange);
    while (answer.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready) {
      if (stop.load()) return std::nullopt;
    }
    auto [status, body] = answer.get();
    if (status != 200)
      throw Error(ErrorKind::kUsage, "the request was refused this time", std::move(body));
    return std::move(body);
  }

  static int report(const serve::Verdict& verdict, Console& console) {
    std::ostream& out = console.out;
    if (verdict.saved_fingerprint.empty())
      out << "the response has no system_fingerprint: another server's, perhaps\n";
    else if (!verdict.same_engine())
      out << fmt::format(
          "the fingerprint was {} and is {}: another model file, cache type, kind of sum or "
          "version of the arithmetic, so tokens may differ\n",
          verdict.saved_fingerprint, verdict.fingerprint);
    if (!verdict.by_tokens)
      out << "the response has no token_ids (ask with \"return_token_ids\": true): its text is "
             "compared\n";
    for (const std::string& difference : verdict.differences) out << difference << "\n";
    const char* unit = verdict.by_tokens ? "tokens" : "bytes of text";
    out << (verdict.agrees() ? fmt::format("verified: all {} {} agree ({})\n", verdict.num_compared,
                                           unit, verdict.fingerprint)
                             : "not verified\n");
    out << fmt::format("compared: {}", fmt::join(verdict.compared, ", "));
    if (!verdict.missing.empty())
      out << fmt::format("; not in the response: {}", fmt::join(verdict.missing, ", "));
    out << fmt::format("; not compared: {}\n", fmt::join(verdict.left_out, ", "));
    return verdict.agrees() ? 0 : kDiffersExit;
  }

  OptionSet options_{"verify", "answer a saved request again and compare every token"};
  ModelOptions model_;
  AnswerOptions answers_;
  std::string saved_;
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_verify_command() { return std::make_unique<VerifyCommand>(); }

}  // namespace weft::cli
