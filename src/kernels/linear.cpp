// What surrounds the matrix kernels and is the same for every instruction set.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/activation_tables.h"
#include "kernels/kernels.h"
#include "kernels/panel_codes.h"

namespace weft::kernels {
namespace {

constexpr int64_t kAlignment = 64;

int64_t value_bytes(ActivationType type) {
  switch (type) {
    case ActivationType::kF32:
      return 4;
    case ActivationType::kBF16:
      return 2;
    case ActivationType::kInt8:
      return 1;
  }
  WEFT_CHECK(false, "activation type {}", static_cast<int>(type));
}

// Of all tokens, each part 64-byte aligned. Second terms have the sizes of the first.
struct Sizes {
  int64_t values = 0, scales = 0, sums = 0, outliers = 0;
  int64_t term() const { return values + 2 * scales + sums; }
};
Sizes sizes_of(ActivationType type, int64_t num_tokens, const tensor::InputMap& map) {
  const int64_t groups = num_tokens * map.num_groups();
  Sizes sizes;
  sizes.values = round_up(groups * kGroupInputs * value_bytes(type), kAlignment);
  if (type != ActivationType::kInt8) return sizes;
  sizes.scales = round_up(groups * 4, kAlignment);
  sizes.sums = round_up(groups * 8, kAlignment);
  if (map.is_whole())
    sizes.outliers = round_up(num_tokens * ceil_div(map.num_groups(), 8), kAlignment);
  return sizes;
}

Int8Term place_term(const Sizes& sizes, std::byte* base) {
  Int8Term term;
  term.codes = reinterpret_cast<int8_t*>(base);
  term.scales = reinterpret_cast<float*>(base + sizes.values);
  term.scaled_sums = reinterpret_cast<float*>(base + sizes.values + sizes.scales);
  term.minus_sums = reinterpret_cast<int32_t*>(base + sizes.values + 2 * sizes.scales);
  return term;
}

// Tables of a term, the first of all tokens' codes.
constexpr int kTermTables = 4;
void append_tables(const Int8Term& term, int64_t num_groups, ActivationTable* out) {
  out[0] = {reinterpret_cast<std::byte*>(term.codes), num_groups * kGroupInputs};
  out[1] = {reinterpret_cast<std::byte*>(term.scales), num_groups * 4};
  out[2] = {reinterpret_cast<std::byte*>(term.scaled_sums), num_groups * 4};
  out[3] = {reinterpret_cast<std::byte*>(term.minus_sums), num_groups * 8};
}

void copy_rows(const ActivationTable& from, const ActivationTable& to, Range rows) {
  std::memcpy(to.rows + rows.begin * to.row_bytes, from.rows + rows.begin * from.row_bytes,
              static_cast<size_t>(rows.size() * to.row_bytes));
}

// group: of all tokens.
void copy_group(const Int8Term& from, const Int8Term& to, int64_t group) {
  std::memcpy(to.codes + group * kGroupInputs, from.codes + group * kGroupInputs, kGroupInputs);
  to.scales[group] = from.scales[group];
  to.scaled_sums[group] = from.scaled_sums[group];
  std::memcpy(to.minus_sums + 2 * group, from.minus_sums + 2 * group, 2 * sizeof(int32_t));
}

}  // namespace

ActivationType activation_type(const tensor::PanelFormat& format) {
  if (format.quantized()) return ActivationType::kInt8;
  return format.codes == Codes::kBF16 ? ActivationType::kBF16 : ActivationType::kF32;
}

int64_t activation_bytes(ActivationType type, int64_t num_tokens, const tensor::InputMap& map) {
  const Sizes sizes = sizes_of(type, num_tokens, map);
  return sizes.outliers == 0 ? sizes.term() : 2 * sizes.term() + sizes.outliers;
}

Activations place_activations(ActivationType type, int64_t num_tokens, const tensor::InputMap& map,
                              void* memory) {
  const Sizes sizes = sizes_of(type, num_tokens, map);
  auto* base = static_cast<std::byte*>(memory);
  Activations out;
  out.type = type;
  out.num_tokens = num_tokens;
  out.num_groups = map.num_groups();
  if (type != ActivationType::kInt8) {
    out.values = base;
    return out;
  }
  out.first = place_term(sizes, base);
  if (!map.is_whole()) return out;
  out.error = place_term(sizes, base + sizes.term());
  out.outliers = reinterpret_cast<uint8_t*>(base + 2 * sizes.term());
  return out;
}

int activation_tables(const Activations& a, ActivationTable (&tables)[kMaxActivationTables]) {
  if (a.type != ActivationType::kInt8) {
    tables[0] = {static_cast<std::byte*>(a.values),
                 a.num_groups * kGroupInputs * value_bytes(a.type)};
    return 1;
  }
  append_tables(a.first, a.num_groups, tables);
  if (a.outliers == nullptr) return kTermTables;
  append_tables(a.error, a.num_groups, tables + kTermTables);
  tables[2 * kTermTables] = {reinterpret_cast<std::byte*>(a.outliers), a.outlier_bytes()};
  return 2 * kTermTables + 1;
}

void copy_tokens(const Activations& from, const Activations& to, Range tokens) {
  WEFT_CHECK(from.type == to.type && from.num_groups == to.num_groups &&
                 (from.outliers == nullptr) == (to.outliers == nullptr),
             "activations of {} groups are no copy of {}", to.num_groups, from.num_groups);
  if (tokens.empty()) return;
  ActivationTable source[kMaxActivationTables], target[kMaxActivationTables];
  const int num_tables = activation_tables(from, source);
  activation_tables(to, target);
  for (int i = 0; i < std::min(num_tables, kTermTables); ++i)
    copy_rows(source[i], target[i], tokens);
  if (from.outliers == nullptr) return;
  copy_rows(source[2 * kTermTables], target[2 * kTermTables], tokens);
  for (int64_t token = tokens.begin; token < tokens.end; ++token) {
    const uint8_t* outliers = from.outliers + token * from.outlier_bytes();
    for (int64_t g = 0; g < from.num_groups; ++g)
      if ((outliers[g / 8] >> g % 8 & 1) != 0)
        copy_group(from.error, to.error, token * from.num_groups + g);
  }
}

Tiling choose_tiling(const PanelLayout& layout, int64_t num_tokens, int num_threads) {
  // A tile's activations stay in half of a 1 MiB L2 while its panels pass by, in whole register
  // tiles of six tokens where there are so many.
  constexpr int64_t kActivationBytes = 512 << 10;
  constexpr int64_t kTokenMultiple = 12;
  Tiling tiling;
  tiling.num_panels = layout.num_panels();
  tiling.num_tokens = num_tokens;
  int64_t token_bytes = sizes_of(activation_type(layout.format), 1, layout.inputs).term();
  if (!layout.inputs.is_whole() && layout.inputs.inputs().size() > kInputBlock)
    token_bytes = token_bytes * kInputBlock / layout.inputs.inputs().size();
  token_bytes = std::max<int64_t>(1, token_bytes);
  const int64_t tokens = std::max(kTokenMultiple, kActivationBytes / token_bytes);
  tiling.tokens_per_tile =
      std::max<int64_t>(1, std::min(num_tokens, tokens / kTokenMultiple * kTokenMultiple));
  const int64_t token_tiles = std::max<int64_t>(1, ceil_div(num_tokens, tiling.tokens_per_tile));

  // Eight tiles a thread even out unequal cores. Where tokens are few and the time is that of
  // reading, a tile keeps 64 KiB, so that its stream outlasts its hand-out, or at the least 16 if
  // threads would go idle; and every thread is given as many as the others.
  constexpr int64_t kTilesPerThread = 8;
  constexpr int64_t kStreamBytes = 64 << 10, kLeastStreamBytes = 16 << 10;
  int64_t tiles = ceil_div(kTilesPerThread * num_threads, token_tiles);
  if (num_tokens < kTokenMultiple) {
    const int64_t streams = layout.num_bytes() / kStreamBytes;
    tiles = streams >= num_threads
                ? std::min(tiles, streams / num_threads * num_threads)
                : std::min<int64_t>(num_threads, layout.num_bytes() / kLeastStreamBytes);
  }
  if (num_threads == 1) tiles = 1;
  const int64_t pairs = std::max<int64_t>(1, ceil_div(tiling.num_panels, 2));
  tiling.num_panel_tiles = std::clamp<int64_t>(tiles, 1, pairs);
  return tiling;
}

}  // namespace weft::kernels
