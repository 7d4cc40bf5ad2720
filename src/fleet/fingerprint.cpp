#include "fleet/fingerprint.h"

#include <filesystem>
#include <span>

#include "base/sha256.h"
#include "checkpoint/model_digest.h"
#include "engine/numerics.h"

namespace weft::fleet {
namespace {

constexpr size_t kHexDigits = 16;

}  // namespace

std::string fingerprint(const std::string& model_path, const std::string& numerics,
                        checkpoint::FileDigests& digests) {
  Sha256 sum;
  sum.add(std::as_bytes(std::span(numerics)));
  for (const std::filesystem::path& file : checkpoint::files_of_model(model_path)) {
    const std::string digest = digests.digest(file);
    sum.add(std::as_bytes(std::span(digest)));
  }
  return "fp_" + sum.finish().substr(0, kHexDigits);
}

std::string fingerprint(const engine::EngineOptions& options) {
  checkpoint::FileDigests digests = checkpoint::FileDigests::of_user();
  return fingerprint(options.model_path, engine::numerics_id(options), digests);
}

}  // namespace weft::fleet
