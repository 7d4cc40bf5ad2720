#include "kernels/reference_linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/function_ref.h"
#include "kernels/float_types.h"
#include "kernels/panel_codes.h"

namespace weft::kernels::reference {
namespace {

using tensor::InputGroup;
using tensor::PanelFormat;
using tensor::Segment;

void quantize(const float* x, const Int8Term& out, int64_t at) {
  float largest = 0;
  bool finite = true;
  for (int i = 0; i < 32; ++i) {
    finite = finite && std::isfinite(x[i]);
    largest = std::max(largest, std::fabs(x[i]));
  }
  const bool usable = finite && largest >= kSmallestGroup;
  float& scale = out.scales[at];
  scale = usable ? largest / 127.0f : 0.0f;
  if (!finite) scale = std::numeric_limits<float>::quiet_NaN();
  int32_t sums[2] = {};
  for (int i = 0; i < 32; ++i) {
    int8_t& code = out.codes[32 * at + i];
    code = usable ? static_cast<int8_t>(std::rint(x[i] * (127.0f / largest))) : int8_t{0};
    sums[i / 16] += code;
  }
  out.minus_sums[2 * at] = -sums[0];
  out.minus_sums[2 * at + 1] = -sums[0] - sums[1];
  out.scaled_sums[at] = scale * static_cast<float>(sums[0] + sums[1]);
}

float outlier_limit(const float* x, int64_t n) {
  float squares[16] = {};
  for (int64_t i = 0; i < n; ++i) squares[i % 16] = std::fma(x[i], x[i], squares[i % 16]);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) squares[i] = squares[i] + squares[i + half];
  return kOutlierRatio * std::sqrt(squares[0] / static_cast<float>(n));
}

// Where group g of the token, which is laid out already, is an outlier: its second term.
void add_second_term(const float* block, float limit, const Activations& out, int64_t token,
                     int64_t g) {
  uint8_t& outliers = out.outliers[token * out.outlier_bytes() + g / 8];
  if (g % 8 == 0) outliers = 0;
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(block[i]));
  if (!(largest > limit)) return;
  outliers = static_cast<uint8_t>(outliers | 1 << g % 8);
  const int64_t at = token * out.num_groups + g;
  float error[32];
  for (int i = 0; i < 32; ++i) {
    const auto code = static_cast<float>(out.first.codes[32 * at + i]);
    error[i] = std::fma(-out.first.scales[at], code, block[i]);
  }
  quantize(error, out.error, at);
}

