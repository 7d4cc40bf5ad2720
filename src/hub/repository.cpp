#include "hub/repository.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/did_you_mean.h"
#include "base/error.h"

namespace weft::hub {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxListingBytes = int64_t{64} << 20;  // a hundred thousand files
constexpr int64_t kMaxFileBytes = int64_t{1} << 46;      // beyond any hub's

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

int64_t size_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return -1;
  const auto size = found->get<int64_t>();
  return size < 0 || size > kMaxFileBytes ? -1 : size;
}

RemoteFile read_file(const Json& sibling) {
  RemoteFile file{text_at(sibling, "rfilename"), size_at(sibling, "size"), "", ""};
  if (const std::string id = text_at(sibling, "blobId"); is_hex(id, 40)) file.git_sha1 = id;
  const auto lfs = sibling.find("lfs");
  if (lfs != sibling.end() && lfs->is_object()) {
    file.sha256 = text_at(*lfs, "sha256");
    if (file.sha256.empty()) file.sha256 = text_at(*lfs, "oid");
    if (!is_hex(file.sha256, 64)) file.sha256.clear();
    file.git_sha1.clear();  // of the pointer, not of the file
    if (const int64_t size = size_at(*lfs, "size"); size >= 0) file.num_bytes = size;
  }
  return file;
}

// Strings at `key` of the objects in a list that the hub gives; none where it gives no list.
std::vector<std::string> ask_names(HttpClient& client, const std::string& url,
                                   std::initializer_list<const char*> lists, const char* key) {
  std::vector<std::string> names;
  try {
    const Response response = client.get(url, kMaxListingBytes);
    const Json json = Json::parse(response.body, nullptr, false);
    const auto add = [&](const Json& list) {
      for (const Json& entry : list) {
        if (entry.is_object() && !text_at(entry, key).empty()) names.push_back(text_at(entry, key));
      }
    };
    if (json.is_array()) add(json);
    for (const char* list : lists) {
      if (json.is_object() && json.contains(list)) add(json[list]);
    }
  } catch (const TransportError&) {  // a suggestion is not worth a second error
  }
  return names;
}

std::string suggested_repo(HttpClient& client, const ModelName& name, const Settings& settings) {
  const std::string model = name.repo.substr(name.repo.find('/') + 1);
  std::vector<std::string> found = ask_names(
      client,
      fmt::format("{}/api/models?search={}&limit=20", settings.endpoint, escaped_path(model)), {},
      "id");
  std::erase(found, name.repo);
  return did_you_mean(name.repo, found);
}

std::string suggested_revision(HttpClient& client, const ModelName& name,
                               const Settings& settings) {
  const std::vector<std::string> found = ask_names(
      client, fmt::format("{}/api/models/{}/refs", settings.endpoint, escaped_path(name.repo)),
      {"branches", "tags"}, "name");
  return did_you_mean(name.revision, found);
}

bool is_revision_missing(const Response& response) {
  return response.header("x-error-code") == "RevisionNotFound";
}

bool is_repo_missing(const Response& response) {
  // The hub tells strangers 401 for what does not exist, so that private names stay private.
  return response.header("x-error-code") == "RepoNotFound" ||
         (response.header("x-error-code").empty() &&
          (response.status == 404 || response.status == 401));
}

// A hub refuses for want of a valid token: what became of ours, and what mends it.
struct TokenFate {
  bool was_sent;
  std::string why, mend;
};

TokenFate fate_of_token(const Settings& settings, std::string mend) {
  if (settings.token.empty()) return {false, "no token was given", std::move(mend)};
  if (may_send_token(settings.endpoint, settings.endpoint)) return {true, {}, std::move(mend)};
  return {false, "the token was not sent: the endpoint is not https",
          "set HF_ENDPOINT to an address of https"};
}

[[noreturn]] void refuse_listing(HttpClient& client, const Response& response,
                                 const ModelName& name, const Settings& settings) {
  if (is_revision_missing(response)) {
    throw Error(ErrorKind::kModel,
                fmt::format("{} has no revision '{}'{}", name.repo, name.revision,
                            suggested_revision(client, name, settings)),
                "it is no branch, tag or commit of the repository");
  }
  if (is_repo_missing(response)) {
    const TokenFate token = fate_of_token(settings, "set HF_TOKEN");
    throw Error(ErrorKind::kModel,
                fmt::format("{} has no model '{}'{}", settings.endpoint, name.repo,
                            suggested_repo(client, name, settings)),
                token.was_sent ? "it does not exist, or the token may not see it"
                               : "it does not exist, or it is private and " + token.why,
                "check the name; for a private model " + token.mend);
  }
  refuse(response, name.repo, name, settings);
}

std::string unquoted(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

int64_t parse_size(std::string_view text) {
  int64_t size = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && size >= 0 && size <= kMaxFileBytes ? size : -1;
}

}  // namespace

std::vector<std::string> Listing::names() const {
  std::vector<std::string> names;
  for (const RemoteFile& file : files) names.push_back(file.name);
  return names;
}

const RemoteFile* Listing::find(const std::string& name) const {
  const auto found = std::ranges::find(files, name, &RemoteFile::name);
  return found == files.end() ? nullptr : &*found;
}

