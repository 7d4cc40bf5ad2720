#include <cstdlib>
#include <utility>

#include "base/error.h"
#include "kernels/kernels.h"
#include "kernels/native_tables.h"
#include "kernels/table_parts.h"

namespace weft::kernels {
namespace {

KernelTable portable_table() {
  KernelTable table{};
  table.isa = Isa::kPortable;
  table.name = "portable";
  portable::fill_linear(table, false);
  portable::fill_vector(table);
  portable::fill_attention(table, false);
  portable::fill_vocab(table);
  table.dequantize_row = dequantize_row;
  return table;
}

}  // namespace

const KernelTable* table_for(Isa isa) {
  if (isa != Isa::kPortable) return native_table(isa);
  static const KernelTable table = portable_table();
  return &table;
}

const KernelTable& choose_table() {
  constexpr std::pair<std::string_view, Isa> kNames[] = {{"avx512", Isa::kAvx512},
                                                         {"avx2", Isa::kAvx2},
                                                         {"neon", Isa::kNeon},
                                                         {"portable", Isa::kPortable}};
  const char* asked = std::getenv("WEFT_ISA");
  for (const auto& [name, isa] : kNames) {
    if (asked != nullptr && name != asked) continue;
    const KernelTable* table = table_for(isa);
    if (table != nullptr) return *table;
    if (asked != nullptr) {
      throw Error(ErrorKind::kUsage, fmt::format("WEFT_ISA={} cannot run here", asked),
                  "this processor lacks its instructions", "unset WEFT_ISA to take the best table");
    }
  }
  throw Error(ErrorKind::kUsage, fmt::format("WEFT_ISA={} is no kernel table", asked), "",
              "use avx512, avx2, neon or portable, or unset WEFT_ISA");
}

}  // namespace weft::kernels
