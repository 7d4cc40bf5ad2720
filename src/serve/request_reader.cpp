#include "serve/request_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <functional>

#include "base/error.h"

namespace weft::serve {
namespace {

namespace http = boost::beast::http;

// What chunk headers and trailers may take before their end comes. Beast wants them whole.
constexpr size_t kMostChunkHeader = 8 * 1024;

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool begins_a_method(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

// Whether a chunk's header, of which the parser wants more, is a whole line with a quote in it.
bool ends_in_a_quote(std::string_view header) {
  if (header.starts_with("\r\n")) header.remove_prefix(2);  // of the chunk before
  const size_t end = header.find("\r\n");
  return end != header.npos && header.substr(0, end).find('"') != header.npos;
}

RequestReader::Failure failure_of(const boost::system::error_code& error) {
  if (error == http::error::header_limit) return {431, "the header is too large"};
  if (error == http::error::body_limit) return {413, "the body is too large"};
  if (error == http::error::bad_version) return {505, "only HTTP/1.0 and HTTP/1.1 are spoken"};
  return {400, fmt::format("this is no HTTP request: {}", error.message())};
}

}  // namespace

std::optional<std::string> decode_path(std::string_view path) {
  std::string decoded;
  decoded.reserve(path.size());
  for (size_t i = 0; i < path.size(); ++i) {
    auto c = static_cast<unsigned char>(path[i]);
    if (c == '%') {
      const int high = i + 1 < path.size() ? hex_digit(path[i + 1]) : -1;
      const int low = i + 2 < path.size() ? hex_digit(path[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<unsigned char>(high * 16 + low);
      i += 2;
    }
    if (c < 0x20 || c == 0x7f) return std::nullopt;
    decoded += static_cast<char>(c);
  }
  return decoded;
}

struct RequestReader::Parser : http::request_parser<http::string_body> {
  explicit Parser(const RequestLimits& limits) {
    header_limit(static_cast<uint32_t>(limits.header_bytes));
    body_limit(limits.body_bytes);
    eager(false);
    on_chunk_header(refuse_quotes);
  }

  // Beast reads a quoted extension of a chunk over the end of its line, other readers do not.
  std::function<void(uint64_t, boost::beast::string_view, boost::system::error_code&)>
      refuse_quotes =
          [](uint64_t, boost::beast::string_view extensions, boost::system::error_code& error) {
            if (extensions.find('"') != extensions.npos) error = http::error::bad_chunk_extension;
          };
};

RequestReader::RequestReader(const RequestLimits& limits) : limits_(limits) {}
RequestReader::~RequestReader() = default;

bool RequestReader::fail(int status, std::string message) {
  state_ = State::kFailed;
  failure_ = {status, std::move(message)};
  return false;
}

bool RequestReader::has_body() const {
  return parser_ && (parser_->chunked() || content_length().value_or(0) > 0);
}

std::optional<uint64_t> RequestReader::content_length() const {
  const auto length = parser_->content_length();
  return length ? std::optional<uint64_t>(*length) : std::nullopt;
}

size_t RequestReader::body_bytes() const {
  return state_ == State::kBody ? parser_->get().body().size() : request_.body.size();
}

size_t RequestReader::feed(std::string_view data) {
  if (state_ == State::kHeader) return feed_header(data);
  if (state_ == State::kBody) return feed_body(data);
  return 0;
}

// The parser sees a header once it is whole: it would take it field by field and count none of
// those that it took.
size_t RequestReader::feed_header(std::string_view data) {
  // Line breaks before a request are to be skipped (RFC 9112, 2.2): some clients end a body so.
  size_t begin = 0;
  while (begin + 1 < data.size() && data.substr(begin, 2) == "\r\n") begin += 2;
  if (begin > 0) {
    searched_ = 0;
    return begin;
  }
  if (data.empty()) return 0;
  if (data[0] != '\r' && !begins_a_method(data[0])) {
    fail(400, "this is no HTTP request (is it TLS to a port without it?)");
    return 0;
  }
  const size_t end = data.find("\r\n\r\n", searched_);
  const size_t length = end == std::string_view::npos ? data.size() : end + 4;
  if (length > limits_.header_bytes) {
    fail(431, fmt::format("the header has more than {} bytes", limits_.header_bytes));
    return 0;
  }
  if (end == std::string_view::npos) {
    searched_ = data.size() < 3 ? 0 : data.size() - 3;
    return 0;
  }
  parser_ = std::make_unique<Parser>(limits_);
  boost::system::error_code error;
  size_t taken = 0;
  while (!error && taken < length && !parser_->is_header_done())
    taken += parser_->put({data.data() + taken, length - taken}, error);
  if (error) {
    failure_ = failure_of(error);
    state_ = State::kFailed;
  }
  take_header();
  return length;
}

// What the parser has of it: all, or what stood before a failure.
void RequestReader::take_header() {
  const auto& message = parser_->get();
  const bool failed = state_ == State::kFailed;
  request_.method = std::string(message.method_string());
  size_t num_hosts = 0, num_lengths = 0, num_codings = 0;
  for (const auto& field : message) {
    std::string name = lower({field.name_string().data(), field.name_string().size()});
    if (name == "host") ++num_hosts;
    if (name == "content-length") ++num_lengths;
    if (name == "transfer-encoding") ++num_codings;
    request_.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  const std::string_view target{message.target().data(), message.target().size()};
  if (failed) {
    take_target(target);
    state_ = State::kFailed;
    return;
  }
  is_http_1_0_ = message.version() == 10;
  keep_alive_ = parser_->keep_alive();
  if (message.version() != 10 && message.version() != 11) {
    fail(505, "only HTTP/1.0 and HTTP/1.1 are spoken");
    return;
  }
  if (request_.headers.size() > limits_.num_headers) {
    fail(431, fmt::format("the header has more than {} fields", limits_.num_headers));
    return;
  }
  if (!check_framing(num_hosts, num_lengths, num_codings)) return;
  if (target.size() > limits_.target_bytes) {
    fail(414, fmt::format("the target has more than {} bytes", limits_.target_bytes));
    return;
  }
  if (!take_target(target)) {
    fail(400, "the target is no path");
    return;
  }
  state_ = State::kHeaderDone;
}

// Where one request ends and the next begins must be the same for every reader on the way here.
bool RequestReader::check_framing(size_t num_hosts, size_t num_lengths, size_t num_codings) {
  if (num_hosts > 1) return fail(400, "there are several Host fields");
  if (num_hosts == 0 && !is_http_1_0_) return fail(400, "there is no Host field");
  if (num_lengths > 1) return fail(400, "there are several Content-Length fields");
  const std::string_view length = request_.header("content-length");
  if (num_lengths == 1 &&
      (length.empty() || length.find_first_not_of("0123456789") != std::string_view::npos))
    return fail(400, "Content-Length is no number");
  if (num_codings > 1) return fail(400, "there are several Transfer-Encoding fields");
  const bool is_coded = num_codings > 0;  // an empty one, too, is a coding to some readers
  if (is_coded && lower(request_.header("transfer-encoding")) != "chunked")
    return fail(501, "the only transfer coding is chunked");
  if (is_coded && num_lengths > 0)
    return fail(400, "Content-Length and Transfer-Encoding exclude each other");
  if (is_coded && is_http_1_0_) return fail(400, "HTTP/1.0 knows no transfer coding");
  const std::string expected = lower(request_.header("expect"));
  expects_continue_ = expected == "100-continue";
  if (!expected.empty() && !expects_continue_) return fail(417, "only 100-continue is known");
  return true;
}

// A target that names a host has the word over the field (RFC 9112, 3.2.2): what checks hosts, and
// who logs them, must not look at another.
bool RequestReader::take_authority(std::string_view authority) {
  if (authority.empty() || authority.find('@') != std::string_view::npos) return false;
  std::erase_if(request_.headers, [](const auto& field) { return field.first == "host"; });
  request_.headers.emplace_back("host", authority);
  return true;
}

bool RequestReader::take_target(std::string_view target) {
  if (!target.starts_with('/') && target != "*") {  // http://host/path, as to a proxy
    const std::string scheme = lower(target.substr(0, 8));
    if (!scheme.starts_with("http://") && scheme != "https://") return false;
    const size_t authority = scheme == "https://" ? 8 : 7;
    const size_t end = std::min(target.find_first_of("/?#", authority), target.size());
    if (!take_authority(target.substr(authority, end - authority))) return false;
    target = end < target.size() && target[end] == '/' ? target.substr(end) : "/";
  }
  target = target.substr(0, target.find('#'));
  const size_t question = target.find('?');
  if (question != std::string_view::npos) request_.query = target.substr(question + 1);
  std::optional<std::string> path = decode_path(target.substr(0, question));
  if (!path || path->empty()) return false;
  request_.path = std::move(*path);
  return true;
}

void RequestReader::proceed(size_t body_bytes) {
  WEFT_CHECK(state_ == State::kHeaderDone, "state {}", static_cast<int>(state_));
  state_ = parser_->is_done() ? State::kDone : State::kBody;
  if (state_ == State::kDone) return;
  parser_->body_limit(body_bytes);
  if (content_length().value_or(0) > body_bytes)
    fail(413, fmt::format("the body has {} bytes; {} are allowed", *content_length(), body_bytes));
}

size_t RequestReader::feed_body(std::string_view data) {
  size_t taken = 0;
  boost::system::error_code error;
  while (!parser_->is_done() && taken < data.size()) {
    // The shortest end of a chunked body. Beast takes a last chunk that comes in smaller pieces for
    // a broken invariant.
    constexpr size_t kLastChunk = 5;
    if (parser_->chunked() && data.size() - taken < kLastChunk) return taken;
    const size_t before = body_bytes();
    const size_t now = parser_->put({data.data() + taken, data.size() - taken}, error);
    taken += now;
    // The same verdict whether it came at once or in pieces.
    const bool is_large = error == http::error::need_more
                              ? data.size() - taken > kMostChunkHeader
                              : now > kMostChunkHeader && body_bytes() == before;
    if (is_large) {
      fail(400, "the header of a chunk is too large");
      return taken;
    }
    if (error == http::error::need_more && ends_in_a_quote(data.substr(taken)))
      error = http::error::bad_chunk_extension;
    if (error == http::error::need_more) return taken;
    if (error) {
      failure_ = failure_of(error);
      state_ = State::kFailed;
      return taken;
    }
  }
  if (!parser_->is_done()) return taken;
  request_.body = std::move(parser_->get().body());
  state_ = State::kDone;
  return taken;
}

}  // namespace weft::serve