void refuse(const Response& response, const std::string& what, const ModelName& name,
            const Settings& settings) {
  const std::string_view code = response.header("x-error-code");
  const std::string page = fmt::format("{}/{}", settings.endpoint, name.repo);
  if (code == "GatedRepo") {
    const TokenFate token = fate_of_token(
        settings, fmt::format("set HF_TOKEN to a token of {}/settings/tokens", settings.endpoint));
    throw Error(ErrorKind::kModel,
                fmt::format("{} is gated: its licence must be accepted first", name.repo),
                token.was_sent ? "the token's account has not accepted it, or waits for approval"
                               : token.why,
                fmt::format("accept it at {}, then {}", page, token.mend));
  }
  if (response.status == 401 || response.status == 403) {
    const TokenFate token = fate_of_token(settings, "set HF_TOKEN to a token that may read it");
    throw Error(ErrorKind::kModel, fmt::format("the hub refuses {} ({})", what, response.status),
                token.was_sent ? "the token is not valid for it" : token.why,
                fmt::format("see {}; {}", page, token.mend));
  }
  if (response.status == 429) {
    throw Error(ErrorKind::kModel, fmt::format("the hub takes no more requests for {}", what),
                "429: too many in a short time",
                "wait some minutes; a token (HF_TOKEN) has a higher limit");
  }
  throw Error(ErrorKind::kModel, fmt::format("the hub refuses {} ({})", what, response.status),
              response.status >= 500 ? "it fails itself" : "",
              response.status >= 500 ? "try again later" : fmt::format("see {}", page));
}

void refuse(const TransportError& error, const std::string& what, const Settings& settings) {
  throw Error(ErrorKind::kModel, fmt::format("cannot fetch {} from {}", what, settings.endpoint),
              error.what,
              error.is_certificate
                  ? "set SSL_CERT_FILE to the certificates to trust, or correct HF_ENDPOINT"
                  : "see to the network (https_proxy, HF_ENDPOINT), then run the same command "
                    "again; it goes on where it stopped");
}

Listing read_listing(HttpClient& client, const ModelName& name, const Settings& settings) {
  const std::string url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", settings.endpoint,
                                      escaped_path(name.repo),
                                      // A revision's own slashes are no path: refs/pr/1.
                                      [&] {
                                        std::string escaped;
                                        for (const char c : name.revision)
                                          escaped += c == '/' ? "%2F" : std::string(1, c);
                                        return escaped;
                                      }());
  Response response;
  try {
    response = client.get(url, kMaxListingBytes);
  } catch (const TransportError& error) {
    refuse(error, name.repo, settings);
  }
  if (response.status != 200) refuse_listing(client, response, name, settings);
  const Json json = Json::parse(response.body, nullptr, false);
  Listing listing;
  if (json.is_object()) listing.commit = text_at(json, "sha");
  if (!is_commit(listing.commit) || !json.contains("siblings") || !json["siblings"].is_array()) {
    throw Error(ErrorKind::kModel, fmt::format("{} is no hub", settings.endpoint),
                fmt::format("its answer about {} names no commit or no files", name.repo),
                "correct HF_ENDPOINT");
  }
  for (const Json& sibling : json["siblings"]) {
    if (!sibling.is_object()) continue;
    RemoteFile file = read_file(sibling);
    if (is_safe_file_name(file.name)) listing.files.push_back(std::move(file));
  }
  return listing;
}

RemoteBlob locate(HttpClient& client, const ModelName& name, const std::string& commit,
                  const RemoteFile& file, const Settings& settings) {
  const std::string url = fmt::format("{}/{}/resolve/{}/{}", settings.endpoint,
                                      escaped_path(name.repo), commit, escaped_path(file.name));
  HttpClient::Place place;
  try {
    place = client.locate(url);
  } catch (const TransportError& error) {
    refuse(error, file.name, settings);
  }
  const Response& response = place.response;
  if (response.status >= 400) refuse(response, file.name, name, settings);
  const auto lie = [&](const std::string& why) {
    throw Error(ErrorKind::kModel, fmt::format("the hub contradicts itself about {}", file.name),
                why, "run the same command again; then report it to the hub");
  };
  const std::string_view linked = response.header("x-linked-etag");
  RemoteBlob blob{file, unquoted(linked.empty() ? response.header("etag") : linked),
                  place.location};
  if (!is_safe_etag(blob.etag)) lie("its ETag is missing or malformed");
  const std::string_view said = response.header("x-repo-commit");
  if (!said.empty() && said != commit) lie("it answers for another commit");
  const std::string_view linked_size = response.header("x-linked-size");
  // The length of a redirect's own body says nothing.
  const int64_t size = parse_size(!linked_size.empty()     ? linked_size
                                  : response.status == 200 ? response.header("content-length")
                                                           : "");
  if (file.num_bytes >= 0 && size >= 0 && size != file.num_bytes) {
    lie(fmt::format("it is {} bytes long, and {}", file.num_bytes, size));
  }
  if (blob.file.num_bytes < 0) blob.file.num_bytes = size;
  if (blob.file.num_bytes < 0) lie("it does not say how long the file is");
  if (is_hex(blob.etag, 64)) {
    if (!file.sha256.empty() && file.sha256 != blob.etag) lie("it names two hashes");
    blob.file.sha256 = blob.etag;
  } else if (is_hex(blob.etag, 40) && file.sha256.empty()) {
    blob.file.git_sha1 = blob.etag;
  }
  return blob;
}

}  // namespace weft::hub
