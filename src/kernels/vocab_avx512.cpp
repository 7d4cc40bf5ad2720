#include "kernels/vec_avx512.h"
// The text below needs its instruction set first.
#include "kernels/choice.inl.h"
#include "kernels/table_parts.h"
#include "kernels/vocab.inl.h"

namespace weft::kernels::avx512 {

void fill_vocab(KernelTable& table) {
  fill_vocab_kernels(table);
  fill_choice_kernels(table);
}

}  // namespace weft::kernels::avx512
