#include "checkpoint/panel_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "checkpoint/byte_reader.h"
#include "checkpoint/refuse.h"
#include "tensor/panel.h"

namespace weft::checkpoint {
namespace {

constexpr std::string_view kMagic = "WEFTPANL";
constexpr uint64_t kMaxNameBytes = 65535;
// The least that an entry can take: a name of one byte.
constexpr uint64_t kLeastEntryBytes = 8 + 1 + 4 + 7 * 8 + 8 + 64;
// Far above any matrix, far below what sums of a few could overflow.
constexpr int64_t kMaxDimension = int64_t{1} << 40;

void check_head(ByteReader& in) {
  char magic[kMagic.size()];
  for (char& c : magic) c = in.number<char>();
  if (std::string_view(magic, sizeof(magic)) != kMagic)
    refuse(in.file(), "does not begin with \"WEFTPANL\"", "it is no panel file of a packed model");
  const auto format = in.number<uint32_t>();
  if (format != kPackedFormatVersion)
    refuse_version(in.file(), "the packed format", format, kPackedFormatVersion);
  const auto layout = in.number<uint32_t>();
  if (layout != tensor::kPanelLayoutVersion)
    refuse_version(in.file(), "the panel layout", layout, tensor::kPanelLayoutVersion);
}

Range read_range(ByteReader& in, std::string_view what) {
  const Range range{in.number<int64_t>(), in.number<int64_t>()};
  if (range.begin < 0 || range.end <= range.begin || range.end > kMaxDimension)
    refuse(in.file(),
           fmt::format("{} holds {} {} to {}", in.subject(), what, range.begin, range.end),
           kDamaged);
  return range;
}

PanelEntry read_entry(ByteReader& in, uint64_t number, uint64_t count) {
  in.set_subject(fmt::format("entry {} of {}", number, count));
  PanelEntry entry;
  const std::string_view name = in.text();
  if (name.empty() || name.size() > kMaxNameBytes)
    refuse(in.file(), fmt::format("{} has a name of {} bytes", in.subject(), name.size()),
           kDamaged);
  entry.tensor = name;
  in.set_subject(fmt::format("the panels of {}", shown(entry.tensor)));
  const auto type = in.number<uint32_t>();
  const std::optional<tensor::DType> dtype = tensor::dtype_from_ggml(type);
  if (!dtype) refuse(in.file(), fmt::format("{} have the type {}", in.subject(), type), kDamaged);
  entry.dtype = *dtype;
  entry.rows = read_range(in, "rows");
  entry.inputs = read_range(in, "inputs");
  entry.num_units = in.number<int64_t>();
  if (entry.num_units < 1 || entry.num_units > entry.inputs.size())
    refuse(in.file(),
           fmt::format("{} hold {} units of {} inputs", in.subject(), entry.num_units,
                       entry.inputs.size()),
           kDamaged);
  entry.bytes.begin = in.number<int64_t>();
  entry.bytes.end = in.number<int64_t>();  // their number, until they are placed
  entry.sha256 = in.text();
  if (!is_sha256(entry.sha256))
    refuse(in.file(), fmt::format("{} have no SHA-256 sum", in.subject()), kDamaged);
  return entry;
}

// Panels follow each other from the table to the end of the file, each on the next page: then none
// overlap, none leave the file, and no byte is nobody's.
void check_places(PanelTable& table, int64_t file_bytes, std::string_view file) {
  int64_t end = table.table_bytes;
  for (PanelEntry& entry : table.entries) {
    const int64_t offset = entry.bytes.begin, num_bytes = entry.bytes.end;
    const int64_t expected = round_up(end, kPanelFileAlignment);
    if (offset != expected)
      refuse(file,
             fmt::format("the panels of {} begin at byte {}, not at {}", shown(entry.tensor),
                         offset, expected),
             kDamaged);
    if (num_bytes < 1 || offset > file_bytes || num_bytes > file_bytes - offset)
      refuse(file,
             fmt::format("the panels of {} take {} bytes from byte {} of a file of {}",
                         shown(entry.tensor), num_bytes, offset, file_bytes),
             kDamaged, "pack the model again");
    entry.bytes = {offset, offset + num_bytes};
    end = entry.bytes.end;
  }
  const int64_t expected = round_up(end, kPanelFileAlignment);
  if (file_bytes != expected)
    refuse(file, fmt::format("is {} bytes long, its table describes {}", file_bytes, expected),
           kDamaged, "pack the model again");
}

template <typename T>
void append(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void append_text(std::string& out, std::string_view text) {
  append(out, uint64_t{text.size()});
  out += text;
}

std::string unpadded_bytes(const std::vector<PanelEntry>& entries) {
  std::string out(kMagic);
  append(out, kPackedFormatVersion);
  append(out, tensor::kPanelLayoutVersion);
  append(out, uint64_t{entries.size()});
  for (const PanelEntry& entry : entries) {
    append_text(out, entry.tensor);
    append(out, tensor::info(entry.dtype).ggml_id);
    for (const int64_t number :
         {entry.rows.begin, entry.rows.end, entry.inputs.begin, entry.inputs.end, entry.num_units,
          entry.bytes.begin, entry.bytes.size()})
      append(out, number);
    append_text(out, entry.sha256);
  }
  return out;
}

}  // namespace

bool is_sha256(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

void refuse_version(std::string_view file, std::string_view what, uint64_t found, uint64_t known) {
  refuse(file, fmt::format("is version {} of {}; this program reads {}", found, what, known),
         "it was packed by another version of weft", "pack the model again: weft pack MODEL");
}

bool PanelEntry::same_part(const PanelEntry& other) const {
  return tensor == other.tensor && dtype == other.dtype && rows == other.rows &&
         inputs == other.inputs && num_units == other.num_units &&
         bytes.size() == other.bytes.size();
}

PanelTable parse_panel_table(std::span<const std::byte> bytes, std::string_view file) {
  ByteReader in(bytes, file);
  check_head(in);
  const auto count = in.number<uint64_t>();
  in.set_subject("the table");
  in.require_room(count, kLeastEntryBytes);
  PanelTable table;
  table.entries.reserve(static_cast<size_t>(count));
  std::set<std::string_view> names;
  for (uint64_t i = 0; i < count; ++i) {
    table.entries.push_back(read_entry(in, i, count));
    if (!names.insert(table.entries.back().tensor).second)
      refuse(file, fmt::format("{} are there twice", in.subject()), kDamaged);
  }
  table.table_bytes = static_cast<int64_t>(in.position());
  check_places(table, static_cast<int64_t>(bytes.size()), file);
  return table;
}

void place_entries(std::vector<PanelEntry>& entries) {
  int64_t end = panel_table_size(entries);
  for (PanelEntry& entry : entries) {
    const int64_t begin = round_up(end, kPanelFileAlignment);
    end = begin + entry.bytes.size();
    entry.bytes = {begin, end};
  }
}

std::string panel_table_bytes(const std::vector<PanelEntry>& entries) {
  std::string out = unpadded_bytes(entries);
  out.resize(static_cast<size_t>(round_up(static_cast<int64_t>(out.size()), kPanelFileAlignment)));
  return out;
}

int64_t panel_table_size(const std::vector<PanelEntry>& entries) {
  return static_cast<int64_t>(unpadded_bytes(entries).size());
}

}  // namespace weft::checkpoint
