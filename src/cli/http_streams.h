// Requests to a server whose answers are read as they come: any number at a time, in one thread, on
// libcurl. Used by the load generator and by a chat with a running server.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/options.h"

namespace weft::cli {

struct HttpCall {
  std::string url;
  std::string body;                       // JSON; empty: GET
  std::string api_key;                    // empty: none
  std::vector<std::string> headers = {};  // more of them, "name: value"
};

struct HttpEnd {
  int status = 0;          // 0: no answer came
  std::string failure;     // why it is not whole, in libcurl's words; empty: it is
  bool untrusted = false;  // it is since the server's certificate is not trusted
};

class HttpStreams {
 public:
  using OnBytes = std::function<void(int status, std::span<const char> bytes)>;
  using OnEnd = std::function<void(const HttpEnd& end)>;

  // timeout: of one call from beginning to end. ca_file: certificates to trust in place of the
  // system's, as PEM; empty: those that the environment names (CURL_CA_BUNDLE, SSL_CERT_FILE), if
  // any. Error(kUsage) for a ca_file that cannot be read.
  HttpStreams(const Environment& environment, std::chrono::seconds timeout,
              const std::string& ca_file = {});
  ~HttpStreams();
  HttpStreams(const HttpStreams&) = delete;
  HttpStreams& operator=(const HttpStreams&) = delete;

  // on_bytes and on_end are called from drive(), on_end once and last. They may start others.
  void start(HttpCall call, OnBytes on_bytes, OnEnd on_end);
  // Lets all go on, for at most `patience` where nothing comes.
  void drive(std::chrono::milliseconds patience);
  // Closes what runs: nobody is called for it any more. Not from within a call.
  void abandon();

 private:
  struct Call;
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

// One whole answer. body: what came of it. stop: ends the wait, and the answer is none then.
// Nothing else runs in `streams`.
struct HttpAnswer {
  HttpEnd end;
  std::string body;
};
HttpAnswer ask(HttpStreams* streams, HttpCall call, const std::atomic<bool>* stop = nullptr);

// The option that names ca_file; what mends an answer that is `untrusted`.
inline constexpr const char* kCaFileHelp =
    "certificates that an https server may be signed by, as PEM; its own where it signs itself";
inline constexpr const char* kMendTrust =
    "name the certificate that signed it with --ca-file or SSL_CERT_FILE, and the host as it does";

// What an error answer says: the message of OpenAI's error object, or the body's beginning. Fit to
// be shown: in one line, without controls, of a length for people.
std::string error_text(int status, const std::string& body);
// The code of OpenAI's error object; empty where there is none.
std::string error_code(const std::string& body);

}  // namespace weft::cli
