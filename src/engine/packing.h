// weft pack: the panels of every rank of a split, written once and mapped ever after; and the split
// of a model that was packed.
#pragma once

#include <functional>
#include <string>

#include "engine/engine.h"

namespace weft::engine {

struct ModelSource;

// Called with the bytes of panels written so far and in all, from the calling thread. Returning
// false stops the work: nothing is left behind.
using OnPack = std::function<bool(int64_t done, int64_t total)>;

struct PackRequest {
  EngineOptions engine;  // model_path, topology and threads_per_rank (0: all cores) count
  std::string folder;    // where to; empty: the model's name and split in the current folder
  bool replace = false;  // a packed model that is there already
};

struct PackReport {
  std::string folder, topology;
  int num_ranks = 0;
  int64_t model_bytes = 0;   // of the model's files
  int64_t packed_bytes = 0;  // of the ranks' files
  bool stopped = false;
};

// Errors: kUsage for a split or a folder that cannot be, kModel for the model's files and for what
// cannot be written.
PackReport pack(const PackRequest& request, const OnPack& on_pack = {});

struct VerifyReport {
  std::string path;
  int num_ranks = 0;
  int64_t num_bytes = 0;  // of panels that were read
  bool stopped = false;
};

// Reads every byte of a packed model's panels and compares their sums, which a run does not.
// num_threads 0: all cores. on_bytes: bytes read so far and in all, from one thread at a time;
// returning false stops. Error(kModel) naming the panels that are not those that were packed,
// kUsage where the model is none that was packed.
VerifyReport verify_packed(const std::string& path, int num_threads, const OnPack& on_bytes = {});

// The split that a packed model serves. Error(kUsage) where the options ask for another one.
parallel::Topology packed_topology(const ModelSource& source, const EngineOptions& options);

}  // namespace weft::engine
