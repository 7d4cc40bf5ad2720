#include "hub/hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <ostream>
#include <sstream>

#include "base/counted.h"
#include "base/error.h"
#include "base/progress.h"
#include "hub/blob_fetch.h"
#include "hub/cache.h"
#include "hub/file_choice.h"
#include "hub/repository.h"

namespace weft::hub {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kShownBytes = 1'000'000;  // less is there before a bar is

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string listed(const std::vector<GgufModel>& models) {
  constexpr size_t kMost = 24;
  std::string text;
  for (size_t i = 0; i < std::min(models.size(), kMost); ++i) {
    text += (i > 0 ? ", " : "") + models[i].quant;
  }
  return text + (models.size() > kMost ? ", ..." : "");
}

// What a name without a type means of a repository that has these files; otherwise a GGUF model.
bool has_safetensors(const std::vector<std::string>& names) {
  return contains(names, kConfig) &&
         (contains(names, kWeightsIndex) || !single_weights(names).empty());
}

// Whether all files of a safetensors model are among `names`, in the folder of a snapshot.
bool is_whole_safetensors(const std::vector<std::string>& names, const fs::path& snapshot) {
  if (!contains(names, kConfig) || !contains(names, kTokenizer)) return false;
  if (!contains(names, kWeightsIndex)) return !single_weights(names).empty();
  const auto weights = indexed_weights(read_text(snapshot / kWeightsIndex));
  return weights && std::ranges::all_of(
                        *weights, [&](const std::string& file) { return contains(names, file); });
}

// What opens the safetensors of a snapshot that holds these files: its folder, or one of them where
// a GGUF model lies beside them.
fs::path safetensors_in(const fs::path& snapshot, const std::vector<std::string>& names) {
  if (gguf_models(names).empty()) return snapshot;
  return snapshot /
         (contains(names, kWeightsIndex) ? std::string(kWeightsIndex) : single_weights(names));
}

// The one model that `name` means among what a hub lists.
GgufModel choose_gguf(const ModelName& name, const std::vector<std::string>& names) {
  const std::vector<GgufModel> all = gguf_models(names);
  if (all.empty()) {
    throw Error(ErrorKind::kModel, fmt::format("{} holds no GGUF model", name.repo),
                fmt::format("':{}' names one", name.quant), fmt::format("try {}", name.repo));
  }
  const std::vector<GgufModel> found = matching_models(all, name.quant);
  if (found.size() == 1 && found.front().is_whole) return found.front();
  if (found.size() == 1) {
    throw Error(ErrorKind::kModel,
                fmt::format("{} of {} lacks parts", found.front().files.front(), name.repo),
                "the repository does not hold all files of that split");
  }
  const std::string which = fmt::format("say which: {}:{}", name.repo, all.front().quant);
  if (found.empty()) {
    throw Error(ErrorKind::kModel, fmt::format("{} has no '{}'", name.repo, name.quant),
                "it has " + listed(all), which);
  }
  std::vector<std::string> files;
  for (const GgufModel& model : found) files.push_back(model.files.front());
  const bool by_type = name.quant.empty();
  throw Error(ErrorKind::kModel,
              fmt::format("{} holds {}", name.text(), counted(found.size(), "GGUF model")),
              by_type ? listed(found) : fmt::format("{}", fmt::join(files, ", ")),
              by_type ? which : fmt::format("name the file: {}:{}", name.repo, files.front()));
}

class Fetch {
 public:
  Fetch(const ModelName& name, const Settings& settings, const Watch& watch)
      : name_(name),
        settings_(settings),
        watch_(watch),
        client_(settings, watch.stop),
        cache_(settings.cache, name.repo) {}

  fs::path run() {
    listing_ = read_listing(client_, name_, settings_);
    cache_.make_folders();
    const std::vector<std::string> names = listing_.names();
    fs::path opened;
    if (name_.quant.empty() && has_safetensors(names)) {
      opened = fetch_safetensors(names);
    } else {
      if (name_.quant.empty() && gguf_models(names).empty()) refuse_formats(names);
      const GgufModel model = choose_gguf(name_, names);
      obtain(model.files);
      opened = snapshot() / model.files.front();
    }
    cache_.set_listing(listing_.commit, names);
    cache_.set_commit(name_.revision, listing_.commit);
    return opened;
  }

 private:
  fs::path snapshot() const { return cache_.snapshot(listing_.commit); }

  fs::path fetch_safetensors(const std::vector<std::string>& names) {
    std::vector<std::string> side;
    std::ranges::copy_if(names, std::back_inserter(side), is_side_file);
    if (!contains(side, kTokenizer)) {
      throw Error(ErrorKind::kModel, fmt::format("{} has no {}", name_.repo, kTokenizer),
                  "Weft reads tokenizers of that form alone",
                  "take a repository with it, or a GGUF model");
    }
    obtain(side);
    std::vector<std::string> weights = {single_weights(names)};
    if (contains(names, kWeightsIndex)) {
      const auto indexed = indexed_weights(read_text(snapshot() / kWeightsIndex));
      if (!indexed) {
        throw Error(ErrorKind::kModel,
                    fmt::format("{} of {} is malformed", kWeightsIndex, name_.repo),
                    "it names no weight files, or names that may not be written");
      }
      weights = *indexed;
    }
    obtain(weights);
    return safetensors_in(snapshot(), cache_.files_of(listing_.commit));
  }

