#include "cli/load_run.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "serve/sse_reader.h"

namespace weft::cli {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxErrorBody = 65'536;

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// The text of a choice of one event; null where the event carries none.
const std::string* text_of(const Json& choice, bool is_chat) {
  if (!is_chat) {
    const auto text = choice.find("text");
    return text != choice.end() && text->is_string() ? text->get_ptr<const std::string*>()
                                                     : nullptr;
  }
  const auto delta = choice.find("delta");
  if (delta == choice.end() || !delta->is_object()) return nullptr;
  for (const char* key : {"content", "reasoning_content", "reasoning"}) {
    const auto text = delta->find(key);
    if (text != delta->end() && text->is_string() && !text->get_ref<const std::string&>().empty())
      return text->get_ptr<const std::string*>();
  }
  return nullptr;
}

int64_t count_at(const Json& usage, const char* key) {
  const auto found = usage.find(key);
  return found != usage.end() && found->is_number_integer() ? found->get<int64_t>() : -1;
}

// One answer as it comes.
class Reading {
 public:
  Reading(const LoadTarget& target, LoadAnswer* answer) : target_(target), answer_(*answer) {}

  void take(int status, std::span<const char> bytes, double now_s) {
    if (status != 200) {
      const size_t room = kMaxErrorBody - std::min(kMaxErrorBody, body_.size());
      body_.append(bytes.data(), std::min(bytes.size(), room));
      return;
    }
    reader_.feed(bytes, [&](std::string_view data) { take_event(data, now_s); });
  }

  void end(const HttpEnd& http, double now_s) {
    answer_.ended_s = now_s;
    answer_.status = http.status;
    count_ending();
    if (http.status != 0 && http.status != 200) {
      answer_.error = error_text(http.status, body_);
      answer_.error_code = error_code(body_);
    } else if (!http.failure.empty()) {
      answer_.error = http.failure;
      answer_.untrusted = http.untrusted;
    } else if (answer_.error.empty() && answer_.pieces_s.empty()) {
      answer_.error = "the answer has no token";
    } else if (answer_.error.empty() && !finished_) {
      answer_.error = "the stream ended without [DONE]";
    }
    if (answer_.output_tokens == 0)
      answer_.output_tokens = static_cast<int64_t>(answer_.pieces_s.size());
  }

 private:
  void take_event(std::string_view data, double now_s) {
    if (data == "[DONE]") {
      finished_ = true;
      return;
    }
    const Json event = Json::parse(data, nullptr, false);
    if (!event.is_object()) {
      answer_.error = "an event is no JSON object";
      return;
    }
    const auto error = event.find("error");
    if (error != event.end() && !error->is_null())
      answer_.error = error_text(200, std::string(data));
    const auto choices = event.find("choices");
    if (choices != event.end() && choices->is_array() && !choices->empty() &&
        choices->front().is_object())
      take_choice(choices->front(), now_s);
    const auto usage = event.find("usage");
    if (usage != event.end() && usage->is_object()) {
      if (const int64_t count = count_at(*usage, "prompt_tokens"); count >= 0)
        answer_.input_tokens = count;
      if (const int64_t count = count_at(*usage, "completion_tokens"); count >= 0)
        answer_.output_tokens = count;
    }
  }

  // Every chunk is a token's, whether it has text or not (half a character, a special token), but
  // one that only tells the role. One that ends the answer may be a token's or nobody's: the usage
  // decides.
  void take_choice(const Json& choice, double now_s) {
    const std::string* text = text_of(choice, target_.is_chat);
    if (text != nullptr && !text->empty()) {
      answer_.text += *text;
    } else if (is_last(choice)) {
      ending_s_ = now_s;
      return;
    } else if (tells_role(choice)) {
      return;
    }
    answer_.pieces_s.push_back(now_s);
  }

  void count_ending() {
    const size_t num_pieces = answer_.pieces_s.size();
    const bool is_token =
        num_pieces == 0 || answer_.output_tokens > static_cast<int64_t>(num_pieces);
    if (ending_s_ && is_token) answer_.pieces_s.push_back(*ending_s_);
  }

  static bool tells_role(const Json& choice) {
    const auto delta = choice.find("delta");
    return delta != choice.end() && delta->is_object() && delta->contains("role");
  }
  static bool is_last(const Json& choice) {
    const auto reason = choice.find("finish_reason");
    return reason != choice.end() && reason->is_string();
  }

