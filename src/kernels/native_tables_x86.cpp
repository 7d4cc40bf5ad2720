#include <cpuid.h>

#include <random>
#include <vector>

#include "base/float_state.h"
#include "kernels/native_tables.h"
#include "kernels/table_parts.h"

namespace weft::kernels {
namespace {

using tensor::Codes;
using tensor::InputMap;
using tensor::PanelFormat;
using tensor::Scales;

KernelTable avx2_table() {
  KernelTable table{};
  table.isa = Isa::kAvx2;
  table.name = "avx2";
  avx2::fill_linear(table, false);
  avx2::fill_vector(table);
  avx2::fill_attention(table, false);
  avx2::fill_vocab(table);
  table.dequantize_row = dequantize_row;
  return table;
}

KernelTable avx512_table(bool hardware_bf16) {
  KernelTable table{};
  table.isa = Isa::kAvx512;
  table.name = "avx512";
  avx512::fill_linear(table, hardware_bf16);
  avx512::fill_vector(table);
  avx512::fill_attention(table, hardware_bf16);
  avx512::fill_vocab(table);
  table.dequantize_row = dequantize_row;
  return table;
}

bool supports_avx2() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;  // clang 16 knows no name for F16C
  __get_cpuid(1, &eax, &ebx, &ecx, &edx);
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && (ecx & bit_F16C) != 0;
}
bool supports_avx512() {
  return supports_avx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

// Whether the BF16 dot product of this processor is fma(odd), then fma(even), with denormals
// flushed and nothing kept unrounded in between: one product of random, cancelling and tiny
// numbers by each of the two bodies.
bool bf16_rounds_as_written() {
  if (!__builtin_cpu_supports("avx512bf16")) return false;
  constexpr int64_t kInputs = 1024;
  const PanelLayout layout(PanelFormat{Codes::kBF16, Scales::kNone, false, 0, 32},
                           tensor::kPanelRows, InputMap::whole(kInputs));
  std::vector<uint16_t> weights(static_cast<size_t>(kInputs * tensor::kPanelRows));
  std::vector<uint16_t> x(static_cast<size_t>(kInputs));
  std::mt19937 random(1);
  // Exponents from 2^-8 to 2^7, every eighth weight denormal.
  const auto number = [&random] {
    const uint32_t bits = random();
    return static_cast<uint16_t>((bits & 0x807fu) | (119u + (bits >> 16 & 15u)) << 7);
  };
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] = i % 8 == 0 ? static_cast<uint16_t>(number() & 0x807fu) : number();
  }
  for (uint16_t& value : x) value = number();

  Matmul op{&layout, reinterpret_cast<const std::byte*>(weights.data()), {}};
  op.input.type = ActivationType::kBF16;
  op.input.num_tokens = 1;
  op.input.num_groups = layout.inputs.num_groups();
  op.input.values = x.data();
  float sums[2][tensor::kPanelRows];
  const PreparedScope flushing;
  for (int hardware = 0; hardware < 2; ++hardware) {
    KernelTable table{};
    avx512::fill_linear(table, hardware != 0);
    table.matmul(op, {0, 1}, {0, 1}, nullptr, sums[hardware], tensor::kPanelRows);
  }
  for (int64_t row = 0; row < tensor::kPanelRows; ++row) {
    if (sums[0][row] != sums[1][row]) return false;
  }
  return true;
}

// AMD's family 19h: Zen 4, and Zen 3, which was not measured.
bool is_family_19h() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid(1, &eax, &ebx, &ecx, &edx);
  return __builtin_cpu_is("amd") && (eax >> 8 & 0xf) + (eax >> 20 & 0xff) == 0x19;
}

}  // namespace

bool fetches_streams() {
  static const bool gains = !is_family_19h();
  return gains;
}

const KernelTable* native_table(Isa isa) {
  if (isa == Isa::kAvx2 && supports_avx2()) {
    static const KernelTable table = avx2_table();
    return &table;
  }
  if (isa == Isa::kAvx512 && supports_avx512()) {
    static const KernelTable table = avx512_table(bf16_rounds_as_written());
    return &table;
  }
  return nullptr;
}

}  // namespace weft::kernels