  [[noreturn]] void refuse_formats(const std::vector<std::string>& names) const {
    const bool pickled = std::ranges::any_of(names, [](const std::string& name) {
      return name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth");
    });
    throw Error(ErrorKind::kModel,
                fmt::format("{} holds neither safetensors with a config.json nor GGUF", name_.repo),
                pickled ? "its weights are pickled, a form that can hold programs: Weft does not "
                          "open it"
                        : fmt::format("there are {} in it", counted(names.size(), "file")),
                "look for the same model in safetensors or GGUF");
  }

  // Makes sure that these files are in the snapshot.
  void obtain(const std::vector<std::string>& names) {
    std::vector<RemoteBlob> blobs;
    int64_t missing = 0;
    for (const std::string& name : names) {
      const RemoteFile* file = listing_.find(name);
      if (file == nullptr) {
        throw Error(ErrorKind::kModel, fmt::format("{} lacks {}", name_.repo, name),
                    "its index names it");
      }
      RemoteBlob blob = locate(client_, name_, listing_.commit, *file, settings_);
      missing += missing_bytes(blob);
      blobs.push_back(std::move(blob));
    }
    check_space(missing);
    int64_t known = 0;  // of those whose bytes were there before
    for (const RemoteBlob& blob : blobs) known += blob.file.num_bytes;
    known -= missing;
    std::optional<Progress> progress;
    if (missing >= kShownBytes) {
      progress.emplace(watch_.says, Progress::Options{"fetching " + name_.repo, missing,
                                                      Progress::Unit::kBytes, watch_.is_terminal});
    }
    const auto on_bytes = [&](int64_t num_bytes) {
      const int64_t old = std::clamp<int64_t>(num_bytes, 0, known);
      known -= old;
      if (progress) progress->add(num_bytes - old);
    };
    for (const RemoteBlob& blob : blobs) {
      fetch_blob(client_, cache_, name_, listing_.commit, blob, settings_, watch_, on_bytes);
    }
    if (progress) progress->finish();
  }

  int64_t missing_bytes(const RemoteBlob& blob) const {
    std::error_code absent;
    if (fs::exists(cache_.blob(blob.etag), absent)) return 0;
    const auto size = fs::file_size(cache_.incomplete(blob.etag), absent);
    const int64_t there = absent ? 0 : static_cast<int64_t>(size);
    return there > blob.file.num_bytes ? blob.file.num_bytes : blob.file.num_bytes - there;
  }

  void check_space(int64_t missing) const {
    std::error_code error;
    const fs::space_info space = fs::space(settings_.cache, error);
    if (error || static_cast<int64_t>(space.available) >= missing) return;
    throw Error(ErrorKind::kModel, fmt::format("not enough room to fetch {}", name_.text()),
                fmt::format("{:.1f} MB are missing, {} has {:.1f} MB free",
                            static_cast<double>(missing) / 1e6, settings_.cache.string(),
                            static_cast<double>(space.available) / 1e6),
                "free some, or set HF_HUB_CACHE to a larger disk");
  }

  const ModelName& name_;
  const Settings& settings_;
  const Watch& watch_;
  HttpClient client_;
  const RepoCache cache_;
  Listing listing_;
};

}  // namespace

std::optional<fs::path> find_cached(const ModelName& name, const Settings& settings) {
  const RepoCache cache(settings.cache, name.repo);
  const std::optional<std::string> commit = cache.commit_of(name.revision);
  if (!commit) return std::nullopt;
  const std::vector<std::string> here = cache.files_of(*commit);
  const fs::path snapshot = cache.snapshot(*commit);
  if (name.quant.empty() && is_whole_safetensors(here, snapshot))
    return safetensors_in(snapshot, here);
  // What is here may be one of several: what the repository has decides.
  const auto listing = settings.offline ? std::optional(here) : cache.listing_of(*commit);
  if (name.quant.empty() && (!listing || (has_safetensors(*listing) && !settings.offline)))
    return std::nullopt;
  const std::vector<GgufModel> found =
      matching_models(gguf_models(listing.value_or(here)), name.quant);
  if (found.size() != 1 || !found.front().is_whole) return std::nullopt;
  const std::vector<std::string>& files = found.front().files;
  const auto is_here = [&](const std::string& file) { return contains(here, file); };
  if (!std::ranges::all_of(files, is_here)) return std::nullopt;
  return snapshot / files.front();
}

fs::path fetch(const ModelName& name, const Settings& settings, const Watch& watch) {
  if (settings.offline) {
    throw Error(
        ErrorKind::kModel, fmt::format("{} is not on this machine in whole", name.text()),
        fmt::format("HF_HUB_OFFLINE forbids to fetch it; looked in {}", settings.cache.string()),
        "unset HF_HUB_OFFLINE, or copy the model's folder into that cache");
  }
  return Fetch(name, settings, watch).run();
}

}  // namespace weft::hub
