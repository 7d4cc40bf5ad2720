// The manifest of a packed model, packed.json: what was packed, for which split, and which files
// belong together.
//
//   {"format": "weft packed model", "format_version": 1, "panel_layout_version": 1,
//    "model": "SmolLM2 135M Instruct", "source": "SmolLM2-135M-Instruct.Q4_1.gguf",
//    "container": "gguf",
//    "split": {"tensor_parallel_size": 3, "pipeline_parallel": "2", "tp_weights": "", "stages":
//    ""}, "vectors": {"bytes": 5001216, "sha256": "..."}, "side_files": [{"name": "config.json",
//    "bytes": 704, "sha256": "..."}], "matrices": [{"name":
//    "token_embd.weight", "type": "Q4_1", "shape": [49152, 576]}, ...], "ranks": [{"bytes":
//    20361216, "table_sha256": "..."}, ...]}
//
// Beside it lie vectors.gguf (metadata and tokenizer with all tensors of one row) or
// vectors.safetensors (with the model's json files), and one rank-NNNN.panels a rank
// (panel_table.h). Names are fixed: a manifest cannot point anywhere else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "tensor/raw_tensor.h"

namespace weft::checkpoint {

inline constexpr std::string_view kManifestName = "packed.json";
std::string vectors_file_name(FileFormat container);
std::string panel_file_name(int64_t rank);

// The split as its options say it (parallel/topology.h); empty and zero: not given.
struct PackedSplit {
  int64_t tensor_parallel_size = 0;
  std::string pipeline_parallel, tp_weights, stages;
};

// Files of a safetensors model that say what its weights mean.
inline constexpr std::string_view kSideFiles[] = {"config.json", "tokenizer.json",
                                                  "tokenizer_config.json", "generation_config.json",
                                                  "chat_template.jinja"};

struct Manifest {
  struct FileMark {
    int64_t num_bytes = 0;
    std::string sha256;
  };
  struct SideFile {
    std::string name;  // one of kSideFiles
    FileMark mark;     // the sum is of the whole file
  };
  std::string model, source;  // for people; without control characters once they were read
  FileFormat container = FileFormat::kGguf;
  PackedSplit split;
  FileMark vectors;  // the sum is of the whole file
  // Those that the folder has, and no others count. None: of a folder from before they were listed.
  std::optional<std::vector<SideFile>> side_files;
  std::vector<tensor::RawTensor> matrices;  // whose bytes are panels alone: data is null
  std::vector<FileMark> ranks;              // the sums are of the tables
};

// Error(kModel) for anything else; every number is within limits. `file` is the name for errors.
Manifest parse_manifest(std::span<const std::byte> bytes, std::string_view file);
std::string manifest_text(const Manifest& manifest);

}  // namespace weft::checkpoint
