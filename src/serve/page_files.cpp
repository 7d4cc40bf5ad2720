#include "serve/page_files.h"

#include <algorithm>
#include <charconv>

namespace weft::serve {
namespace {

constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// Takes the part before the separator off the list.
std::string_view next_part(std::string_view& list, char separator) {
  const size_t end = std::min(list.find(separator), list.size());
  const std::string_view part = trimmed(list.substr(0, end));
  list.remove_prefix(std::min(end + 1, list.size()));
  return part;
}

// RFC 9110, 12.5.3: "gzip", "gzip;q=0.5"; a weight of 0 refuses it.
bool accepts_gzip(std::string_view list) {
  while (!list.empty()) {
    std::string_view item = next_part(list, ',');
    if (next_part(item, ';') != "gzip") continue;
    std::string_view weight = trimmed(item);
    if (!weight.starts_with("q=")) return true;
    weight.remove_prefix(2);
    double value = 1.0;
    std::from_chars(weight.data(), weight.data() + weight.size(), value);
    return value > 0;
  }
  return false;
}

// RFC 9110, 13.1.2: weak comparison.
bool has_etag(std::string_view list, std::string_view etag) {
  while (!list.empty()) {
    std::string_view item = next_part(list, ',');
    if (item == "*") return true;
    if (item.starts_with("W/")) item.remove_prefix(2);
    if (item == etag) return true;
  }
  return false;
}

HttpHeaders headers_of(const PageFile& file) {
  const bool is_named_by_content = file.path.starts_with("/assets/");
  return {
      {"ETag", std::string(file.etag)},
      {"Cache-Control", is_named_by_content ? "public, max-age=31536000, immutable" : "no-cache"},
      {"Content-Security-Policy", std::string(kPolicy)},
      {"Referrer-Policy", "no-referrer"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
      {"Cross-Origin-Resource-Policy", "same-origin"},
      {"Vary", "Accept-Encoding"},
  };
}

}  // namespace

const PageFile* find_page_file(std::string_view path) {
  const std::span<const PageFile> files = page_files();
  const auto found = std::ranges::lower_bound(files, path, {}, &PageFile::path);
  return found != files.end() && found->path == path ? &*found : nullptr;
}

void respond_page_file(const std::shared_ptr<Exchange>& exchange) {
  const HttpRequest& request = exchange->request();
  const PageFile* file = find_page_file(request.path);
  if (!file) {
    exchange->respond(404, "text/plain; charset=utf-8", "There is no such page.\n");
    return;
  }
  HttpHeaders headers = headers_of(*file);
  const std::string content_type(file->content_type);
  if (has_etag(request.header("if-none-match"), file->etag)) {
    exchange->respond(304, content_type, "", std::move(headers));
    return;
  }
  const bool compressed = !file->gzip.empty() && accepts_gzip(request.header("accept-encoding"));
  if (compressed) headers.emplace_back("Content-Encoding", "gzip");
  exchange->respond(200, content_type, std::string(compressed ? file->gzip : file->bytes),
                    std::move(headers));
}

}  // namespace weft::serve
