#include "cli/server_refusal.h"

#include <fmt/format.h>

#include "base/error.h"

namespace weft::cli {
namespace {

struct Verdict {
  ErrorKind kind;
  const char* what;  // {} is the address
  std::string_view mend = {};
};

Verdict judge(const FailedAnswer& answer, bool has_key, const Mends& mends) {
  const int status = answer.status;
  if (answer.untrusted) return {ErrorKind::kCommunication, "{} is not trusted", kMendTrust};
  if (status == 0) return {ErrorKind::kCommunication, "no server answers at {}", mends.silence};
  if (status == 200)
    return {ErrorKind::kCommunication, "{} does not answer as it should", mends.form};
  // A server that takes no requests for this host, or of this page, asks for no key.
  const bool is_host = answer.code == "host_not_allowed";
  if (status == 401 || (status == 403 && !is_host))
    return {ErrorKind::kUsage, has_key ? "{} refuses the key" : "{} wants a key", mends.key};
  if (status == 429 || status == 503) return {ErrorKind::kBusy, "{} is busy", mends.busy};
  if (status >= 300 && status < 400)
    return {ErrorKind::kUsage, "{} is elsewhere", "give the address that it redirects to"};
  if (status == 404 || status == 405)
    return {ErrorKind::kUsage, "{} does not know what is asked for", mends.route};
  if (status >= 400 && status < 500)
    return {ErrorKind::kUsage, "{} refuses the request", answer.is_too_long() ? mends.length : ""};
  return {ErrorKind::kCommunication, "{} failed"};
}

}  // namespace

FailedAnswer failed_answer(const HttpEnd& end, const std::string& body) {
  const std::string words = end.status == 0 ? end.failure : error_text(end.status, body);
  return {end.status, words, error_code(body), end.untrusted};
}

bool FailedAnswer::may_recover() const {
  if (untrusted) return false;
  return status == 0 || status == 200 || status == 408 || status == 425 || status == 429 ||
         status >= 500;
}

bool FailedAnswer::is_too_long() const {
  // vLLM has OpenAI's words, and a number for a code.
  return code == "context_length_exceeded" ||
         (status == 400 && words.find("maximum context length") != std::string::npos);
}

void refuse_answer(const std::string& base, const FailedAnswer& answer, bool has_key,
                   const Mends& mends) {
  const Verdict verdict = judge(answer, has_key, mends);
  throw Error(verdict.kind, fmt::format(fmt::runtime(verdict.what), base), answer.words,
              verdict.mend);
}

}  // namespace weft::cli
