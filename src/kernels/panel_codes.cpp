#include "kernels/panel_codes.h"

#include "base/error.h"

namespace weft::kernels {
namespace {

constexpr int64_t kNibbleBytes = 4 * kVectorBytes;

struct Place {
  int64_t step;
  int64_t byte;  // within a vector
};
Place place_of(int64_t row, int64_t slot) {
  return {slot / kStepInputs, kStepInputs * row + slot % kStepInputs};
}

}  // namespace

uint8_t code_at(Codes codes, const uint8_t* group_codes, int64_t row, int64_t slot) {
  const auto [step, byte] = place_of(row, slot);
  if (codes == Codes::kU8) return group_codes[step * kVectorBytes + byte];
  int code = group_codes[(step % 4) * kVectorBytes + byte];
  code = step < 4 ? code & 15 : code >> 4;
  const uint8_t* top = group_codes + kNibbleBytes;
  if (codes == Codes::kU5) code |= ((top[byte] >> step) & 1) << 4;
  if (codes == Codes::kU6) {
    code |= ((top[(step / 4) * kVectorBytes + byte] >> (2 * (step % 4))) & 3) << 4;
  }
  return static_cast<uint8_t>(code);
}

int64_t float_offset(Codes codes, int64_t row, int64_t slot) {
  switch (codes) {
    case Codes::kF32:
      return (slot * kPanelRows + row) * 4;
    case Codes::kF16:
      return (slot * kPanelRows + row) * 2;
    case Codes::kBF16:
      return (slot / 2) * kVectorBytes + row * 4 + (slot % 2) * 2;
    default:
      break;
  }
  WEFT_CHECK(false, "codes {} are integers", static_cast<int>(codes));
}

}  // namespace weft::kernels
