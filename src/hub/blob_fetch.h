// One file into the cache: locked, resumed, checked, linked.
#pragma once

#include <functional>

#include "hub/cache.h"
#include "hub/repository.h"

namespace weft::hub {

// Fetches the blob where the cache lacks it and links it into the snapshot. on_bytes: bytes that
// are there now, also those of an earlier try; negative where they have to be fetched again.
// Error(kModel) for refusals, a wrong hash, a full disk. What came in order is kept for the next
// time, but where its hash is wrong.
void fetch_blob(HttpClient& client, const RepoCache& cache, const ModelName& name,
                const std::string& commit, const RemoteBlob& blob, const Settings& settings,
                const Watch& watch, const std::function<void(int64_t num_bytes)>& on_bytes);

}  // namespace weft::hub
