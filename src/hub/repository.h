// What a hub says of a repository, and how its refusals read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hub/http.h"

namespace weft::hub {

struct RemoteFile {
  std::string name;        // safe to write
  int64_t num_bytes = -1;  // < 0: not said
  std::string sha256;      // of a large file; empty: not said
  std::string git_sha1;    // of a small one: git's name of its blob; empty: not said
};

struct Listing {
  std::string commit;
  std::vector<RemoteFile> files;  // those with names that are safe

  std::vector<std::string> names() const;
  const RemoteFile* find(const std::string& name) const;
};

// GET /api/models/<repo>/revision/<revision>?blobs=true. Error(kModel) in words for everything that
// the hub refuses.
Listing read_listing(HttpClient& client, const ModelName& name, const Settings& settings);

// One file, located: what a transfer and the cache need.
struct RemoteBlob {
  RemoteFile file;       // with size and hash, where anyone said them
  std::string etag;      // the blob's name in the cache
  std::string location;  // where its bytes lie
};

// HEAD /<repo>/resolve/<commit>/<name>.
RemoteBlob locate(HttpClient& client, const ModelName& name, const std::string& commit,
                  const RemoteFile& file, const Settings& settings);

// Error(kModel): what the status of an answer about `what` means for a person.
[[noreturn]] void refuse(const Response& response, const std::string& what, const ModelName& name,
                         const Settings& settings);
[[noreturn]] void refuse(const TransportError& error, const std::string& what,
                         const Settings& settings);

}  // namespace weft::hub
