#include <sys/auxv.h>

#include "kernels/native_tables.h"
#include "kernels/table_parts.h"

namespace weft::kernels {
namespace {

// The operating system's bits for what the table is compiled with: the dot product of bytes, which
// is in every processor since Armv8.4 and in many since 8.2 (Neoverse N1, Cortex-A76), and 8.1's
// atomics.
constexpr unsigned long kDotProduct = 1ul << 20, kAtomics = 1ul << 8;

bool supports_neon() { return (~getauxval(AT_HWCAP) & (kDotProduct | kAtomics)) == 0; }

KernelTable neon_table() {
  KernelTable table{};
  table.isa = Isa::kNeon;
  table.name = "neon";
  neon::fill_linear(table, false);
  neon::fill_vector(table);
  neon::fill_attention(table, false);
  neon::fill_vocab(table);
  table.dequantize_row = dequantize_row;
  return table;
}

}  // namespace

const KernelTable* native_table(Isa isa) {
  if (isa != Isa::kNeon || !supports_neon()) return nullptr;
  static const KernelTable table = neon_table();
  return &table;
}

bool fetches_streams() { return true; }  // not measured on any

}  // namespace weft::kernels
