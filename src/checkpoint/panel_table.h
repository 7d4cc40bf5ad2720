// The table at the head of a rank's file of a packed model: which part of which matrix lies where.
//
//   "WEFTPANL", u32 format version, u32 panel layout version, u64 num_entries,
//   num_entries x { text tensor, u32 ggml type, i64 rows begin, end, i64 inputs begin, end,
//                   i64 num_units, i64 offset, i64 num_bytes, text SHA-256 of the panels }
//   zeros up to a multiple of 4096
//   panels of the first entry; zeros up to a multiple of 4096; panels of the second; ...
//
// Text: u64 length, bytes. Little-endian. Offsets count from the beginning of the file, in the
// order in which a rank loads its linears. Panels begin on pages, so that each can be mapped, read
// ahead and touched by itself; inside they are as tensor/panel.h describes. The sums tie a file to
// its manifest through the sum of the table; loading does not read the panels to compare them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/range.h"
#include "tensor/dtype.h"

namespace weft::checkpoint {

inline constexpr uint32_t kPackedFormatVersion = 1;
inline constexpr int64_t kPanelFileAlignment = 4096;

// A rank's part of one matrix.
struct PanelEntry {
  std::string tensor;
  tensor::DType dtype = tensor::DType::kF32;  // of the file that was packed
  Range rows;                                 // of the matrix
  Range inputs;                               // that the units cover
  int64_t num_units = 0;
  Range bytes;                                // of the file
  std::string sha256 = std::string(64, '0');  // of those bytes

  // Whether both are the same part of the same matrix, wherever it lies.
  bool same_part(const PanelEntry& other) const;
};

struct PanelTable {
  std::vector<PanelEntry> entries;
  int64_t table_bytes = 0;  // without the zeros that follow
};

// Error(kModel) for anything that is not a whole file of this version: entries that overlap, leave
// the file, or do not fill it. `file` is the name for errors.
PanelTable parse_panel_table(std::span<const std::byte> bytes, std::string_view file);

// Places the entries' bytes, whose sizes are known, one after the other.
void place_entries(std::vector<PanelEntry>& entries);
// The head of the file, zeros included: as many bytes for the same tensors whatever the sums.
std::string panel_table_bytes(const std::vector<PanelEntry>& entries);
// Without the zeros: what the manifest's sum is of.
int64_t panel_table_size(const std::vector<PanelEntry>& entries);

// Whether the text is 64 lower-case hexadecimal digits.
bool is_sha256(std::string_view text);

// Refuses a file of a version that this program does not read; `what`: "the packed format".
[[noreturn]] void refuse_version(std::string_view file, std::string_view what, uint64_t found,
                                 uint64_t known);

}  // namespace weft::checkpoint