template <typename T>
T read(const std::byte* base, int64_t index) {
  T value;
  std::memcpy(&value, base + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// One output: a row of a panel, a token. Walks its groups in order.
class Output {
 public:
  Output(const Matmul& op, int64_t row, int64_t token)
      : layout_(*op.layout),
        format_(op.layout->format),
        input_(op.input),
        panel_(op.panels + row / kPanelRows * op.layout->panel_bytes()),
        lane_(row % kPanelRows),
        token_(token) {}

  // Calls on_unit with each unit's sum.
  void run(FunctionRef<void(float)> on_unit) {
    const std::byte* at = panel_;
    float acc = 0;
    for (const Segment& segment : layout_.inputs.segments()) {
      const std::byte* header = at;
      at += layout_.header_bytes();
      for (int32_t i = 0; i < segment.num_groups; ++i, at += layout_.group_bytes()) {
        const int64_t group = segment.first_group + i;
        acc =
            format_.quantized() ? add_quantized(acc, header, at, group) : add_plain(acc, at, group);
      }
      if (!segment.ends_unit) continue;
      on_unit(acc);
      acc = 0;
    }
  }

 private:
  float add_plain(float acc, const std::byte* group, int64_t g) const {
    const int64_t first = (token_ * input_.num_groups + g) * kGroupInputs;
    const auto weight = [&](int64_t slot) {
      const std::byte* p = group + float_offset(format_.codes, lane_, slot);
      if (format_.codes == Codes::kF32) return read<float>(p, 0);
      const uint16_t half = read<uint16_t>(p, 0);
      return format_.codes == Codes::kF16 ? float_from_f16(half) : float_from_bf16(half);
    };
    if (format_.codes == Codes::kBF16) {
      const auto* x = static_cast<const uint16_t*>(input_.values) + first;
      for (int64_t slot = 0; slot < kGroupInputs; slot += 2) {
        acc = std::fma(weight(slot + 1), float_from_bf16(x[slot + 1]), acc);
        acc = std::fma(weight(slot), float_from_bf16(x[slot]), acc);
      }
      return acc;
    }
    const auto* x = static_cast<const float*>(input_.values) + first;
    for (int64_t slot = 0; slot < kGroupInputs; ++slot) acc = std::fma(weight(slot), x[slot], acc);
    return acc;
  }

  float scale_of(const std::byte* header, const std::byte* group, int64_t half) const {
    if (format_.scales == Scales::kF16) return float_from_f16(read<uint16_t>(group, lane_));
    if (format_.scales == Scales::kF32) return read<float>(group, lane_);
    return float_from_f16(read<uint16_t>(header, lane_)) *
           static_cast<float>(read<int8_t>(group, half * kPanelRows + lane_));
  }

  float min_of(const std::byte* header, const std::byte* group, int64_t half) const {
    const std::byte* mins = group + (layout_.group_bytes() - tensor::code_bytes(format_.codes)) / 2;
    if (format_.scales == Scales::kF16) return float_from_f16(read<uint16_t>(mins, lane_));
    return -(float_from_f16(read<uint16_t>(header, kPanelRows + lane_)) *
             static_cast<float>(read<uint8_t>(mins, half * kPanelRows + lane_)));
  }

  float add_quantized(float acc, const std::byte* header, const std::byte* group, int64_t g) const {
    acc = add_term(acc, header, group, g, input_.first);
    if (input_.outliers == nullptr) return acc;
    const uint8_t outliers = input_.outliers[token_ * input_.outlier_bytes() + g / 8];
    if ((outliers >> g % 8 & 1) == 0) return acc;
    return add_term(acc, header, group, g, input_.error);
  }

  float add_term(float acc, const std::byte* header, const std::byte* group, int64_t g,
                 const Int8Term& term) const {
    const int64_t at = token_ * input_.num_groups + g;
    const int8_t* x = term.codes + at * kGroupInputs;
    const auto* codes = reinterpret_cast<const uint8_t*>(group + layout_.group_bytes() -
                                                         tensor::code_bytes(format_.codes));
    const int64_t halves = kGroupInputs / format_.scale_inputs;
    float t = 0;
    for (int64_t half = 0; half < halves; ++half) {
      int32_t c = 0;
      for (int64_t i = 0; i < format_.scale_inputs; ++i) {
        const int64_t slot = half * format_.scale_inputs + i;
        c += (code_at(format_.codes, codes, lane_, slot) - format_.zero) * x[slot];
      }
      const float scale = scale_of(header, group, half);
      t = half == 0 ? static_cast<float>(c) * scale : std::fma(static_cast<float>(c), scale, t);
    }
    acc = std::fma(t, term.scales[at], acc);
    if (!format_.has_min) return acc;
    for (int64_t half = 0; half < halves; ++half) {
      const int32_t first = -term.minus_sums[2 * at], all = -term.minus_sums[2 * at + 1];
      const int32_t sum = halves == 1 ? all : half == 0 ? first : all - first;
      acc = std::fma(min_of(header, group, half), term.scales[at] * static_cast<float>(sum), acc);
    }
    return acc;
  }

  const PanelLayout& layout_;
  const PanelFormat& format_;
  const Activations& input_;
  const std::byte* panel_;
  int64_t lane_, token_;
};

}  // namespace

void prepare(const tensor::InputMap& map, const float* x, const Activations& out, int64_t token,
             Range groups) {
  const float limit = out.outliers != nullptr ? outlier_limit(x, map.inputs().size()) : 0.0f;
  for (int64_t g = groups.begin; g < groups.end; ++g) {
    const InputGroup& group = map.groups()[static_cast<size_t>(g)];
    float block[32] = {};
    for (int64_t slot = group.slots.begin; slot < group.slots.end; ++slot) {
      block[slot] = x[group.block * kGroupInputs + slot - map.inputs().begin];
    }
    const int64_t at = token * out.num_groups + g;
    if (out.type == ActivationType::kInt8) {
      quantize(block, out.first, at);
      if (out.outliers != nullptr) add_second_term(block, limit, out, token, g);
    }
    for (int64_t i = 0; i < 32; ++i) {
      if (out.type == ActivationType::kF32) static_cast<float*>(out.values)[32 * at + i] = block[i];
      if (out.type == ActivationType::kBF16) {
        static_cast<uint16_t*>(out.values)[32 * at + i] = bf16_from_float(block[i]);
      }
    }
  }
}

void matmul(const Matmul& op, Range panels, Range tokens, const float* bias, float* out,
            int64_t out_stride) {
  const Range rows{panels.begin * kPanelRows, panels.end * kPanelRows};
  for (int64_t token = tokens.begin; token < tokens.end; ++token) {
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      Output(op, row, token).run([&](float sum) {
        const bool has_bias = bias != nullptr && row < op.layout->num_rows;
        out[token * out_stride + row] = has_bias ? sum + bias[row] : sum;
      });
    }
  }
}

void matmul_exact(const Matmul& op, Range panels, Range tokens, const PartialSums& out) {
  const Range rows =
      Range{panels.begin * kPanelRows, panels.end * kPanelRows}.intersect({0, op.layout->num_rows});
  for (int64_t token = tokens.begin; token < tokens.end; ++token) {
    int64_t* sums = out.data + token * out.stride();
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      if (!out.accumulate) sums[row] = 0;
      Output(op, row, token).run([&](float sum) {
        if (!(std::fabs(sum) < kUnitLimit)) {
          ++sums[out.bad_index()];
          return;
        }
        sums[row] += std::llrint(std::ldexp(static_cast<double>(sum), kFixedPointBits));
      });
    }
  }
}

void add_int64(int64_t* sum, const int64_t* const* parts, int num_parts, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint64_t total = 0;
    for (int p = 0; p < num_parts; ++p) total += static_cast<uint64_t>(parts[p][i]);
    sum[i] = static_cast<int64_t>(total);
  }
}

int64_t finish_exact(const int64_t* const* parts, int num_parts, int64_t num_rows,
                     const float* bias, float* out) {
  int64_t bad = 0;
  for (int p = 0; p < num_parts; ++p) bad += parts[p][round_up(num_rows, 16)];
  for (int64_t row = 0; row < num_rows; ++row) {
    uint64_t total = 0;
    for (int p = 0; p < num_parts; ++p) total += static_cast<uint64_t>(parts[p][row]);
    out[row] = static_cast<float>(static_cast<int64_t>(total)) * 0x1p-30f;
    if (bias != nullptr) out[row] += bias[row];
  }
  return bad;
}

}  // namespace weft::kernels::reference