  const LoadTarget& target_;
  LoadAnswer& answer_;
  serve::SseReader reader_;
  std::string body_;
  bool finished_ = false;
  std::optional<double> ending_s_;  // when a chunk came that has no text and ends the answer
};

class Loading {
 public:
  Loading(HttpStreams* streams, const LoadTarget& target, const std::vector<LoadPrompt>& prompts,
          const LoadPlan& plan)
      : streams_(*streams), target_(target), prompts_(prompts), plan_(plan) {}

  LoadRun run(const std::atomic<bool>& stop) {
    LoadRun run;
    const double cpu_before = cpu_seconds();
    begin_ns_ = now_ns();
    while ((next_ < prompts_.size() || num_running_ > 0) && !stop.load()) {
      send_what_is_due();
      streams_.drive(patience());
    }
    run.seconds = now_s();
    run.cpu_seconds = cpu_seconds() - cpu_before;
    run.was_stopped = stop.load();
    streams_.abandon();  // what still runs holds on to what is here
    for (Sent& sent : sent_) {
      if (!sent.ended) sent.answer.error = "stopped";
      run.answers.push_back(std::move(sent.answer));
    }
    return run;
  }

 private:
  struct Sent {
    LoadAnswer answer;
    Reading reading;
    bool ended = false;
    Sent(const LoadTarget& target, int64_t input_tokens) : reading(target, &answer) {
      answer.input_tokens = input_tokens;
    }
  };

  double now_s() const { return 1e-9 * static_cast<double>(now_ns() - begin_ns_); }

  void send_what_is_due() {
    while (next_ < prompts_.size() && num_running_ < plan_.max_concurrency &&
           plan_.arrivals_s[next_] <= now_s()) {
      send(prompts_[next_++]);
    }
  }

  void send(const LoadPrompt& prompt) {
    const auto num_ids = static_cast<int64_t>(prompt.ids.size());
    Sent& sent = sent_.emplace_back(target_, num_ids > 0 ? num_ids : prompt.input_len);
    HttpCall call{target_.url, load_body(target_, prompt), target_.api_key, target_.headers};
    if (!target_.request_id_prefix.empty())
      call.headers.push_back(
          fmt::format("X-Request-Id: {}{}", target_.request_id_prefix, sent_.size() - 1));
    ++num_running_;
    sent.answer.sent_s = now_s();
    streams_.start(
        std::move(call),
        [this, &sent](int status, std::span<const char> bytes) {
          sent.reading.take(status, bytes, now_s());
        },
        [this, &sent](const HttpEnd& end) {
          sent.reading.end(end, now_s());
          sent.ended = true;
          --num_running_;
          if (plan_.on_answer) plan_.on_answer(sent.answer);
        });
  }

  // To the next arrival, and never longer than it takes to notice Ctrl-C.
  std::chrono::milliseconds patience() const {
    const bool may_send = next_ < prompts_.size() && num_running_ < plan_.max_concurrency;
    const double wait_s = may_send ? plan_.arrivals_s[next_] - now_s() : 0.1;
    return std::chrono::milliseconds(
        static_cast<int64_t>(std::ceil(1e3 * std::clamp(wait_s, 0.0, 0.1))));
  }

  HttpStreams& streams_;
  const LoadTarget& target_;
  const std::vector<LoadPrompt>& prompts_;
  const LoadPlan& plan_;
  std::deque<Sent> sent_;  // stays where it is as it grows
  size_t next_ = 0;
  int num_running_ = 0;
  int64_t begin_ns_ = 0;
};

}  // namespace

std::string load_body(const LoadTarget& target, const LoadPrompt& prompt) {
  Json body = {
      {"model", target.model}, {"stream", true}, {"stream_options", {{"include_usage", true}}}};
  if (target.is_chat) {
    body["messages"] = {{{"role", "user"}, {"content", prompt.text}}};
    body["max_completion_tokens"] = prompt.output_len;
  } else {
    body["prompt"] = prompt.ids.empty() ? Json(prompt.text) : Json(prompt.ids);
    body["max_tokens"] = prompt.output_len;
  }
  body.update(Json::parse(target.fields));
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

LoadRun run_load(HttpStreams* streams, const LoadTarget& target,
                 const std::vector<LoadPrompt>& prompts, const LoadPlan& plan,
                 const std::atomic<bool>& stop) {
  return Loading(streams, target, prompts, plan).run(stop);
}

}  // namespace weft::cli
