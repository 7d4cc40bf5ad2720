// Models by name: "user/repo" of a Hugging Face hub → files on this machine.
//
// Files lie in the cache of the Python package huggingface_hub, in its own layout, so that what one
// fetched the other finds:
//
//   $HF_HUB_CACHE/models--user--repo/
//     blobs/<etag>                       the bytes, once; <etag>.incomplete while they come: always
//                                        a beginning of the file without holes, which either goes
//                                        on
//     snapshots/<commit>/<name>          a link to ../../blobs/<etag>
//     refs/main                          the commit that the branch had
//     .weft/<commit>                     what the hub listed of that commit, a name a line: Weft's
//                                        own, as huggingface_hub's own .no_exist beside it
//   $HF_HUB_CACHE/.locks/models--user--repo/<etag>.lock    flock, held while a blob is fetched
//
// What is there in whole is taken without asking the network; otherwise it is fetched over HTTPS,
// through several connections, each file checked against the hash that the hub names. Nothing is
// written outside of the cache, and the token goes to the endpoint's own host alone.
// Errors are Error(kModel): what happened, why, and what mends it. The format of the API follows
// huggingface.co/docs/hub/api.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "hub/model_name.h"

namespace weft::hub {

struct Settings {
  std::string endpoint = "https://huggingface.co";  // without a slash at the end
  std::string token;                                // empty: none
  std::filesystem::path cache;                      // absolute
  bool offline = false;
  std::string ca_file;  // certificates to trust in place of the system's; empty: the system's

  // Figures that tests make small.
  int num_connections = 8;
  int64_t chunk_bytes = int64_t{8} << 20;      // of one request; out of order at most
                                               // num_connections of them are held in memory
  int max_failures = 5;                        // in a row, with nothing received between them
  std::chrono::milliseconds retry_delay{500};  // doubles with each failure in a row
  std::chrono::seconds stall_limit{30};        // without a byte, until a transfer counts as failed
};

// HF_ENDPOINT, HF_TOKEN (HF_TOKEN_PATH), HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and the other
// variables that huggingface_hub reads for the same; SSL_CERT_FILE, CURL_CA_BUNDLE and
// REQUESTS_CA_BUNDLE. Error(kUsage) where no folder follows from them, or a value is malformed.
Settings read_settings(const Environment& environment);

// Where progress is said, and what ends it.
struct Watch {
  std::ostream& says;
  bool is_terminal = false;
  const std::atomic<bool>& stop;
};

// Thrown once `stop` is set; what has come so far is kept for the next time.
struct Stopped {};

// What to open of a model that is in the cache whole: the folder of a snapshot, or a file in one.
// Nothing where a part is missing, or where no type was named and the hub may mean something
// else than the GGUF file that happens to be here: only offline that one is taken. Touches no
// network.
std::optional<std::filesystem::path> find_cached(const ModelName& name, const Settings& settings);

// The same after asking the hub for the revision's newest state, and fetching what is missing.
std::filesystem::path fetch(const ModelName& name, const Settings& settings, const Watch& watch);

}  // namespace weft::hub
